"""One network call from one level, averaged over draws of noise: what is left of DDPM without its chain."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools

__all__ = ["OneStep"]


@dataclass(frozen=True)
class OneStep:
    """The clean image that one call implies (Ho et al. 2020, arXiv 2006.11239, eq. 15), from DDPM's own network.

    t_test : level that the image is noised to
    draws : noises, a call each; their estimates are averaged
    """

    t_test: int = 250
    draws: int = 4

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws is {self.draws}; 1 or more are needed")

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        noised = [tools.add_noise(x, self.t_test, tools.noise(self.t_test)) for _ in range(self.draws)]
        x_rec = torch.stack([tools.predict_x0(x_t, self.t_test) for x_t in noised]).mean(dim=0)
        return Result(residual(x, x_rec), x_rec)
