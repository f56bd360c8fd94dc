"""Floors: what costs next to nothing. A diffusion method that does not beat them is not worth its cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uadbench.engine.anomaly import gaussian_smooth, residual
from uadbench.engine.interfaces import Result, Tools, to_signed, to_unit
from uadbench.engine.post import head

__all__ = ["Asymmetry", "Blur", "Intensity", "PerceptualBlur", "ResidualMedian"]


@dataclass(frozen=True)
class ResidualMedian:
    """Smoothed difference to the median healthy training slice."""

    sigma: float = 1.5

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        if tools.median is None:
            raise ValueError("this floor needs the median of healthy slices; the data set has none")
        median = tools.median.to(x.device).expand_as(x)
        return Result(gaussian_smooth(residual(x, median), self.sigma), median)


@dataclass(frozen=True)
class Intensity:
    """The smoothed image itself: bright where lesions are bright, inverted inside the head where they are dark."""

    sigma: float = 1.5

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        smooth = gaussian_smooth(to_unit(x), self.sigma)
        if tools.lesion_sign > 0:
            return Result(smooth, to_signed(smooth))
        heads = np.stack([head(image) for image in smooth[:, 0].cpu().numpy()])
        inside = torch.from_numpy(heads).to(x.device).unsqueeze(1)
        return Result((1 - smooth).clamp_min(0) * inside, to_signed(smooth))


@dataclass(frozen=True)
class Asymmetry:
    """Smoothed difference to the left-right mirrored image, where it points the way lesions do."""

    sigma: float = 1.5

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        mirrored = x.flip(-1)
        difference = gaussian_smooth(to_unit(x) - to_unit(mirrored), self.sigma)
        return Result((tools.lesion_sign * difference).clamp_min(0), mirrored)


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
