"""Boxes carried from an image as it was read to the image that methods see."""

from __future__ import annotations

import math

from uadbench.datasets.case import Box, CaseError
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing

__all__ = ["carry"]

# Of a pixel: no overlap; label files hold six digits, and an edge on a border shall stay there
_NOTHING = 1e-3


def carry(
    label: str,
    edges: tuple[float, float, float, float],
    shape: tuple[int, int],
    params: Preprocessing = PREPROCESSING,
    name: str = "image",
) -> Box:
    """The box in pixels of the padded and resized image: every pixel that it touches, so rounded outwards.

    edges : top, left, bottom, right in pixels of the image as read, its corner (0, 0), right and bottom out
    shape : (H, W) of that image, which ``preprocess`` pads to a square and resizes
    name : the file, for the message of an error

    What lies outside the image is cut off. Raises CaseError where nothing is left, or an edge is not finite.
    """
    top, left, bottom, right = edges
    height, width = shape
    if not all(map(math.isfinite, edges)):
        raise CaseError(f"{name}: the box {label} {edges} is not finite; correct it")
    top, bottom = max(top, 0.0), min(bottom, float(height))
    left, right = max(left, 0.0), min(right, float(width))
    if not (bottom > top and right > left):
        raise CaseError(
            f"{name}: the box {label} {edges} holds no pixel of the image of {height} x {width}; correct or remove it"
        )
    side = max(height, width)
    scale, above, before = params.size / side, (side - height) // 2, (side - width) // 2
    return Box(
        label,
        _down((top + above) * scale),
        _down((left + before) * scale),
        _up((bottom + above) * scale),
        _up((right + before) * scale),
    )


def _down(edge: float) -> int:
    return math.floor(edge + _NOTHING)


def _up(edge: float) -> int:
    return math.ceil(edge - _NOTHING)
