"""Anomaly maps: the pure functions that the methods share.

A map is a torch float32 ``[B, 1, H, W]`` >= 0. Images are ``[B, 1, H, W]`` in [-1, 1]. Every function treats each
image of a batch by itself, so an image alone and the same image in a batch give the same map.

Sources: THOR (Bercea et al. 2024, arXiv 2403.08464, eq. 3 for the map and eq. 5 for the harmonic mean) and
AutoDDPM (Bercea et al. 2023, arXiv 2305.19643).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.engine.interfaces import to_unit

__all__ = [
    "anomaly_map",
    "binarize",
    "gaussian_smooth",
    "harmonic_mean",
    "image_percentile",
    "normalize_max",
    "normalize_percentile",
    "residual",
]


def residual(x: Tensor, x_rec: Tensor) -> Tensor:
    """|x - x_rec| on images brought to [0, 1]; x, x_rec : [B, 1, H, W] in [-1, 1]; returns [B, 1, H, W] in [0, 1]."""
    return (to_unit(x) - to_unit(x_rec)).abs()


def anomaly_map(x: Tensor, x_rec: Tensor, perceptual: Tensor) -> Tensor:
    """The residual weighted by a perceptual map: |x - x_rec| * S (THOR eq. 3, not yet normalised).

    x, x_rec : [B, 1, H, W] in [-1, 1]
    perceptual : S, [B, 1, H, W] >= 0. THOR passes ``gaussian_smooth(S, 2).clamp(0, 1)``, AutoDDPM S as it is.
    returns : [B, 1, H, W] >= 0
    """
    return residual(x, x_rec) * perceptual


def gaussian_smooth(image: Tensor, sigma: float, truncate: float = 4.0) -> Tensor:
    """Gaussian blur with replicated edges, as ``scipy.ndimage.gaussian_filter(mode="nearest")`` on each plane.

    image : float [B, C, H, W]
    sigma : pixels, >= 0; 0 returns the image itself
    truncate : the kernel reaches ``int(truncate * sigma + 0.5)`` pixels to either side
    """
    if not sigma >= 0:
        raise ValueError(f"sigma must be >= 0 pixels, got {sigma}")
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return image
    # Weights in float64 as SciPy has them; only the sums are in the image's precision.
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (weights / weights.sum()).to(image)
    planes = image.flatten(0, 1).unsqueeze(1)
    planes = functional.conv2d(
        functional.pad(planes, (0, 0, radius, radius), "replicate"), kernel.view(1, 1, -1, 1)
    )
    planes = functional.conv2d(
        functional.pad(planes, (radius, radius, 0, 0), "replicate"), kernel.view(1, 1, 1, -1)
    )
    return planes.view_as(image)


def normalize_max(image: Tensor) -> Tensor:
    """Divide each map by its own maximum: [B, 1, H, W] >= 0 to [0, 1]. A map that is zero everywhere stays zero.

    Each image is scaled by itself, so values of different images are no longer comparable: the faintest image of a
    data set reaches 1 like the strongest.
    """
    peak = image.amax(dim=(1, 2, 3), keepdim=True)
    return torch.where(peak > 0, image / peak, torch.zeros_like(image))


def image_percentile(image: Tensor, percent: float) -> Tensor:
    """The percentile of each image, [B, 1, 1, 1], linearly interpolated as NumPy does; percent in [0, 100]."""
    if not 0 <= percent <= 100:
        raise ValueError(f"a percentile must lie in [0, 100], got {percent}")
    return torch.quantile(image.flatten(1), percent / 100, dim=1).view(-1, 1, 1, 1)


def normalize_percentile(image: Tensor, percent: float = 95.0) -> Tensor:
    """Divide each map by its own percentile and clip to [0, 1] (AutoDDPM's norm95); [B, 1, H, W] >= 0 to the same.

    Where the percentile is 0 the limit is taken: what is zero stays zero, what is positive becomes 1.
    """
    scale = image_percentile(image, percent)
    return torch.where(scale > 0, image / scale, (image > 0).to(image.dtype)).clamp(0, 1)


def harmonic_mean(maps: Sequence[Tensor]) -> Tensor:
    """n / sum_i 1 / m_i, pixel by pixel; 0 wherever any of the maps is 0 (THOR eq. 5).

    maps : at least one map, all [B, 1, H, W] >= 0
    """
    if not maps:
        raise ValueError("the harmonic mean needs at least one map, got none")
    stack = torch.stack(tuple(maps))
    least = stack.amin(dim=0)
    # n * least / sum(least / m) is the same number, but its terms lie in [0, 1]: nothing overflows for tiny m.
    ratios = least / torch.where(stack > 0, stack, torch.ones_like(stack))
    return torch.where(least > 0, len(maps) * least / ratios.sum(dim=0), torch.zeros_like(least))


def binarize(image: Tensor, threshold: float | None = None, percent: float | None = None) -> Tensor:
    """1 where a map lies above a fixed threshold, or above its own percentile; else 0.

    image : [B, 1, H, W]
    threshold, percent : exactly one of the two; AutoDDPM uses a threshold found on validation data, and the 95th
        percentile of each image where none is known
    returns : float [B, 1, H, W] of 0 and 1
    """
    if threshold is not None and percent is None:
        return (image > threshold).to(image.dtype)
    if percent is not None and threshold is None:
        return (image > image_percentile(image, percent)).to(image.dtype)
    raise ValueError(f"give either threshold or percent, got threshold={threshold}, percent={percent}")
