"""How torch computes beside a back end: with how many threads, and whether fp32 is fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.tf32 import in_tf32
from uadbench.engine.interfaces import Method, Result, Tools
from uadbench.reports.identity import Arm

__all__ = ["call_beside", "torch_threads", "with_threads"]

Comparing = Callable[[Tensor], Callable[[Tensor], Tensor]]


def call_beside(arm: Arm, method: Method, x: Tensor, tools: Tools) -> Result:
    """The method's answer on an arm. x : [B, 1, H, W]

    Beside a back end with threads of its own torch takes one for what stands between two calls of the network; the
    perceptual net keeps all. On a GPU nothing of it is computed in TF32 but what the arm's network says.
    """
    threads = torch.get_num_threads()
    apart = arm.device == "cpu" and BACKENDS[arm.backend].own_threads
    with in_tf32(arm.device, False), torch_threads(1 if apart else threads):
        return method(x, replace(tools, against=with_threads(threads, tools.against)))


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """So many for this thread's operations by torch, within.

    After an operation by several, those that it woke keep their cores for some milliseconds, in case there is more.
    What stands between two calls of a network is not worth that where the network needs the cores.
    """
    before = torch.get_num_threads()
    if number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_threads(number: int, against: Comparing) -> Comparing:
    """A perceptual net, see ``interfaces.Perceptual``, with so many: it is a network of torch's itself."""

    def fixed(x: Tensor) -> Callable[[Tensor], Tensor]:
        with torch_threads(number):
            distance = against(x)

        def compared(x_rec: Tensor) -> Tensor:
            with torch_threads(number):
                return distance(x_rec)

        return compared

    return fixed
