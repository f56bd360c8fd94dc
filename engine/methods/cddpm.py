"""cDDPM: denoising guided by an encoder's view of the input (Behrendt et al. 2023, arXiv 2312.04215)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools

__all__ = ["CDDPM"]


@dataclass(frozen=True)
class CDDPM:
    """One network call at each of a few levels; the network is also told what the image looks like as a whole.

    t_test : the levels, whose reconstructions are averaged; one level is the paper's plain form
    """

    t_test: tuple[int, ...] = (250, 500, 750)

    def __post_init__(self) -> None:
        if not self.t_test:
            raise ValueError("t_test is empty; at least one level is needed")

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        estimates = [tools.predict_x0(tools.add_noise(x, t, tools.noise(t)), t, cond=x) for t in self.t_test]
        x_rec = torch.stack(estimates).mean(dim=0)
        return Result(
            residual(x, x_rec), x_rec, {f"x0_{t}": x0 for t, x0 in zip(self.t_test, estimates, strict=True)}
        )
