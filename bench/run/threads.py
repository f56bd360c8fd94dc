"""Torch's threads beside a network that is computed by threads of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["torch_threads", "with_threads"]

Comparing = Callable[[Tensor], Callable[[Tensor], Tensor]]


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
