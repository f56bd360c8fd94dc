"""A dry walk of a method's loop: how often it calls the network, whose noise it draws, what else it looks at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.interfaces import Method
from uadbench.engine.schedule import Schedule
from uadbench.engine.tools import make_tools

__all__ = ["Walk", "walk"]

SIDE = 16  # of the image that is walked with, pixels


@dataclass(frozen=True)
class Walk:
    """What a method does to one case.

    nfe : network calls
    levels : whose noise it draws, each once, rising
    perceptual : whether it looks through the perceptual net
    chain : whether it takes steps of a chain, whose variance can be chosen
    conditioned : whether it shows the network the clean image, too
    restores : whether its network is one that undoes anomalies instead of noise
    """

    nfe: int
    levels: tuple[int, ...]
    perceptual: bool
    chain: bool
    conditioned: bool
    restores: bool = False


def walk(method: Method, schedule: Schedule, eta: float = 1.0, exact: bool = False) -> Walk:
    """Run the method on a tiny image with a network that finds no noise; raises whatever the method raises.

    exact : whether steps have the exact variance, and the last one its noise too
    """
    network, perceptual, levels, steps = _Silent(), _Flat(), set[int](), set[int]()

    def noise(t: int) -> Tensor:
        levels.add(t)
        return torch.zeros(1, 1, SIDE, SIDE)

    healthy = torch.zeros(1, 1, SIDE, SIDE)
    variance = (lambda t: 1.0) if exact else None
    tools = make_tools(
        network, schedule, noise, perceptual, eta, 1, healthy, variance, mean=healthy, spread=healthy
    )

    def reverse(x_t: Tensor, t: int, t_prev: int, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        steps.add(t)
        return step(x_t, t, t_prev, cond)

    step = tools.reverse
    tools = dataclasses.replace(
        tools, restore=network.restore, reverse=reverse, close=lambda x, size: x, dilate=lambda x, size: x
    )
    with torch.inference_mode():
        method(torch.linspace(-1, 1, SIDE * SIDE).reshape(1, 1, SIDE, SIDE), tools)
    drawn = tuple(sorted(levels))
    return Walk(network.calls, drawn, perceptual.used, bool(steps), network.conditioned, network.restores)


class _Silent:
    """A network that finds nothing, counts its calls and remembers what it was asked."""

    name, device, precision = "none", "cpu", "fp32"

    def __init__(self) -> None:
        self.calls = 0
        self.conditioned = self.restores = False

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        self.conditioned |= cond is not None
        return torch.zeros_like(x_t)

    def restore(self, x: Tensor, t: int) -> Tensor:
        self.calls += 1
        self.restores = True
        return torch.zeros_like(x).repeat(1, 2, 1, 1)

    def synchronize(self) -> None:
        pass

    def close(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}


class _Flat:
    """A perceptual distance that sees no difference and remembers that it was asked."""

    name = "none"

    def __init__(self) -> None:
        self.used = False

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        self.used = True
        return torch.zeros_like
