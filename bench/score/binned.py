"""Pooled pixels as a histogram that needs no range and no second look, and how far what follows from it can be off.

The float32 values >= 0 rise with their bit patterns read as whole numbers. A bin holds the values whose patterns
agree in all but the last ``DROPPED`` bits: 8192 bins from a number to its double, so a bin is narrower than 1/8192 of
its values, wherever they lie. All cases share the bins without agreeing on anything first, and maps with few distinct
values (or of half precision) lose nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.pooled import Curve

__all__ = ["DROPPED", "Histogram", "binned_curve", "error_bounds"]

DROPPED = 10
N_BINS = 0x7F800000 >> DROPPED  # up to infinity

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _empty() -> Integers:
    return np.zeros(N_BINS, dtype=np.int64)


@dataclass
class Histogram:
    """Counts of pooled pixels by bin, all of them and the lesion pixels among them: int64 [N_BINS], 17 MB each."""

    found: Integers = field(default_factory=_empty)
    hit: Integers = field(default_factory=_empty)

    def add(self, pixels: NDArray[np.float32], lesion: NDArray[np.float32] | None = None) -> None:
        """Count a case's pixels, finite and >= 0, and those of them that are lesion."""
        np.add.at(self.found, _bins(pixels), 1)
        if lesion is not None:
            np.add.at(self.hit, _bins(lesion), 1)

    def exceeded_by(self, percent: int) -> float | None:
        """The largest value of the first bin beyond which at most ``percent`` % of the pixels lie; None without any.

        The lowest value of which that is true lies in the same bin, less than 1/8192 below.
        """
        total = int(self.found.sum())
        if not total:
            return None
        rank = -(-total * (100 - percent) // 100)
        place = int(np.searchsorted(self.found.cumsum(), rank, side="left"))
        return float(np.nextafter(_lowest(place + 1), np.float32(0)))


def _bins(pixels: NDArray[np.float32]) -> NDArray[np.intp]:
    values = np.ascontiguousarray(pixels, dtype=np.float32).ravel() + np.float32(0)  # -0 becomes 0
    return (values.view(np.uint32) >> DROPPED).astype(np.intp)


def _lowest(place: int) -> np.float32:
    """The lowest value of a bin."""
    return np.float32(np.array([place << DROPPED], dtype=np.uint32).view(np.float32)[0])


def binned_curve(histogram: Histogram, points: int = 100) -> Curve:
    """Average precision and best Dice where every bin is one threshold, with bounds on their errors.

    Raises ValueError without a lesion pixel. The points of the precision-recall curve are points of the exact one.
    """
    places = np.flatnonzero(histogram.found)[::-1]
    found, hit = histogram.found[places].cumsum(), histogram.hit[places].cumsum()
    if not len(hit) or not hit[-1]:
        raise ValueError("no lesion pixel, so precision and recall are undefined")
    recall, precision = hit / hit[-1], hit / found
    dice = 2 * hit / (found + hit[-1])
    best = int(len(dice) - 1 - dice[::-1].argmax())  # the lowest threshold of equals, as on the exact curve
    value = float((np.diff(recall, prepend=0.0) * precision).sum())
    ap_error, dice_error = error_bounds(found.astype(np.float64), hit.astype(np.float64))
    targets = np.arange(1, points + 1) / points
    chosen = np.unique(np.searchsorted(recall, targets - 1e-12, side="left"))
    return Curve(
        average_precision=value,
        dice=float(dice[best]),
        threshold=float(np.nextafter(_lowest(int(places[best])), np.float32(-np.inf))),
        recall=recall[chosen].tolist(),
        precision=precision[chosen].tolist(),
        ap_error=ap_error,
        dice_error=dice_error,
    )


def error_bounds(found: Floats, hit: Floats) -> tuple[float, float]:
    """How far average precision and best Dice from bins can be off: (|binned - exact| at most, exact - binned at most).

    found, hit : [k] pixels, and lesion pixels among them, at and above each bin, bins falling; hit[-1] = L > 0

    A bin holds l lesion pixels and n others in an order that is not known; above it lie H lesion pixels of F. Take the
    j-th of its lesion pixels from above. At its own value, h lesion pixels and m others of the bin are found, j <= h
    <= l and m <= n, so the precision there, (H + h) / (F + h + m), is

        at least  g(j) = (H + j) / (F + n + j)   and at most   (H + l) / (F + l),

    as it rises with h (H <= F) and falls with m. Average precision is the mean of these precisions over all L lesion
    pixels. g is concave in j, so the sum of g(1) .. g(l) is at least l (g(1) + g(l)) / 2: the lower bound. The binned
    value takes (H + l) / (F + n + l) for each, which lies between the bounds; what is returned is its distance from the
    farther one. Dice in the bin is 2 (H + h) / (F + h + m + L), at most 2 (H + l) / (F + l + L), and every binned
    Dice is that of a real threshold, so the exact maximum is not lower.
    """
    total = hit[-1]
    lesion, every = np.diff(hit, prepend=0.0), np.diff(found, prepend=0.0)
    above_hit, above = hit - lesion, found - every
    others = every - lesion
    low = ((above_hit + 1) / (above + others + 1) + hit / found) / 2
    high = hit / np.maximum(above + lesion, 1)
    share = lesion / total
    binned = share * (hit / found)
    ap = max(float((share * high - binned).sum()), float((binned - share * low).sum()))
    dice = (2 * hit / (above + lesion + total)).max() - (2 * hit / (found + total)).max()
    return ap, float(dice)
