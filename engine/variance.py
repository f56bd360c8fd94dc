"""How uncertain a clean image is at a level: a network's squared error, measured at some levels, read at all.

It is the second part of the reverse kernel's variance (see ``steps.ddpm_step``). A pixel's mean stands for the whole
covariance, as in Bao et al. 2022 (Analytic-DPM, arXiv 2201.06503), whose isotropic optimum this is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.engine.interfaces import Denoiser
from uadbench.engine.schedule import Schedule
from uadbench.engine.steps import add_noise, predict_x0

__all__ = ["interpolated", "squared_errors", "variance_levels"]

# Over the whole schedule; linear between them errs by 3 % of v at most for pixels that are Gaussian of any spread
POINTS = 24
LEAST = 1e-12  # of v, so that it has a logarithm


def variance_levels(schedule: Schedule, highest: int) -> list[int]:
    """Levels at equal steps of log((1 - abar) / abar), from 1 to the first that is not below ``highest``."""
    ratios = _log_ratio(schedule)
    wanted = np.linspace(ratios[0], ratios[-1], POINTS)
    levels = sorted({int(np.abs(ratios - ratio).argmin()) + 1 for ratio in wanted})
    return levels[: int(np.searchsorted(levels, highest)) + 1]


@torch.inference_mode()
def squared_errors(
    denoiser: Denoiser, schedule: Schedule, x: Tensor, noise: Callable[[int], Tensor], levels: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squares, by image and level, of the one-call estimate's error and of the noise that was added.

    x : float32 [B, 1, H, W] in [-1, 1], on the denoiser's device; noise : as ``Tools.noise``
    returns : two float64 [B, len(levels)]; the errors are of images in [-1, 1], the estimate clipped as in a chain
    """
    errors, powers = [], []
    for t in levels:
        n = noise(t)
        x_t = add_noise(schedule, x, t, n)
        eps = denoiser.denoise(x_t, torch.full((len(x),), t, dtype=torch.int64, device=x.device))
        errors.append(_mean_square(x - predict_x0(schedule, x_t, eps, t)))
        powers.append(_mean_square(n))
    return np.stack(errors, axis=1), np.stack(powers, axis=1)


def interpolated(schedule: Schedule, record: Mapping[str, object]) -> Callable[[int], float]:
    """Level -> ``ddpm_step``'s x0_variance, from {"levels": [...], "v": [...], "noise": its mean square}.

    Linear in log v over log((1 - abar) / abar): v follows the noise while there is little of it, and that is a
    straight line there; v spans four decades, of which a straight line in v would see the last only.
    """
    levels, v, noise = (np.asarray(record[key], dtype=np.float64) for key in ("levels", "v", "noise"))
    inside = (levels >= 1) & (levels <= schedule.length)
    if levels.shape != v.shape or not inside.all() or not np.isfinite(v).all() or not noise > 0:
        raise ValueError(
            f"a table of x0_variance needs levels from 1 to {schedule.length}, a finite v for each, and noise above 0"
        )
    ratios = _log_ratio(schedule)
    known, logs = ratios[levels.astype(np.int64) - 1], np.log(np.maximum(v, LEAST))
    return lambda t: float(np.exp(np.interp(ratios[t - 1], known, logs)) / noise)


def _log_ratio(schedule: Schedule) -> NDArray[np.float64]:
    """log((1 - abar) / abar) of levels 1 .. T, rising."""
    abar = schedule.abar[1:]
    return np.log1p(-abar) - np.log(abar)


def _mean_square(images: Tensor) -> NDArray[np.float64]:
    """float64 [B]."""
    return images.double().square().mean(dim=(1, 2, 3)).cpu().numpy()
