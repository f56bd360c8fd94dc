"""Random variations of healthy slices that keep their sharpness.

Networks learn what healthy texture looks like, so whatever blurs the training images turns healthy texture into
residual later. Hence an image is warped, if at all, on its native grid, and brought to the network's size once, by
the very resize that test images go through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

__all__ = ["Augmentation", "Move", "draw_move", "moved"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How far images are moved.

    warped : share of the images that are warped; the others are only flipped, and so stay exactly as sharp
    rotate_degrees, shift, zoom : largest rotation, largest displacement as a part of the side, range of sizes
    """

    warped: float = 0.5
    rotate_degrees: float = 10.0
    shift: float = 0.03
    zoom: tuple[float, float] = (0.9, 1.1)


@dataclass(frozen=True)
class Move:
    """What one image is to go through, as drawn."""

    flip: bool
    warp: bool
    angle: float
    zoom: float
    shift: NDArray[np.float64]


def draw_move(settings: Augmentation, rng: np.random.Generator) -> Move:
    """Flipped half of the time and warped some of the time; the number of draws does not depend on what is drawn."""
    flip, warp = rng.random() < 0.5, rng.random() < settings.warped
    angle = np.deg2rad(rng.uniform(-settings.rotate_degrees, settings.rotate_degrees))
    return Move(
        flip, warp, angle, rng.uniform(*settings.zoom), rng.uniform(-settings.shift, settings.shift, 2)
    )


def moved(
    square: NDArray[np.floating],
    resize: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    move: Move,
) -> Floats:
    """One image after its move, at the network's size.

    square : [S, S] in [0, 1] on its native grid
    resize : native grid -> float [size, size], as for test images
    returns : float32 [size, size] in [0, 1]; what moves in from outside is background
    """
    image = square[:, ::-1] if move.flip else square
    if move.warp:
        image = _warp(np.ascontiguousarray(image, dtype=np.float32), move.angle, move.zoom, move.shift)
    return np.clip(resize(image), 0, 1).astype(np.float32)


def _warp(image: Floats, angle: float, zoom: float, shift: NDArray[np.float64]) -> Floats:
    """Rotation, zoom and displacement about the centre; bicubic, which keeps more of the detail than bilinear."""
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    theta = torch.tensor([[[cos, -sin, 2 * shift[0]], [sin, cos, 2 * shift[1]]]], dtype=torch.float32)
    grid = F.affine_grid(theta, [1, 1, *image.shape], align_corners=False)
    moved = F.grid_sample(
        torch.from_numpy(image)[None, None], grid, mode="bicubic", padding_mode="zeros", align_corners=False
    )
    return np.asarray(moved[0, 0].numpy())
