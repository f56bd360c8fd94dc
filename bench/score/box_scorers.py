"""Scores of maps against boxes: per image and averaged, by class, and FROC; all with the bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score import froc
from uadbench.bench.score.boxes import BoxCounts, ratios
from uadbench.bench.score.sample import Sample, Score, mean_over

__all__ = ["BOX_SCORERS", "box_tables", "case_of_boxes"]

Floats = NDArray[np.float64]
CURVE_POINTS = 200


def _components(counts: BoxCounts) -> int:
    return counts.false_capped


def _by_area(counts: BoxCounts) -> int:
    return counts.false_by_area


def _ratio(sample: Sample, which: int, false: Callable[[BoxCounts], int] = _components) -> Score:
    """Precision (0), recall (1) or F1 (2) of each image with a box, averaged; the threshold is held fixed."""
    more = {"threshold": sample.thresholds.image}
    if sample.boxes_found is None:
        return Score(more=more)
    each = [ratios(int(c.found.sum()), len(c.found), false(c))[which] for c in sample.boxes_found]
    return mean_over(np.array(each), sample.w_lesion, sample.lesions, **more)


def _false_positives(sample: Sample) -> Score:
    """False components an image, not capped, over all test images."""
    counts, cases = sample.boxes_found, [*sample.lesions, *sample.healthy]
    if counts is None or sample.boxes_healthy is None:
        return Score()
    each = np.array([c.false for c in (*counts, *sample.boxes_healthy)], dtype=np.float64)
    return mean_over(each, np.concatenate([sample.w_lesion, sample.w_healthy], axis=1), cases)


def _froc(sample: Sample, rate: float | None) -> Score:
    """The share of boxes found at a rate of false positives an image; None: the mean over ``froc.RATES``."""
    cases, found = [*sample.lesions, *sample.healthy], sample.froc_shares
    if found is None:
        return Score()
    value, samples = (
        (table.mean(axis=1) if rate is None else table[:, froc.RATES.index(rate)]) for table in found
    )
    kinds = ["lesion"] * len(sample.lesions) + ["healthy"] * len(sample.healthy)
    # Boxes come from lesion images alone: theirs are the subjects that count.
    return Score(float(value[0]), samples, cases[: len(sample.lesions)], kinds=kinds[: len(sample.lesions)])


BOX_SCORERS: dict[str, Callable[[Sample], Score]] = {
    "box_f1": partial(_ratio, which=2),
    "box_f1_papers": partial(_ratio, which=2, false=_by_area),
    "box_recall": partial(_ratio, which=1),
    "box_precision": partial(_ratio, which=0),
    "froc_mean": partial(_froc, rate=None),
    **{f"froc_{rate:g}".replace(".", "_"): partial(_froc, rate=rate) for rate in froc.RATES},
    "box_false_positives": _false_positives,
}


def box_tables(sample: Sample) -> dict[str, Any]:
    """What metrics.json holds of boxes besides the scores: the truth, classes, and the FROC curve."""
    found = sample.froc_events
    rates, shares = froc.curve(found, len(sample.lesions) + len(sample.healthy)) if found else ([], [])
    points = np.linspace(0, len(rates) - 1, CURVE_POINTS) if rates else np.zeros(0)
    kept = np.unique(points.astype(int)).tolist()
    return {
        "truth": "boxes",
        "by_class": {label: _of_class(sample, label) for label in _labels(sample)},
        "froc_curve": {
            "false_positives": [rates[i] for i in kept],
            "sensitivity": [shares[i] for i in kept],
        },
    }


def _labels(sample: Sample) -> list[str]:
    return sorted({box.label for case in sample.lesions for box in case.boxes or ()})


def _of_class(sample: Sample, label: str) -> dict[str, Any]:
    """Of the images with a box of the class: its boxes alone are looked for, and all false positives count."""
    mine = [np.array([box.label == label for box in case.boxes or ()]) for case in sample.lesions]
    members = np.array([i for i, chosen in enumerate(mine) if chosen.any()], dtype=np.intp)
    cases = [sample.lesions[i] for i in members]
    entry: dict[str, Any] = {"n_boxes": int(sum(chosen.sum() for chosen in mine)), "n_images": len(members)}
    for name, which, false in (
        ("recall", 1, _components),
        ("f1", 2, _components),
        ("f1_papers", 2, _by_area),
    ):
        score = Score()
        if sample.boxes_found is not None:
            counts = [sample.boxes_found[i] for i in members]
            each = [
                ratios(int(c.found[mine[i]].sum()), int(mine[i].sum()), false(c))[which]
                for i, c in zip(members, counts, strict=True)
            ]
            score = mean_over(np.array(each), sample.w_lesion[:, members], cases)
        entry[name] = score.entry
    return entry


def case_of_boxes(sample: Sample) -> dict[str, dict[str, Any]]:
    """What per_case holds of each image: its boxes, how many are found, false positives, and its own ratios."""
    lesions, healthy = sample.boxes_found or (), sample.boxes_healthy or ()
    counted = {
        case.case_id: counts
        for cases, found in ((sample.lesions, lesions), (sample.healthy, healthy))
        for case, counts in zip(cases, found, strict=False)
    }
    return {
        case.case_id: _case(counted.get(case.case_id), [box.label for box in case.boxes or ()])
        for case in (*sample.lesions, *sample.healthy)
    }


def _case(counts: BoxCounts | None, labels: list[str]) -> dict[str, Any]:
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
    }
