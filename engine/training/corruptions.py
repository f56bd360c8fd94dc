"""Synthetic anomalies for networks that learn to undo them: a shape, what is put into it, and how it joins the rest.

The scheme of independent parts is that of DISYRE (Naval Marimont et al. 2024, arXiv 2407.06635); the parts are our own.
None is how a data set's lesions are made: ``ixi-stroke`` takes a share of the intensity away inside outlines of real
strokes, ``phantom`` grows its lesions along tissue and draws their grey values as dark. Here outlines are ellipses and
islands of random fields, grey values rise as often as they fall, and half of what is put in is no shift at all. No
lesion, simulated or real, is looked at. Strengths, edges and textures are near those of ``ixi-stroke`` all the same:
docs/methods/mend.md has both side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.engine.training.fields import smooth_field

__all__ = ["CONTENTS", "TISSUE", "Corruption", "corrupt", "nuisance"]

Floats = NDArray[np.float32]
# Grey value above which a place is tissue. Not ``post.FOREGROUND``: the shipped networks were trained with this one.
TISSUE = 0.08
NUMBER = (0.15, 0.45, 0.25, 0.15)  # how often an image gets 0, 1, 2, 3 anomalies
RADII = (1.5, 24.0)  # longer half axis in pixels at 128 x 128, log-uniform
STRENGTHS = (0.05, 0.7)  # of a shift in grey values, log-uniform


@dataclass(frozen=True)
class Corruption:
    """An image with what was done to it.

    image : float32 [H, W] in [0, 1]
    share : how much of each pixel was replaced, float32 [H, W] in [0, 1]; 0 outside of all anomalies
    """

    image: Floats
    share: Floats


def random_field(rng: np.random.Generator, side: int, cells: int) -> Floats:
    """A random field [side, side] in about [-1, 1] that varies over side / cells pixels."""
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, 1, cells, cells)).astype(np.float32))
    return np.asarray(smooth_field(coarse, side)[0, 0].numpy())


def nuisance(image: Floats, rng: np.random.Generator) -> Floats:
    """What differs between scanners and is healthy: gamma, gain, a bias field, a little noise; [H, W] in [0, 1]."""
    gamma, gain = math.exp(rng.uniform(-0.22, 0.22)), rng.uniform(0.85, 1.1)
    bias = 1 + rng.uniform(0, 0.08) * random_field(rng, image.shape[0], 3)
    noisy = image**gamma * gain * bias
    noisy += rng.uniform(0, 0.015) * rng.standard_normal(image.shape, dtype=np.float32) * (image > 0)
    return np.clip(noisy, 0, 1).astype(np.float32)


def corrupt(image: Floats, rng: np.random.Generator) -> Corruption:
    """None to three anomalies inside the head, one after the other; image float32 [H, W] in [0, 1], square."""
    head = ndimage.binary_fill_holes(ndimage.binary_opening(image > TISSUE))
    places = np.argwhere(head)
    share, changed = np.zeros_like(image), image
    for _ in range(rng.choice(len(NUMBER), p=NUMBER) if len(places) else 0):
        shape = _shape(head, places[rng.integers(len(places))], rng)
        opacity = shape * rng.uniform(0.35, 1)
        changed = changed + opacity * (np.clip(_content(changed, rng), 0, 1) - changed)
        share = np.maximum(share, opacity)
    return Corruption(changed.astype(np.float32), share.astype(np.float32))


def _shape(head: NDArray[np.bool_], place: NDArray[np.intp], rng: np.random.Generator) -> Floats:
    """A soft outline around a place: an ellipse whose edge a random field moves, or islands within it; in [0, 1]."""
    side = head.shape[0]
    scale = side / 128
    long = scale * math.exp(rng.uniform(*np.log(RADII)))
    short, angle = long * rng.uniform(0.35, 1), rng.uniform(0, math.pi)
    y, x = np.arange(side)[:, None] - place[0], np.arange(side) - place[1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    distance = np.sqrt((along / long) ** 2 + (across / short) ** 2)
    cells = int(np.clip(side / long * rng.uniform(0.7, 2), 4, side // 3))
    field = random_field(rng, side, cells)
    inside = distance + rng.uniform(0, 0.8) * field < 1
    if rng.random() < 0.25:
        inside &= random_field(rng, side, min(2 * cells, side // 2)) > rng.uniform(-0.3, 0.3)
    soft = ndimage.gaussian_filter(inside.astype(np.float32), scale * rng.uniform(0.4, 2.0))
    return np.asarray(soft * head, dtype=np.float32)


def _content(image: Floats, rng: np.random.Generator) -> Floats:
    shares, draws = zip(*CONTENTS.values(), strict=True)
    return draws[rng.choice(len(draws), p=shares)](image, rng)


def _shifted(image: Floats, rng: np.random.Generator) -> Floats:
    """Brighter or darker as a whole, with a texture of its own."""
    sign, side = rng.choice([-1.0, 1.0]), image.shape[0]
    strength = math.exp(rng.uniform(*np.log(STRENGTHS)))
    texture = 1 + rng.uniform(0, 0.6) * random_field(rng, side, int(rng.integers(6, side // 3)))
    return np.asarray(image + sign * strength * texture, dtype=np.float32)


def _foreign(image: Floats, rng: np.random.Generator) -> Floats:
    """Tissue of the same slice from somewhere else, turned over at random."""
    reach = image.shape[0] // 4
    moved = np.roll(image, rng.integers(-reach, reach + 1, 2), (0, 1))
    return np.ascontiguousarray(moved[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])])


def _flat(image: Floats, rng: np.random.Generator) -> Floats:
    """One grey value, between the slice's own darkest and brightest tissue."""
    low, high = np.quantile(image[image > TISSUE], (0.05, 0.995))
    return np.full_like(image, rng.uniform(low, high))


def _blurred(image: Floats, rng: np.random.Generator) -> Floats:
    """The same tissue without its detail."""
    return np.asarray(ndimage.gaussian_filter(image, rng.uniform(1, 4) * image.shape[0] / 128))


# What is put in, and how often.
CONTENTS: Mapping[str, tuple[float, Callable[[Floats, np.random.Generator], Floats]]] = {
    "shifted": (0.5, _shifted),
    "foreign": (0.28, _foreign),
    "flat": (0.14, _flat),
    "blurred": (0.08, _blurred),
}
