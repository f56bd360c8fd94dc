"""Scores of maps against boxes: per image and averaged, by class, and FROC; all with the bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score import froc
from uadbench.bench.score.boxes import BoxCounts, ratios
from uadbench.bench.score.measured import Measured
from uadbench.bench.score.sample import Sample, Score
from uadbench.bench.score.tally import Tally

__all__ = ["BOX_SCORERS", "box_tables", "case_of_boxes", "class_scorers"]

Floats = NDArray[np.float64]
BoxScorer = Callable[[Sample], Score]
CURVE_POINTS = 200
OF_A_CLASS = ("recall", "f1", "f1_papers")


def _components(counts: BoxCounts) -> int:
    return counts.false_capped


def _by_area(counts: BoxCounts) -> int:
    return counts.false_by_area


def _ratio(sample: Sample, which: int, false: Callable[[BoxCounts], int] = _components) -> Score:
    """Precision (0), recall (1) or F1 (2) of each image with a box, averaged; the threshold is held fixed."""
    more = {"threshold": sample.tally.thresholds.image}
    each = [
        ratios(int(case.counts.found.sum()), len(case.counts.found), false(case.counts))[which]
        for case in sample.lesions
        if case.counts is not None
    ]
    return _mean(each, sample.w_cases[0], sample.lesions, **more)


def _mean(each: Sequence[float], weights: Floats, cases: Sequence[Measured], **more: Any) -> Score:
    """Mean over cases; undefined in a resample without any of them, and None without a value of each."""
    if not each or len(each) < len(cases):
        return Score(more=more)
    values = np.array(each, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        samples = weights @ values / weights.sum(axis=1)
    return Score(float(values.mean()), samples, cases, more)


def _false_positives(sample: Sample) -> Score:
    """False components an image, not capped, over all test images."""
    cases = [*sample.lesions, *sample.healthy]
    each = [float(case.counts.false) for case in cases if case.counts is not None]
    return _mean(each, np.concatenate(sample.w_cases, axis=1), cases)


def _froc(sample: Sample, rate: float | None) -> Score:
    """The share of boxes found at a rate of false positives an image; None: the mean over ``froc.RATES``."""
    found = sample.froc_shares
    if found is None:
        return Score()
    value, samples = (
        (table.mean(axis=1) if rate is None else table[:, froc.RATES.index(rate)]) for table in found
    )
    # Boxes come from lesion images alone: theirs are the subjects that count.
    return Score(float(value[0]), samples, sample.lesions)


BOX_SCORERS: dict[str, BoxScorer] = {
    "box_f1": partial(_ratio, which=2),
    "box_f1_papers": partial(_ratio, which=2, false=_by_area),
    "box_recall": partial(_ratio, which=1),
    "box_precision": partial(_ratio, which=0),
    "froc_mean": partial(_froc, rate=None),
    **{f"froc_{rate:g}".replace(".", "_"): partial(_froc, rate=rate) for rate in froc.RATES},
    "box_false_positives": _false_positives,
}


def class_scorers(counted: Tally) -> dict[str, BoxScorer]:
    """Scorers of every class, by "class/score"; {} where the truth is masks."""
    parts = zip(OF_A_CLASS, (1, 2, 2), (_components, _components, _by_area), strict=True)
    return {
        f"{label}/{name}": partial(_of_class, label=label, which=which, false=false)
        for name, which, false in list(parts)
        for label in _labels(counted)
    }


def _labels(counted: Tally) -> list[str]:
    return sorted({label for case in counted.lesions for label in case.labels or ()})


def _of_class(sample: Sample, label: str, which: int, false: Callable[[BoxCounts], int]) -> Score:
    """Of the images with a box of the class: its boxes alone are looked for, and all false positives count."""
    members = [i for i, case in enumerate(sample.lesions) if label in (case.labels or ())]
    cases = [sample.lesions[i] for i in members]
    each = []
    for case in cases:
        if case.counts is not None:
            mine = np.array([name == label for name in case.labels or ()])
            found = int(case.counts.found[mine].sum())
            each.append(ratios(found, int(mine.sum()), false(case.counts))[which])
    return _mean(each, sample.w_cases[0][:, members], cases)


def box_tables(counted: Tally, found: Mapping[str, Score]) -> dict[str, Any]:
    """What metrics.json holds of boxes besides the scores: the truth, classes, and the FROC curve.

    found : the scores of ``class_scorers``
    """
    events = counted.froc_events
    rates, shares = froc.curve(events, len(counted.lesions) + len(counted.healthy)) if events else ([], [])
    points = np.linspace(0, len(rates) - 1, CURVE_POINTS) if rates else np.zeros(0)
    kept = np.unique(points.astype(int)).tolist()
    return {
        "truth": "boxes",
        "by_class": {
            label: {
                "n_boxes": sum((case.labels or ()).count(label) for case in counted.lesions),
                "n_images": sum(label in (case.labels or ()) for case in counted.lesions),
                **{name: found[f"{label}/{name}"].entry for name in OF_A_CLASS},
            }
            for label in _labels(counted)
        },
        "froc_curve": {
            "false_positives": [rates[i] for i in kept],
            "sensitivity": [shares[i] for i in kept],
        },
    }


def case_of_boxes(case: Measured) -> dict[str, Any]:
    """What per_case holds of an image: its boxes, which are found, false positives, its own ratios, its score."""
    counts, labels = case.counts, list(case.labels or ())
    precision = recall = f1 = None
    if counts is not None and labels:
        precision, recall, f1 = ratios(int(counts.found.sum()), len(labels), counts.false_capped)
    return {
        "boxes": labels,
        "found": None if counts is None else counts.found.tolist(),
        "false_positives": None if counts is None else counts.false,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "score": case.score,
    }
