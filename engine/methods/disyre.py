"""DISYRE: cold diffusion whose forward process is a synthetic anomaly (Naval Marimont et al., arXiv 2311.15453)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods.restored import STRENGTHS, restored

__all__ = ["Disyre"]


@dataclass(frozen=True)
class Disyre:
    """The image is taken for one with an anomaly of some strength, which is taken out step by step; then for others.

    assumed : strengths that are assumed in turn; the residuals of all are averaged (arXiv 2407.06635)
    steps : network calls for each, at even distances down to none of it. Each follows Bansal et al. 2022 (arXiv
        2208.09392, algorithm 2), x - D(x0, t) + D(x0, t_prev), where D mixes in what the image still has beyond x0
    """

    assumed: tuple[int, ...] = (25, 50, 75, 100)
    steps: int = 2

    def __post_init__(self) -> None:
        if not self.assumed or not all(1 <= t <= STRENGTHS for t in self.assumed) or self.steps < 1:
            raise ValueError(
                f"assumed is {self.assumed}, steps {self.steps}; strengths of 1 to {STRENGTHS} and a step are needed"
            )

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        found = [self._restore(x, tools, t) for t in self.assumed]
        anomaly = torch.stack([residual(x, x_rec) for x_rec in found]).mean(dim=0)
        return Result(anomaly, torch.stack(found).mean(dim=0))

    def _restore(self, x: Tensor, tools: Tools, strength: int) -> Tensor:
        levels = [round(strength * (self.steps - k) / self.steps) for k in range(self.steps + 1)]
        x_t = x_rec = x
        for t, t_prev in pairwise(levels):
            if t > t_prev:
                x_rec = restored(x_t, tools, t)
                x_t = x_rec + (t_prev / t) * (x_t - x_rec)
        return x_rec
