"""FROC: how many boxes are found at how many false positives an image.

The candidates of an image are the connected components above the healthy threshold, each with its highest value as its
score. Raising a level drops the candidates below it. A box is found where more than a tenth of its pixels lies in
candidates that are left; a candidate is a false positive where no more than a tenth of its own pixels lies in boxes. So
both counts fall as the level rises, and a map that is high everywhere gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.boxes import SHARE, components, filled, is_false
from uadbench.datasets.case import Box

__all__ = ["RATES", "Events", "curve", "events_of", "join", "sensitivities"]

RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)
"""False positives an image, as FROC curves are summed up by custom (LUNA16)."""

_CELLS = 4_000_000  # of a table at a time, resamples times levels, so that it fits in memory
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Events:
    """Levels down to which something counts, of one image or of many.

    box : [n] the level at which each box comes to be found, -inf where none does
    false : [k] the score of each false candidate
    box_case, false_case : the image that each belongs to
    """

    box: Floats
    false: Floats
    box_case: NDArray[np.intp]
    false_case: NDArray[np.intp]


def events_of(anomaly: NDArray[np.float32], boxes: Sequence[Box], threshold: float) -> Events:
    """The events of one image, as case 0; exact."""
    values = np.asarray(anomaly, dtype=np.float32)
    labels, count = components(values > np.float32(threshold))
    scores = np.full(count, -np.inf, dtype=np.float32)
    np.maximum.at(scores, labels[labels > 0] - 1, values[labels > 0])
    false = scores[is_false(labels, count, filled(boxes, values.shape))]
    levels = np.array([_level(labels[box.where], scores) for box in boxes], dtype=np.float64)
    return Events(
        levels, false.astype(np.float64), np.zeros(len(levels), np.intp), np.zeros(len(false), np.intp)
    )


def _level(labels: NDArray[np.int32], scores: NDArray[np.float32]) -> float:
    """The highest level at which candidates of at least that score cover more than a tenth of a box."""
    covered = np.bincount(labels.ravel(), minlength=len(scores) + 1)[1:]
    falling = np.argsort(-scores, kind="stable")
    enough = SHARE * np.cumsum(covered[falling]) > labels.size
    return float(scores[falling[int(np.argmax(enough))]]) if enough.any() else -np.inf


def join(parts: Sequence[Events]) -> Events:
    """The events of many images, case i those of ``parts[i]``."""
    n_box, n_false = [len(part.box) for part in parts], [len(part.false) for part in parts]
    empty = np.zeros(0)
    return Events(
        np.concatenate([empty, *(part.box for part in parts)]),
        np.concatenate([empty, *(part.false for part in parts)]),
        np.repeat(np.arange(len(parts)), n_box),
        np.repeat(np.arange(len(parts)), n_false),
    )


def sensitivities(events: Events, weights: Floats, rates: Sequence[float] = RATES) -> Floats:
    """The share of boxes found at each rate of false positives an image: [m, rates]; NaN where no box is drawn.

    weights : [m, cases] how often each image counts; every image, healthy ones too, counts as one of those that false
        positives are spread over

    At a rate it is that of the lowest level with no more false positives than that; nothing is interpolated, and a
    curve that ends before keeps its last value.
    """
    levels, false_at, box_at = _levels(events)
    result = np.empty((len(weights), len(rates)))
    chunk = max(1, _CELLS // max(1, len(levels)))
    for start in range(0, len(weights), chunk):
        part = weights[start : start + chunk]
        false = _cumulated(part[:, events.false_case], false_at, len(levels))
        found = _cumulated(part[:, events.box_case[box_at >= 0]], box_at[box_at >= 0], len(levels))
        boxes, images = part[:, events.box_case].sum(axis=1), part.sum(axis=1)
        for k, rate in enumerate(rates):
            # false positives grow along the levels: as many as are within the rate may be used
            used = (false <= rate * images[:, None] + 1e-9).sum(axis=1)
            reached = np.concatenate([np.zeros((len(part), 1)), found], axis=1)[np.arange(len(part)), used]
            with np.errstate(invalid="ignore", divide="ignore"):
                result[start : start + chunk, k] = np.where(boxes > 0, reached / boxes, np.nan)
    return result


def curve(events: Events, n_cases: int) -> tuple[list[float], list[float]]:
    """(false positives an image, share of boxes found) at every level, from the highest down; [] without a box."""
    if not len(events.box) or not n_cases:
        return [], []
    levels, false_at, box_at = _levels(events)
    false = np.bincount(false_at, minlength=len(levels)).cumsum() / n_cases
    found = np.bincount(box_at[box_at >= 0], minlength=len(levels)).cumsum() / len(events.box)
    return false.tolist(), found.tolist()


def _levels(events: Events) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Distinct levels, falling, and the place of every false candidate and box among them; -1 for a box never found."""
    known = events.box[np.isfinite(events.box)]
    rising = np.unique(np.concatenate([known, events.false]))
    last = len(rising) - 1
    box = np.where(np.isfinite(events.box), last - np.searchsorted(rising, events.box), -1)
    return rising[::-1], (last - np.searchsorted(rising, events.false)).astype(np.intp), box.astype(np.intp)


def _cumulated(weights: Floats, at: NDArray[np.intp], n_levels: int) -> Floats:
    """[m, levels]: weights [m, events] summed over the events at each level and all before it."""
    table = np.zeros((len(weights), n_levels))
    for row, values in zip(table, weights, strict=True):
        row[:] = np.bincount(at, weights=values, minlength=n_levels)
    return table.cumsum(axis=1)
