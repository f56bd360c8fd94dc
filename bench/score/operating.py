"""An operating point: one threshold for all images, chosen on validation lesions, and small components left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.pooled import Counts, pooled_dice
from uadbench.engine.post import without_small

__all__ = ["CANDIDATES", "OperatingPoint", "choose_threshold", "count_found"]

CANDIDATES = 100
"""Thresholds that are tried: between two of them lies about 1 % of the lesions' pixels."""

Maps = Sequence[NDArray[np.float32]]
Masks = Sequence[NDArray[np.bool_]]


@dataclass(frozen=True)
class OperatingPoint:
    """What calls a pixel lesion: the map exceeds ``threshold``, in a component of ``component_px`` pixels at least.

    threshold : None where the data set has no validation lesion to choose it on
    """

    threshold: float | None
    component_px: int


def count_found(maps: Maps, masks: Masks, threshold: float, component_px: int) -> Counts:
    """Counts [n, 1] of the pixels above the threshold, components of fewer than ``component_px`` left out."""
    found, hit = np.zeros((2, len(maps), 1))
    for i, (anomaly, mask) in enumerate(zip(maps, masks, strict=True)):
        called = without_small(anomaly > np.float32(threshold), component_px)
        found[i], hit[i] = np.count_nonzero(called), np.count_nonzero(called & mask)
    return Counts(found, hit, np.array([np.count_nonzero(mask) for mask in masks], dtype=np.float64))


def choose_threshold(maps: Maps, masks: Masks, component_px: int) -> tuple[float, float]:
    """(threshold, the pooled Dice there): the best of ``CANDIDATES``, the lowest of equals; float32 and >= 0.

    maps : float32 [H, W] >= 0; masks : bool [H, W], at least one lesion pixel among them
    Lowering a threshold helps where it wins a lesion pixel, so what is tried lies just below quantiles of the lesion
    pixels' own values; small components are left out of what is scored, as at the test.
    """
    inside = np.concatenate([anomaly[mask] for anomaly, mask in zip(maps, masks, strict=True)])
    values = np.unique(np.quantile(inside, np.arange(CANDIDATES) / CANDIDATES, method="inverted_cdf"))
    below = np.nextafter(values.astype(np.float32), np.float32(-np.inf))
    tried = np.unique(np.maximum(below, np.float32(0)))
    one = np.ones((1, len(maps)))
    dice = [float(pooled_dice(one, count_found(maps, masks, float(t), component_px))[0, 0]) for t in tried]
    best = int(np.argmax(dice))
    return float(tried[best]), dice[best]
