"""REFLECT: a rectified flow from images with anomalies to healthy ones (Beizaee et al. 2025, arXiv 2508.02889)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods.restored import STRENGTHS

__all__ = ["Reflect"]


@dataclass(frozen=True)
class Reflect:
    """The straight path is walked in a few steps of Euler (Liu et al. 2022, arXiv 2209.03003); here in pixels, in the
    paper in the latent space of an auto-encoder.

    steps : network calls
    """

    steps: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= STRENGTHS:
            raise ValueError(f"steps is {self.steps}; 1 to {STRENGTHS} are possible")

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        x_rec = x
        for k in range(self.steps):
            t = round(STRENGTHS * (self.steps - k) / self.steps)
            x_rec = x_rec + tools.restore(x_rec, t)[:, :1] / self.steps
        x_rec = x_rec.clamp(-1, 1)
        return Result(residual(x, x_rec), x_rec)
