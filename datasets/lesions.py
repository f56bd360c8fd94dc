"""Stroke-like lesions for T1w slices: irregular shapes and hypointense, textured, soft-edged intensities.

``simulate_lesion`` draws all of a lesion's grey values (for phantoms); ``darken_tissue`` only attenuates the real
tissue that it finds, by a contrast that may be faint (for real slices).
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.datasets.deform import smooth_field

__all__ = ["CONTRAST", "REACH", "SIZE_GROUPS", "darken_tissue", "random_lesion_shape", "simulate_lesion"]

# pixels at 128 x 128, inclusive: small <= 71 < medium <= 570 < large (the papers' groups)
SIZE_GROUPS: dict[str, tuple[int, int]] = {"small": (4, 71), "medium": (72, 570), "large": (571, 1600)}
REACH = 6  # pixels around the mask within which a lesion may change the image
CONTRAST = (0.06, 0.6)  # of `darken_tissue`: the share of intensity that is lost, from faint to near fluid

_NEIGHBOURS = [(-1, 0, 1.0), (1, 0, 1.0), (0, -1, 1.0), (0, 1, 1.0)]
_NEIGHBOURS += [(i, j, 2**0.5) for i in (-1, 1) for j in (-1, 1)]


def _pick(weights: NDArray[np.floating], rng: np.random.Generator) -> int:
    """An index drawn with probability in proportion to ``weights``."""
    total = np.cumsum(weights)
    return int(np.searchsorted(total, rng.random() * total[-1], side="right"))


def random_lesion_shape(
    brain_mask: NDArray[np.bool_],
    target_px: int,
    rng: np.random.Generator,
    favour: NDArray[np.floating] | None = None,
) -> NDArray[np.bool_]:
    """An irregular shape of exactly ``target_px`` pixels inside ``brain_mask``, both bool [H, H].

    Fronts start from one to four near seeds and run at a random, direction-dependent speed; the pixels they reach
    first are the lesion. ``favour`` [H, H], positive, makes fronts start more often and run faster where it is
    large. Raises ValueError when the mask has too few pixels.
    """
    size = brain_mask.shape[0]
    if brain_mask.shape != (size, size):
        raise ValueError(f"brain mask must be square, got {brain_mask.shape}")
    room = int(brain_mask.sum())
    if not 0 < target_px <= room:
        raise ValueError(
            f"a lesion of {target_px} pixels does not fit; choose 1 to {room} (the brain's pixels)"
        )
    radius = (target_px / np.pi) ** 0.5
    rough = 0.55 * smooth_field(rng, size, max(4, round(size / (0.9 * radius + 5))))
    rough = (
        rough + 0.45 * smooth_field(rng, size, max(16, size // 4)) + 0.25 * rng.standard_normal((size, size))
    )
    slowness = np.exp(rough) if favour is None else np.exp(rough) / favour
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 0.8))
    step = {}
    for i, j, length in _NEIGHBOURS:
        along, across = i * np.sin(angle) + j * np.cos(angle), i * np.cos(angle) - j * np.sin(angle)
        step[i, j] = length * float(np.hypot(along / stretch, across * stretch))
    places = np.argwhere(brain_mask)
    weights = np.ones(room) if favour is None else favour[brain_mask]
    first = places[_pick(weights, rng)]
    near = np.hypot(*(places - first).T) <= 2.8 * radius + 5
    n_seeds = int(rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1])) if target_px >= 12 else 1
    queue = [(0.0, int(first[0]), int(first[1]))]
    for _ in range(n_seeds - 1):
        row, col = places[_pick(weights * near, rng)]
        queue.append((float(rng.uniform(0.2, 1.1) * radius), int(row), int(col)))
    heapq.heapify(queue)
    shape = np.zeros_like(brain_mask)
    count = 0
    while count < target_px:
        if not queue:  # the fronts filled their part of the mask: go on in another part
            row, col = np.argwhere(brain_mask & ~shape)[0]
            queue.append((0.0, int(row), int(col)))
        time, row, col = heapq.heappop(queue)
        if shape[row, col]:
            continue
        shape[row, col] = True
        count += 1
        for i, j, _ in _NEIGHBOURS:
            r, c = row + i, col + j
            if 0 <= r < size and 0 <= c < size and brain_mask[r, c] and not shape[r, c]:
                heapq.heappush(queue, (time + step[i, j] * float(slowness[r, c]), r, c))
    return shape


def _white_nearby(image: NDArray[np.float64], distance: NDArray[np.float64]) -> float:
    """White-matter intensity near a lesion, so that it follows the bias field; from tissue within 8 pixels."""
    near = image[(distance <= 8) & (image > 0.3)]
    if near.size < 20:
        raise ValueError("the lesion shape has no tissue around it; keep the shape inside the brain")
    return float(np.percentile(near, 75))


def simulate_lesion(
    image: NDArray[np.float32],
    mask_shape: NDArray[np.bool_],
    rng: np.random.Generator,
    severity: float | None = None,
    white_level: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put a stroke of the given shape into a healthy T1w slice; returns (image, mask).

    image : float32 [H, H] in [0, 1], 98th percentile at 1
    mask_shape : bool [H, H], inside the brain; the returned mask is this shape
    severity : 0 (near grey matter) .. 1 (near fluid); drawn when None
    white_level : intensity of white matter around the lesion; estimated from the slice when None

    Inside, intensity lies between fluid and grey matter with texture on two scales, part of the anatomy shining
    through and the slice's own noise kept; the edge is soft, so mask borders are about half lesion. Swelling or
    shrinkage displaces the surroundings a little. Pixels farther than `REACH` from the mask keep their exact value.
    An empty shape returns the image unchanged.
    """
    size = image.shape[0]
    if image.shape != (size, size) or mask_shape.shape != image.shape:
        raise ValueError(
            f"need a square image and a mask of its shape, got {image.shape} and {mask_shape.shape}"
        )
    mask = mask_shape.astype(bool)
    if not mask.any():
        return image.copy(), mask
    wide = image.astype(np.float64)
    distance = ndimage.distance_transform_edt(~mask)
    if white_level is None:
        white_level = _white_nearby(wide, distance)
    severity = float(rng.beta(2.2, 1.6)) if severity is None else float(severity)
    window = np.clip(1 - distance / REACH, 0, 1)
    # swelling (> 0) or shrinkage (< 0): surroundings move along the gradient of the blurred mask
    moved = _pushed(wide, mask, float(np.clip(rng.normal(0, 1.5), -3, 3)) * window)
    # edge: blurred shape of its own sharpness, roughened; at a small lesion the blur must not eat the core
    edge = rng.uniform(0.55, 1.1)
    alpha = ndimage.gaussian_filter(mask.astype(float), edge)
    alpha = alpha / max(float(alpha[mask].max()), 1e-6)
    alpha = np.clip(alpha * (1 + 0.18 * smooth_field(rng, size, size // 5)), 0, 1) * (window > 0)
    # core: between fluid (0.28 of white) and grey matter (0.72 of white), darker and brighter parts
    level = 0.68 - 0.38 * severity
    texture = 0.055 * smooth_field(rng, size, size // 10) + 0.05 * smooth_field(rng, size, size // 4)
    core = white_level * (level + texture)
    local = ndimage.gaussian_filter(moved, 3.0)
    shine = rng.uniform(0.15, 0.45) * (1 - 0.5 * severity)
    core = core + shine * (moved - local) + (0.9 - shine) * (wide - ndimage.gaussian_filter(wide, 0.7))
    # a lesion darkens: it never brightens fluid that lies within its shape
    target = np.minimum(core, moved)
    result = np.where(window > 0, moved + alpha * (target - moved), wide)
    result = np.round(np.clip(result, 0, 1) * 4095) / 4095
    return np.where(window > 0, result, wide).astype(np.float32), mask


def darken_tissue(
    image: NDArray[np.float32],
    shape: NDArray[np.bool_],
    rng: np.random.Generator,
    contrast: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Attenuate real tissue inside a shape, as a stroke does in a T1w slice; returns (image, mask).

    image : float32 [H, H] in [0, 1]
    shape : bool [H, H], inside the brain; the returned mask is this shape
    contrast : share of the intensity that is lost in the core; drawn when None, log-uniform in ``CONTRAST``, so that
        half of the lesions lose less than a fifth

    Inside, the slice's own anatomy and noise stay, the anatomy the less the stronger the contrast; what unevenness
    comes in is the fine structure of the same slice 8 to 20 px away, so no random field shapes a lesion's texture.
    The edge is a blur of 0.6 to 2 px of its own. Tissue around moves by up to 1.5 px of swelling or shrinkage. Pixels
    farther than ``REACH`` from the shape keep their exact value. An empty shape returns the image unchanged.
    """
    if image.shape != shape.shape or image.shape[0] != image.shape[1]:
        raise ValueError(f"need a square image and a mask of its shape, got {image.shape} and {shape.shape}")
    mask = shape.astype(bool)
    if not mask.any():
        return image.copy(), mask
    if contrast is None:
        contrast = float(np.exp(rng.uniform(*np.log(CONTRAST))))
    edge, push, fading, unevenness = (
        rng.uniform(0.6, 2.0),
        float(np.clip(rng.normal(0, 0.75), -1.5, 1.5)),
        rng.uniform(0.3, 1.0),
        rng.uniform(0.2, 0.8),
    )
    wide = image.astype(np.float64)
    window = np.clip(1 - ndimage.distance_transform_edt(~mask) / REACH, 0, 1)
    moved = _pushed(wide, mask, push * window)
    alpha = ndimage.gaussian_filter(mask.astype(float), edge)
    # At a small or thin shape the blur must not eat the core.
    alpha = np.clip(alpha / max(float(alpha[mask].max()), 1e-6), 0, 1) * (window > 0)
    local = ndimage.gaussian_filter(moved, 3.0)
    anatomy = local + (1 - contrast * fading) * (moved - local)
    elsewhere = np.roll(wide, tuple(rng.integers(8, 21, 2) * rng.choice([-1, 1], 2)), (0, 1))
    fine = elsewhere - ndimage.gaussian_filter(elsewhere, 2.0)
    core = (1 - contrast) * anatomy + contrast * unevenness * fine
    result = np.where(window > 0, moved + alpha * (core - moved), wide)
    result = np.round(np.clip(result, 0, 1) * 4095) / 4095
    return np.where(window > 0, result, wide).astype(np.float32), mask


def _pushed(
    image: NDArray[np.float64], mask: NDArray[np.bool_], amount: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The image with its pixels moved along the gradient of the blurred mask: outwards (> 0) or inwards."""
    slope = np.gradient(ndimage.gaussian_filter(mask.astype(float), 2.0))
    row, col = np.indices(mask.shape).astype(float)
    return ndimage.map_coordinates(
        image, (row + amount * slope[0], col + amount * slope[1]), order=1, mode="nearest"
    )
