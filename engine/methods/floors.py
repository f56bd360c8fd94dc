"""Floors: what costs next to nothing. A diffusion method that does not beat them is not worth its cost.

Where ``sigma`` is None it is open, and with it ``signed`` where a floor has that: validation lesions decide, see
``tuning``. Without any, the usual width serves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uadbench.engine.anomaly import gaussian_smooth, residual
from uadbench.engine.interfaces import Result, Tools, to_signed, to_unit
from uadbench.engine.methods.tuning import SIGMA, evidence, fit, sigma_is_open, width
from uadbench.engine.post import head

__all__ = [
    "Asymmetry",
    "AsymmetryIntensity",
    "Blur",
    "Intensity",
    "PerceptualBlur",
    "ResidualMedian",
    "ZScore",
]

# Of grey values in [0, 1]; where healthy slices hardly differ, as in air, nothing may blow up
LEAST_SPREAD = 0.05
HALF = 3.0  # so many spreads from the mean become 0.5


@dataclass(frozen=True)
class ResidualMedian:
    """Smoothed difference to the median healthy training slice.

    signed : only where it points the way lesions do
    """

    sigma: float | None = SIGMA
    signed: bool = False

    wants_fit, evidence, fit = sigma_is_open, evidence, fit

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        if tools.median is None:
            raise ValueError("this floor needs the median of healthy slices; the data set has none")
        median = tools.median.to(x.device).expand_as(x)
        if not self.signed:
            return Result(gaussian_smooth(residual(x, median), width(self)), median)
        difference = gaussian_smooth(to_unit(x) - to_unit(median), width(self))
        return Result((tools.lesion_sign * difference).clamp_min(0), median)


@dataclass(frozen=True)
class ZScore:
    """How many spreads a pixel lies from the mean of healthy training slices at its place, smoothed; s / (s + 3).

    signed : only where it points the way lesions do
    """

    sigma: float | None = SIGMA
    signed: bool = True

    wants_fit, evidence, fit = sigma_is_open, evidence, fit

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        if tools.mean is None or tools.spread is None:
            raise ValueError("this floor needs the mean and spread of healthy slices; the data set has none")
        mean = tools.mean.to(x.device).expand_as(x)
        z = (to_unit(x) - to_unit(mean)) / tools.spread.to(x.device).clamp_min(LEAST_SPREAD)
        z = gaussian_smooth(tools.lesion_sign * z if self.signed else z.abs(), width(self)).clamp_min(0)
        return Result(z / (z + HALF), mean)


@dataclass(frozen=True)
class Intensity:
    """The smoothed image itself: bright where lesions are bright, inverted inside the head where they are dark."""

    sigma: float | None = SIGMA

    wants_fit, evidence, fit = sigma_is_open, evidence, fit

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        smooth = gaussian_smooth(to_unit(x), width(self))
        return Result(_towards(smooth, tools.lesion_sign), to_signed(smooth))


@dataclass(frozen=True)
class Asymmetry:
    """Smoothed difference to the left-right mirrored image.

    signed : only where it points the way lesions do
    """

    sigma: float | None = SIGMA
    signed: bool = True

    wants_fit, evidence, fit = sigma_is_open, evidence, fit

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        mirrored = x.flip(-1)
        difference = gaussian_smooth(to_unit(x) - to_unit(mirrored), width(self))
        if not self.signed:
            return Result(difference.abs(), mirrored)
        return Result((tools.lesion_sign * difference).clamp_min(0), mirrored)


@dataclass(frozen=True)
class AsymmetryIntensity:
    """The geometric mean of ``Asymmetry`` and ``Intensity``: bright (or dark) places whose mirror image is not.

    signed : of the asymmetry
    """

    sigma: float | None = SIGMA
    signed: bool = True

    wants_fit, evidence, fit = sigma_is_open, evidence, fit

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        differs = Asymmetry(width(self), self.signed)(x, tools)
        stands_out = Intensity(width(self))(x, tools).anomaly
        return Result((differs.anomaly * stands_out).sqrt(), differs.reconstruction)


@dataclass(frozen=True)
class Blur:
    """Difference to the smoothed image."""

    sigma: float = 4.0

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        smooth = gaussian_smooth(x, self.sigma)
        return Result(residual(x, smooth), smooth)


@dataclass(frozen=True)
class PerceptualBlur:
    """Perceptual distance to the smoothed image: what the run's perceptual net finds with no diffusion at all."""

    sigma: float = Blur.sigma  # the same smoothed image, so that the two floors differ in the distance alone

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        smooth = gaussian_smooth(x, self.sigma)
        return Result(tools.against(x)(smooth), smooth)


def _towards(smooth: Tensor, lesion_sign: int) -> Tensor:
    """A smoothed image [B, 1, H, W] in [0, 1] as a map: itself, or inverted inside the head."""
    if lesion_sign > 0:
        return smooth
    heads = np.stack([head(image) for image in smooth[:, 0].cpu().numpy()])
    inside = torch.from_numpy(heads).to(smooth.device).unsqueeze(1)
    return (1 - smooth).clamp_min(0) * inside
