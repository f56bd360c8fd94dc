"""Post-processing of anomaly maps: the same for any method, applied after its call and before anything is scored.

Source: the chain of Behrendt et al. (pDDPM 2023, arXiv 2303.03758; cDDPM, arXiv 2312.04215) as their papers describe
it: median filter, eroded brain mask, threshold chosen on validation data, small components removed. Theirs works on
volumes; here each slice stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_erosion,
    binary_fill_holes,
    generate_binary_structure,
    label,
    median_filter,
)
from torch import Tensor

from uadbench.engine.interfaces import to_unit

__all__ = ["EROSIONS", "FOREGROUND", "MEDIAN", "POSTS", "Post", "behrendt", "head", "without_small"]

FOREGROUND = 0.1
"""Grey value in [0, 1] above which a place counts as tissue."""

MEDIAN = 5  # side of the median's square, pixels
EROSIONS = 3  # of the head, with a cross of 3 x 3

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Post:
    """What is done to every map of a variant.

    apply : (maps [B, H, W] >= 0, images [B, H, W] in [0, 1]) -> maps of the same form
    about : in a few words, for lists
    """

    apply: Callable[[Image, Image], Image]
    about: str

    def __call__(self, anomaly: Tensor, x: Tensor) -> Tensor:
        """The map [B, 1, H, W] of images x [B, 1, H, W] in [-1, 1], post-processed on the CPU; errors as ``apply``."""
        images = to_unit(x[:, 0].float()).cpu().numpy()
        found = self.apply(anomaly[:, 0].float().cpu().numpy(), images)
        return torch.from_numpy(found).unsqueeze(1).to(anomaly.device)


def head(image: Image) -> Mask:
    """The foreground of an image [H, W] in [0, 1]: what is brighter than ``FOREGROUND``, its holes filled; bool [H, W].

    Holes are filled because dark lesions and ventricles belong to the head.
    """
    return np.asarray(binary_fill_holes(image > FOREGROUND), dtype=np.bool_)


def behrendt(maps: Image, images: Image) -> Image:
    """Each map's median over 5 x 5 pixels (edges replicated), 0 outside the head that was eroded three times.

    maps : float32 [B, H, W] >= 0; images : [B, H, W] in [0, 1]
    What lies beyond the image's edge counts as background of the head. Raises ValueError for maps of another form than
    the images, or that hold NaN, infinite or negative values, which a median would hide.
    """
    if maps.shape != images.shape:
        raise ValueError(f"the anomaly map is {maps.shape}, the images are {images.shape}")
    if not np.isfinite(maps).all() or maps.min() < 0:
        raise ValueError(
            "the anomaly map holds NaN, infinite or negative values; finite ones >= 0 are needed"
        )
    cross = generate_binary_structure(2, 1)
    result = np.empty_like(maps)
    for one, image, out in zip(maps, images, result, strict=True):
        inside = binary_erosion(head(image), cross, iterations=EROSIONS)
        out[:] = np.where(inside, median_filter(one, size=MEDIAN, mode="nearest"), np.float32(0))
    return result


def without_small(found: Mask, least: int) -> Mask:
    """The mask, [H, W] or [D, H, W], without its components of fewer than ``least`` pixels; diagonal neighbours are
    connected."""
    labels, _ = label(found, structure=np.ones((3,) * found.ndim))
    large = np.bincount(labels.ravel()) >= least
    large[0] = False  # the background
    return np.asarray(large[labels], dtype=np.bool_)


POSTS: dict[str, Post] = {
    "behrendt": Post(behrendt, "median 5 x 5, eroded head; fitted threshold, components")
}
"""Post-processings by the name on the command line; "none" is what a method gives as it is."""
