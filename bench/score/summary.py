"""Scores of anomaly maps against lesion masks, as the papers compute them, with intervals over subjects.

Which cases enter what, so that figures can be held against the papers':

* Lesion cases, and only these, enter every pixel score (Dice, AUPRC), as in the papers. Lesions of 3 pixels
  or fewer at 128 x 128 are excluded from everything and counted, with the reason.
* Healthy test cases enter the image-level AUROC, the reconstruction scores and ``fpr_healthy_test``.
* Healthy validation cases fix one threshold and enter nothing else.

A pixel is found where ``map > threshold``, strictly: threshold 0 means "anything at all". Thresholds are
compared in float32, the type of the maps. All pixels of the image count, background included. Pooled scores are
one score over the pixels of all cases, not a mean over cases. The scores themselves are in ``scorers``.

Each map is looked at once and let go (``tally``), so memory does not grow with the maps. Up to ``EXACT_PIXELS`` pixels
of lesion cases every distinct value of them is a threshold where a score says so; beyond, bins are, and the entry
says how far it may be off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from uadbench.bench.score.binned import Histogram
from uadbench.bench.score.box_scorers import box_tables, case_of_boxes, class_scorers
from uadbench.bench.score.cases import (
    TOO_SMALL,
    Scored,
    Thresholds,
    check_case,
    check_cases,
    healthy_threshold,
    healthy_thresholds,
    image_score,
    reconstruction_metrics,
    size_group,
)
from uadbench.bench.score.measured import Cases, Measured
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.pooled import THRESHOLDS
from uadbench.bench.score.sample import samples
from uadbench.bench.score.scorers import SCORERS, scores
from uadbench.bench.score.statistics import N_BOOT, Difference, resampled_difference
from uadbench.bench.score.tally import EXACT_PIXELS, Tally, tally
from uadbench.bench.score.volume_scorers import VOLUME_SCORERS, volume_tables
from uadbench.reports.vocabulary import MEASURES

__all__ = [
    "Scored",
    "differences",
    "fix_thresholds",
    "healthy_threshold",
    "image_score",
    "reconstruction_metrics",
    "score_differences",
    "size_group",
    "summarize",
]


def summarize(
    test: Sequence[Scored] | Cases,
    healthy_val: Sequence[Scored] | Cases,
    seed: int,
    n_boot: int = N_BOOT,
    failed: Sequence[Mapping[str, str]] = (),
    operating: OperatingPoint | None = None,
    measures: Collection[str] | None = None,
    exact_pixels: int = EXACT_PIXELS,
) -> dict[str, Any]:
    """All scores of one cell, ready for metrics.json: fractions, with 95 % bootstrap intervals over subjects.

    test : scored test cases; healthy_val : healthy validation cases, run through the same method
    failed : {"case_id", "reason"} of the test cases that gave no map; recorded, not scored
    operating : of post-processed maps; without it the optional measures, which are taken there, have no entry
    measures : only these have an entry, None for all
    exact_pixels : of lesion cases, up to which every distinct value is a threshold
    A value that cannot be computed is None inside its entry, never 0. Maxima over thresholds are taken anew
    in every resample. Raises ValueError that names the case for a map that is not finite, negative or not
    of the mask's shape, a case given twice, or a mask that contradicts ``lesion``.
    """
    counted = tally(test, fix_thresholds(healthy_val, exact_pixels), operating, exact_pixels=exact_pixels)
    names = [
        name
        for name in SCORERS
        if _applies(name, counted)
        and (operating or not _optional(name))
        and (measures is None or name in measures)
    ]
    classes = class_scorers(counted)
    found = scores([*names, *classes], samples(counted, seed, n_boot), classes)
    lesions, healthy = counted.lesions, counted.healthy
    return {
        "n_cases": len(lesions) + len(healthy),
        "n_lesion": len(lesions),
        "n_healthy": len(healthy),
        "n_failed": len(failed),
        "n_excluded": counted.excluded,
        "excluded": {TOO_SMALL: counted.excluded} if counted.excluded else {},
        "failed": [dict(case) for case in failed],
        **{name: found[name].entry for name in names},
        **(_mask_tables(counted) if counted.truth == "mask" else box_tables(counted, found)),
        **(volume_tables(counted.volumes) if counted.volumes and set(names) & set(VOLUME_SCORERS) else {}),
        "per_case": _per_case(counted),
    }


def _mask_tables(counted: Tally) -> dict[str, Any]:
    curve = counted.curve if counted.lesions else None
    return {
        "pr_curve": {"recall": curve.recall if curve else [], "precision": curve.precision if curve else []},
        **({} if counted.exact else {"dice_curve": _dice_curve(counted)}),
    }


def fix_thresholds(healthy_val: Sequence[Scored] | Cases, exact_pixels: int = EXACT_PIXELS) -> Thresholds:
    """Both healthy thresholds: one of the maps' own values, or with more pixels the upper end of its bin.

    The rate that they stand for is kept in either case; a bin is narrower than 1/8192 of its values. Raises
    ValueError that names a case that cannot be scored or has a lesion.
    """
    cases = Cases.held(healthy_val)
    if not len(cases.lesion):
        return healthy_thresholds([])
    if cases.read(0).anomaly.size * len(cases.lesion) <= exact_pixels:
        held = list(cases)
        check_cases(held)
        for case in held:
            _refuse_lesion(case)
        return healthy_thresholds(held)
    seen: set[str] = set()
    image, head, known = Histogram(), Histogram(), True
    for case in cases:
        check_case(case, seen)
        _refuse_lesion(case)
        image.add(case.anomaly)
        known = known and case.head is not None
        if case.head is not None:
            head.add(case.anomaly[case.head])
    return Thresholds(image.exceeded_by(5), head.exceeded_by(5) if known else None)


def _refuse_lesion(case: Scored) -> None:
    if case.lesion:
        raise ValueError(
            f"case {case.case_id}: has a lesion, but the threshold is fixed on healthy validation cases only"
        )


def score_differences(
    names: Iterable[str],
    a: Sequence[Scored],
    b: Sequence[Scored],
    seed: int,
    n_boot: int = N_BOOT,
    thresholds: tuple[Thresholds, Thresholds] = (Thresholds(), Thresholds()),
    operating: tuple[OperatingPoint | None, OperatingPoint | None] = (None, None),
) -> dict[str, Difference | None]:
    """Paired differences B - A of scores of two methods on the same test cases; None where one has no value.

    names : of ``SCORERS``
    thresholds : A's and B's healthy thresholds, for the scores that need them; operating : their operating points

    Both are resampled alike, each with its own best threshold in each resample. Lesions of 3 pixels or fewer are
    ignored. A measure of another truth has none. Raises ValueError when the cases differ.
    """
    first, second = (
        tally(sorted(side, key=lambda case: case.case_id), t, point)
        for side, t, point in zip((a, b), thresholds, operating, strict=True)
    )
    return differences(names, first, second, seed, n_boot)


def differences(
    names: Iterable[str], a: Tally, b: Tally, seed: int, n_boot: int = N_BOOT
) -> dict[str, Difference | None]:
    """The same of cases that were counted, in one order."""
    if _cases_of(a) != _cases_of(b):
        raise ValueError(
            "the two methods were not scored on the same lesion and healthy cases; pass the shared ones only"
        )
    names = list(names)
    scored = [name for name in names if _applies(name, a)]
    first, second = (scores(scored, samples(side, seed, n_boot)) for side in (a, b))
    result: dict[str, Difference | None] = {}
    for name in names:
        one, two = first.get(name), second.get(name)
        result[name] = None
        if one is None or two is None:
            continue
        if not (one.value is None or two.value is None or one.samples is None or two.samples is None):
            result[name] = resampled_difference(
                (one.value, two.value), (one.samples, two.samples), len(one.cases), one.n_subjects
            )
    return result


def _optional(name: str) -> bool:
    return name in MEASURES and MEASURES[name].optional


def _applies(name: str, counted: Tally) -> bool:
    """Whether what was counted is what the measure is of: masks or boxes, and volumes."""
    if name not in MEASURES:
        return True
    measure = MEASURES[name]
    return measure.applies_to(counted.truth) and (counted.volumes is not None or not measure.volumes)


def _cases_of(counted: Tally) -> list[tuple[str, str, bool]]:
    return [(case.case_id, case.subject, case.lesion) for case in (*counted.lesions, *counted.healthy)]


def _dice_curve(counted: Tally) -> dict[str, list[float]]:
    """Pooled Dice at the papers' 101 thresholds, which a report could draw only from all maps."""
    return {"threshold": (np.arange(len(THRESHOLDS)) / 100).tolist(), "dice": counted.dice.tolist()}


def _per_case(counted: Tally) -> dict[str, dict[str, Any]]:
    if counted.truth == "boxes":
        return {case.case_id: case_of_boxes(case) for case in (*counted.lesions, *counted.healthy)}
    return {
        case.case_id: {
            "dice": case.dice,
            "lesion_px": case.lesion_px,
            "group": case.group,
            "score": case.score,
            **_at_best(case, counted.best),
        }
        for case in (*counted.lesions, *counted.healthy)
    }


def _at_best(case: Measured, cut: int | None) -> dict[str, Any]:
    """Its Dice, and the pixels found outside its truth, at the threshold of the pooled max Dice; None without one."""
    if cut is None or case.false is None:
        return {"dice_at_max": None, "false_px": None}
    false, hit = int(case.false[cut]), 0 if case.hit is None else int(case.hit[cut])
    return {
        "dice_at_max": 2 * hit / (hit + false + case.lesion_px) if case.lesion else None,
        "false_px": false,
    }
