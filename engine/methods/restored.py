"""Reconstruction in one call of a network that takes the image as it is: denoising and variational auto-encoders."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools

__all__ = ["STRENGTHS", "Restored", "restored"]

# Of an anomaly that networks are told, as t: 0 is none of it, 100 all; 1 where they know but one
STRENGTHS = 100


def restored(x: Tensor, tools: Tools, t: int = 1) -> Tensor:
    """The image after the change that the network makes to it; one call, [B, 1, H, W] in [-1, 1]."""
    return (x + tools.restore(x, t)[:, :1]).clamp(-1, 1)


@dataclass(frozen=True)
class Restored:
    """What the network leaves of the image, held against it. What it leaves is decided by what it was taught.

    DAE (Kascenas et al. 2022, openreview Bm8-t_ggzPD) was to take out coarse noise, and is shown none. A VAE (Kingma
    and Welling 2014, arXiv 1312.6114; for lesions Baur et al. 2021, doi:10.1016/j.media.2020.101952) has to pass the
    image through a short code.
    """

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        x_rec = restored(x, tools)
        return Result(residual(x, x_rec), x_rec)
