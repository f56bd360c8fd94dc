"""Partial diffusion: noise the image to a middle level and denoise it. DDPM, and with simplex noise AnoDDPM."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools

__all__ = ["DDPM", "reverse"]


def reverse(x_t: Tensor, tools: Tools, t_start: int, steps: int | None) -> Tensor:
    """Walk the chain from level t_start down to the clean image; x_t and the result [B, 1, H, W]."""
    for t, t_prev in tools.schedule.pairs(t_start, steps):
        x_t, _ = tools.reverse(x_t, t, t_prev)
    return x_t


@dataclass(frozen=True)
class DDPM:
    """Ho et al. 2020 (arXiv 2006.11239) used for detection as in Wyatt et al. 2022 (doi:10.1109/CVPRW56347.2022.00080).

    t_start : level that the image is noised to; 350 for Gaussian, 250 for simplex noise (THOR, section 4.1)
    steps : network calls on the way back; None visits every level, as the papers do
    squared : square the residual, as AnoDDPM's own paper does; the THOR comparison does not
    """

    t_start: int = 350
    steps: int | None = 25
    squared: bool = False

    @classmethod
    def preset(cls, noise: str) -> DDPM:
        """The published start level for a noise kind."""
        return cls(t_start=350 if noise == "gaussian" else 250)

    def respaced(self, steps: int | None) -> DDPM:
        """The same with so many network calls; None visits every level."""
        return replace(self, steps=steps)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        x_t = tools.add_noise(x, self.t_start, tools.noise(self.t_start))
        x_rec = reverse(x_t, tools, self.t_start, self.steps).clamp(-1, 1)
        difference = residual(x, x_rec)
        return Result(difference**2 if self.squared else difference, x_rec)
