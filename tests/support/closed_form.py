"""Denoisers that are known in closed form, for tests without a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.schedule import Schedule


class GaussianDenoiser:
    """The optimal denoiser for pixels drawn from N(mean, std^2): E[eps | x_t] in closed form."""

    name, device, precision = "analytic", "cpu", "fp32"

    def __init__(self, schedule: Schedule, mean: Tensor | float, std: float) -> None:
        self.schedule, self.mean, self.std, self.calls = schedule, mean, std, 0

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        abar = float(self.schedule.abar[int(t[0])])
        gain = math.sqrt(1 - abar) / (abar * self.std**2 + 1 - abar)
        return gain * (x_t - math.sqrt(abar) * self.mean)

    def synchronize(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"provider": "closed form"}


class Fake:
    """A denoiser that is a function of (x_t, t), and counts its calls."""

    name, device = "fake", "cpu"

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], precision: str = "fp32") -> None:
        self.function, self.precision, self.calls = function, precision, 0

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        return self.function(x_t, t)

    def synchronize(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}


class AbsolutePerceptual:
    """A stand-in for a perceptual net: the absolute difference, and its mean as the distance."""

    name, sha256 = "absolute", "1" * 64

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x_rec: (x - x_rec).abs()

    def distance(self, x: Tensor, x_rec: Tensor) -> Tensor:
        return (x - x_rec).abs().mean(dim=(1, 2, 3))


def disc(size: int = 32, radius: int = 5) -> Tensor:
    """A bool disc [1, 1, size, size] off the centre."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return ((y - size // 3) ** 2 + (x - size // 2) ** 2 <= radius**2)[None, None]
