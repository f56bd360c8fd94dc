"""Counts over pooled pixels: with one small table a case, a resample's score is a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "THRESHOLDS",
    "Counts",
    "Curve",
    "add_counts",
    "beyond",
    "count_at",
    "exact_curve",
    "fine_counts",
    "fine_edges",
    "fine_samples",
    "first_counts",
    "no_counts",
    "pooled_dice",
    "pooled_precision",
    "pooled_recall",
]

THRESHOLDS = (np.arange(101) / 100).astype(np.float32)  # the papers' 0, 0.01, .. 1
N_BINS = 4096
_CHUNK = 128  # resamples at a time, so that the tables of fine bins stay in cache

Floats = NDArray[np.float64]
Maps = Sequence[NDArray[np.float32]]
Masks = Sequence[NDArray[np.bool_]]


@dataclass(frozen=True)
class Counts:
    """Pixels of each case at each of k cuts.

    found : [n, k] pixels called lesion; hit : [n, k] those that are; lesion : [n] lesion pixels
    """

    found: Floats
    hit: Floats
    lesion: Floats

    def of(self, members: NDArray[np.intp]) -> Counts:
        """The counts of some cases."""
        return Counts(self.found[members], self.hit[members], self.lesion[members])

    def at(self, cuts: slice) -> Counts:
        """The counts at some cuts."""
        return Counts(self.found[:, cuts], self.hit[:, cuts], self.lesion)


@dataclass(frozen=True)
class Curve:
    """What all distinct thresholds give.

    dice, threshold : the highest pooled Dice, and the float32 value that the found pixels exceed
    recall, precision : about 100 points of the precision-recall curve, recall rising
    ap_error, dice_error : what the two may be off by at most; 0 where they are exact
    """

    average_precision: float
    dice: float
    threshold: float
    recall: list[float]
    precision: list[float]
    ap_error: float = 0.0
    dice_error: float = 0.0


def no_counts(rows: int, columns: int) -> Counts:
    """A table of zeros; memory is taken as rows are filled."""
    found, hit = (np.zeros((rows, columns)) for _ in range(2))
    return Counts(found, hit, np.zeros(rows))


def add_counts(table: Counts, row: int, found: NDArray[Any], hit: NDArray[Any], lesion: int) -> None:
    """Add a case's counts to a row; they are whole numbers, so the order of adding does not matter."""
    table.found[row] += found
    table.hit[row] += hit
    table.lesion[row] += lesion


def first_counts(table: Counts, rows: int) -> Counts:
    """The first rows of a table."""
    return Counts(table.found[:rows], table.hit[:rows], table.lesion[:rows])


def count_at(maps: Maps, masks: Masks, thresholds: NDArray[np.float32]) -> Counts:
    """Count ``map > threshold`` for rising thresholds [k]."""
    return _counts(maps, masks, thresholds, side="right")


def fine_counts(maps: Maps, masks: Masks, bins: int = N_BINS) -> Counts:
    """Counts at up to ``bins`` cuts ``map >= edge`` shared by all cases, edges falling.

    Edges are quantiles of the lesion pixels' own values, so a bin holds about 1/bins of the recall at most. The average
    precision is then off by at most 1/bins of precision's total variation along the curve: with 4096 below 1e-3
    unless precision swings by more than 4 in all. Exact with at most so many distinct lesion values.
    """
    edges = fine_edges(np.concatenate([m[mask] for m, mask in zip(maps, masks, strict=True)]), bins)
    counts = _counts(maps, masks, edges, side="left")
    return Counts(counts.found[:, ::-1].copy(), counts.hit[:, ::-1].copy(), counts.lesion)


def fine_edges(pixels: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """The rising edges of at most ``bins`` bins: all distinct values, or else quantiles of the pixels given."""
    values = np.unique(pixels)
    if values.size > bins:
        values = np.unique(np.quantile(pixels, np.arange(bins) / bins, method="inverted_cdf"))
    return values


def _counts(maps: Maps, masks: Masks, edges: NDArray[np.float32], side: str) -> Counts:
    """Pixels beyond each edge; with side "left" those that equal it too."""
    found, hit = np.zeros((2, len(maps), len(edges)))
    for i, (anomaly, mask) in enumerate(zip(maps, masks, strict=True)):
        found[i] = beyond(np.sort(anomaly, axis=None), edges, side)
        hit[i] = beyond(np.sort(anomaly[mask]), edges, side)
    return Counts(found, hit, np.array([np.count_nonzero(mask) for mask in masks], dtype=np.float64))


def beyond(pixels: NDArray[np.float32], edges: NDArray[np.float32], side: str) -> NDArray[np.intp]:
    """How many of the sorted pixels lie beyond each edge, with side "left" those that equal it too."""
    below = np.searchsorted(pixels, edges, side=side)  # type: ignore[call-overload]
    return np.asarray(pixels.size - below, dtype=np.intp)


def pooled_dice(weights: Floats, counts: Counts) -> Floats:
    """Dice [m, k] of the weighted cases' pooled pixels; weights [m, n]; NaN without a lesion pixel."""
    lesion = (weights @ counts.lesion)[:, None]
    with np.errstate(invalid="ignore"):
        return np.where(lesion > 0, 2 * (weights @ counts.hit) / (weights @ counts.found + lesion), np.nan)


def pooled_precision(weights: Floats, counts: Counts) -> Floats:
    """Share of the found pixels that are lesion [m, k], likewise; NaN where nothing is found."""
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ counts.hit) / (weights @ counts.found))


def pooled_recall(weights: Floats, counts: Counts) -> Floats:
    """Share of the lesion pixels that are found [m, k], likewise; NaN without a lesion pixel."""
    with np.errstate(invalid="ignore"):
        return np.asarray((weights @ counts.hit) / (weights @ counts.lesion)[:, None])


def fine_samples(weights: Floats, counts: Counts) -> tuple[Floats, Floats]:
    """(average precision [m], max Dice [m]) from ``fine_counts``; NaN without a lesion pixel."""
    ap, best = np.empty((2, len(weights)))
    for start in range(0, len(weights), _CHUNK):
        rows = slice(start, start + _CHUNK)
        w = weights[rows]
        found, hit, lesion = w @ counts.found, w @ counts.hit, (w @ counts.lesion)[:, None]
        with np.errstate(invalid="ignore"):
            precision = np.divide(hit, found, out=np.zeros_like(hit), where=found > 0)
            gained = np.diff(hit, axis=1, prepend=0.0)
            ap[rows] = (gained * precision).sum(axis=1) / lesion[:, 0]
            best[rows] = np.where(lesion > 0, 2 * hit / (found + lesion), np.nan).max(axis=1)
    return ap, best


def exact_curve(maps: Maps, masks: Masks, points: int = 100) -> Curve:
    """Average precision and best Dice over every distinct value of the pooled pixels (scikit-learn's curve).

    Raises ValueError without a lesion pixel.
    """
    from sklearn.metrics import precision_recall_curve

    truth = np.concatenate([mask.ravel() for mask in masks])
    if not truth.any():
        raise ValueError("no lesion pixel, so precision and recall are undefined")
    precision, recall, values = precision_recall_curve(truth, np.concatenate([m.ravel() for m in maps]))
    # the last point (recall 0, precision 1) is a convention, not a threshold
    p, r = precision[:-1], recall[:-1]
    dice = np.divide(2 * p * r, p + r, out=np.zeros_like(p), where=p + r > 0)
    best = int(dice.argmax())
    # Recall falls along the arrays; for each target take the highest threshold that reaches it
    targets = np.arange(1, points + 1) / points
    chosen = np.unique(len(r) - 1 - np.searchsorted(r[::-1], targets - 1e-12, side="left"))[::-1]
    return Curve(
        average_precision=float(-(np.diff(recall) * p).sum()),
        dice=float(dice[best]),
        # values >= v are exactly those above the next float32 below v
        threshold=float(np.nextafter(np.float32(values[best]), np.float32(-np.inf))),
        recall=r[chosen].tolist(),
        precision=p[chosen].tolist(),
    )
