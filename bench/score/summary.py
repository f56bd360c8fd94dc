"""Scores of anomaly maps against lesion masks, as the papers compute them, with intervals over subjects.

Which cases enter what, so that figures can be held against the papers':

* Lesion cases, and only these, enter every pixel score (Dice, AUPRC), as in the papers. Lesions of 3 pixels
  or fewer at 128 x 128 are excluded from everything and counted, with the reason.
* Healthy test cases enter the image-level AUROC, the reconstruction scores and ``fpr_healthy_test``.
* Healthy validation cases fix one threshold and enter nothing else.

A pixel is found where ``map > threshold``, strictly: threshold 0 means "anything at all". Thresholds are
compared in float32, the type of the maps. All pixels of the image count, background included. Pooled scores are
one score over the pixels of all cases, not a mean over cases. The scores themselves are in ``scorers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from uadbench.bench.score.box_scorers import box_tables, case_of_boxes
from uadbench.bench.score.cases import (
    TOO_SMALL,
    Scored,
    Thresholds,
    check_cases,
    healthy_threshold,
    healthy_thresholds,
    image_score,
    reconstruction_metrics,
    size_group,
)
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.scorers import SCORERS, Sample, make_sample
from uadbench.bench.score.statistics import N_BOOT, Difference, resampled_difference
from uadbench.reports.vocabulary import MEASURES

__all__ = [
    "Scored",
    "healthy_threshold",
    "image_score",
    "reconstruction_metrics",
    "score_differences",
    "size_group",
    "split_cases",
    "summarize",
]


def summarize(
    test: Sequence[Scored],
    healthy_val: Sequence[Scored],
    seed: int,
    n_boot: int = N_BOOT,
    failed: Sequence[Mapping[str, str]] = (),
    operating: OperatingPoint | None = None,
) -> dict[str, Any]:
    """All scores of one cell, ready for metrics.json: fractions, with 95 % bootstrap intervals over subjects.

    test : scored test cases; healthy_val : healthy validation cases, run through the same method
    failed : {"case_id", "reason"} of the test cases that gave no map; recorded, not scored
    operating : of post-processed maps; without it the optional measures, which are taken there, have no entry
    A value that cannot be computed is None inside its entry, never 0. Maxima over thresholds are taken anew
    in every resample. Raises ValueError that names the case for a map that is not finite, negative or not
    of the mask's shape, a case given twice, or a mask that contradicts ``lesion``.
    """
    check_cases(test)
    check_cases(healthy_val)
    if wrong := [case.case_id for case in healthy_val if case.lesion]:
        raise ValueError(
            f"case {wrong[0]}: has a lesion, but the threshold is fixed on healthy validation cases only"
        )
    lesions, healthy = split_cases(test)
    excluded = Counter([TOO_SMALL] * (len(test) - len(lesions) - len(healthy)))
    sample = make_sample(lesions, healthy, healthy_thresholds(healthy_val), seed, n_boot, operating)
    return {
        "n_cases": len(lesions) + len(healthy),
        "n_lesion": len(lesions),
        "n_healthy": len(healthy),
        "n_failed": len(failed),
        "n_excluded": sum(excluded.values()),
        "excluded": dict(excluded),
        "failed": [dict(case) for case in failed],
        **{
            name: scorer(sample).entry
            for name, scorer in SCORERS.items()
            if _applies(name, sample) and (operating or not _optional(name))
        },
        **(box_tables(sample) if sample.truth == "boxes" else _mask_tables(sample)),
        "per_case": _per_case(sample),
    }


def _mask_tables(sample: Sample) -> dict[str, Any]:
    curve = sample.curve if sample.lesions else None
    return {
        "pr_curve": {"recall": curve.recall if curve else [], "precision": curve.precision if curve else []}
    }


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
        _paired_sample(side, t, seed, n_boot, point)
        for side, t, point in zip((a, b), thresholds, operating, strict=True)
    )
    if _cases_of(first) != _cases_of(second):
        raise ValueError(
            "the two methods were not scored on the same lesion and healthy cases; pass the shared ones only"
        )
    result: dict[str, Difference | None] = {}
    for name in names:
        result[name] = None
        if not _applies(name, first):
            continue
        one, two = SCORERS[name](first), SCORERS[name](second)
        if not (one.value is None or two.value is None or one.samples is None or two.samples is None):
            result[name] = resampled_difference(
                (one.value, two.value), (one.samples, two.samples), len(one.cases), one.n_subjects
            )
    return result


def _optional(name: str) -> bool:
    return name in MEASURES and MEASURES[name].optional


def _applies(name: str, sample: Sample) -> bool:
    """Whether the sample's truth is what the measure is of."""
    return name not in MEASURES or MEASURES[name].applies_to(sample.truth)


def _paired_sample(
    cases: Sequence[Scored],
    thresholds: Thresholds,
    seed: int,
    n_boot: int,
    operating: OperatingPoint | None,
) -> Sample:
    """A sample in the order of the ids, whatever order the cases come in."""
    lesions, healthy = split_cases(sorted(cases, key=lambda case: case.case_id))
    return make_sample(lesions, healthy, thresholds, seed, n_boot, operating)


def _cases_of(sample: Sample) -> list[tuple[str, str, bool]]:
    return [(case.case_id, case.subject, case.lesion) for case in (*sample.lesions, *sample.healthy)]


def split_cases(test: Sequence[Scored]) -> tuple[list[Scored], list[Scored]]:
    """(lesion cases that count, healthy cases): every one with boxes counts."""
    lesions = [case for case in test if case.lesion and (case.boxes or size_group(case.mask) is not None)]
    return lesions, [case for case in test if not case.lesion]


def _per_case(sample: Sample) -> dict[str, dict[str, Any]]:
    cases = (*sample.lesions, *sample.healthy)
    if sample.truth == "boxes":
        boxes = case_of_boxes(sample)
        return {case.case_id: {**boxes[case.case_id], "score": image_score(case.anomaly)} for case in cases}
    each = sample.case_dice
    dice = {} if each is None else dict(zip((c.case_id for c in sample.lesions), each.tolist(), strict=True))
    return {
        case.case_id: {
            "dice": dice.get(case.case_id),
            "lesion_px": int(case.mask.sum()),
            "group": size_group(case.mask),
            "score": image_score(case.anomaly),
        }
        for case in cases
    }
