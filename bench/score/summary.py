"""Scores of anomaly maps against lesion masks, as the papers compute them, with intervals over subjects.

Which cases enter what, so that figures can be held against the papers':

* Lesion cases, and only these, enter every pixel score (Dice, AUPRC), as in the papers. Lesions of 3 pixels
  or fewer at 128 x 128 are excluded from everything and counted, with the reason.
* Healthy test cases enter the image-level AUROC, the reconstruction scores and ``fpr_healthy_test``.
* Healthy validation cases fix one threshold and enter nothing else.

A pixel is found where ``map > threshold``, strictly: threshold 0 means "anything at all". Thresholds are
compared in float32, the type of the maps. All pixels of the image count, background included. Pooled scores are
one score over the pixels of all cases, not a mean over cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.cases import (
    TOO_SMALL,
    Scored,
    check_cases,
    healthy_threshold,
    image_score,
    reconstruction_metrics,
    size_group,
)
from uadbench.bench.score.pooled import (
    THRESHOLDS,
    Counts,
    count_at,
    exact_curve,
    fine_counts,
    fine_samples,
    pooled_dice,
)
from uadbench.bench.score.statistics import MIN_SUBJECTS, N_BOOT, case_weights, percentile_interval
from uadbench.datasets.case import SIZES

__all__ = [
    "Scored",
    "dice_max_difference",
    "healthy_threshold",
    "image_score",
    "reconstruction_metrics",
    "size_group",
    "summarize",
]

RECONSTRUCTION = ("ssim", "psnr", "lpips")

Floats = NDArray[np.float64]


def summarize(
    test: Sequence[Scored],
    healthy_val: Sequence[Scored],
    seed: int,
    n_boot: int = N_BOOT,
    failed: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """All scores of one cell, ready for metrics.json: fractions, with 95 % bootstrap intervals over subjects.

    test : scored test cases; healthy_val : healthy validation cases, run through the same method
    failed : {"case_id", "reason"} of the test cases that gave no map; recorded, not scored
    A value that cannot be computed is None inside its entry, never 0. Maxima over thresholds are taken anew
    in every resample. Raises ValueError that names the case for a map that is not finite, negative or not
    of the mask's shape, a case given twice, or a mask that contradicts ``lesion``.
    """
    check_cases(test)
    check_cases(healthy_val)
    wrong = [case.case_id for case in healthy_val if case.lesion]
    if wrong:
        raise ValueError(
            f"case {wrong[0]}: has a lesion, but the threshold is fixed on healthy validation cases only"
        )
    excluded = Counter(TOO_SMALL for case in test if case.lesion and size_group(case.mask) is None)
    lesions = [case for case in test if case.lesion and size_group(case.mask) is not None]
    healthy = [case for case in test if not case.lesion]
    scored = [*lesions, *healthy]
    weights = case_weights([case.subject for case in scored], seed, n_boot)
    w_lesion, w_healthy = weights[:, : len(lesions)], weights[:, len(lesions) :]
    threshold = healthy_threshold(healthy_val)
    at_healthy = _at_healthy(lesions, w_lesion, threshold)
    result: dict[str, Any] = {
        "n_cases": len(scored),
        "n_lesion": len(lesions),
        "n_healthy": len(healthy),
        "n_failed": len(failed),
        "n_excluded": sum(excluded.values()),
        "excluded": dict(excluded),
        "failed": [dict(case) for case in failed],
        **_dice_maxima(lesions, w_lesion),
        **_exact(lesions, w_lesion),
        **{key: entry for key, (entry, _) in at_healthy.items()},
        "fpr_healthy_test": _healthy_fpr(healthy, w_healthy, threshold),
        "auroc_image": _image_auroc(lesions, healthy, w_lesion, w_healthy),
        **{f"{name}_healthy": _mean_of(name, healthy, w_healthy) for name in RECONSTRUCTION},
    }
    dice = dict(zip((case.case_id for case in lesions), at_healthy["dice_case"][1], strict=True))
    result["per_case"] = {
        case.case_id: {
            "dice": dice.get(case.case_id),
            "lesion_px": int(case.mask.sum()),
            "group": size_group(case.mask),
            "score": image_score(case.anomaly),
        }
        for case in scored
    }
    return result


def dice_max_difference(
    a: Sequence[Scored], b: Sequence[Scored], seed: int, n_boot: int = N_BOOT
) -> dict[str, float | bool | None]:
    """Paired difference B - A of two methods' pooled max Dice on the same lesion cases.

    Healthy cases and lesions of 3 pixels or fewer are ignored.

    Both are resampled alike, each with its own best threshold in each resample. "tied" is True unless the
    interval leaves out 0. Raises ValueError when the cases differ.
    """
    first, second = (
        sorted((c for c in side if size_group(c.mask) is not None), key=lambda c: c.case_id)
        for side in (a, b)
    )
    if [c.case_id for c in first] != [c.case_id for c in second]:
        raise ValueError(
            "the two methods were not scored on the same lesion cases; pass the shared ones only"
        )
    if not first:
        return {"value": None, "lo": None, "hi": None, "tied": True}
    weights = case_weights([c.subject for c in first], seed, n_boot)
    ones = np.ones((1, len(first)))
    tables = [count_at(_maps(side), _masks(side), THRESHOLDS) for side in (first, second)]
    value_a, value_b = (pooled_dice(ones, table).max() for table in tables)
    best_a, best_b = (pooled_dice(weights, table).max(axis=1) for table in tables)
    entry = _entry(value_b - value_a, best_b - best_a, first)
    return {**entry, "tied": entry["lo"] is None or entry["lo"] <= 0 <= entry["hi"]}


def _maps(cases: Sequence[Scored]) -> list[NDArray[np.float32]]:
    return [np.asarray(case.anomaly, dtype=np.float32) for case in cases]


def _masks(cases: Sequence[Scored]) -> list[NDArray[np.bool_]]:
    return [case.mask for case in cases]


def _entry(value: Any, samples: Floats | None, cases: Sequence[Scored]) -> dict[str, Any]:
    """value, lo, hi; all None without a value, lo and hi None with fewer than MIN_SUBJECTS subjects."""
    if value is None or samples is None:
        return {"value": None, "lo": None, "hi": None}
    enough = len({case.subject for case in cases}) >= MIN_SUBJECTS
    lo, hi = percentile_interval(samples) if enough else (None, None)
    return {"value": float(value), "lo": lo, "hi": hi}


def _best_dice(table: Counts, weights: Floats, cases: Sequence[Scored]) -> tuple[dict[str, Any], Floats]:
    """Pooled max Dice with its (lowest) best threshold, and its resampled values [n_boot]."""
    if not cases:
        return {**_entry(None, None, cases), "threshold": None}, np.full(len(weights), np.nan)
    curve = pooled_dice(np.ones((1, len(cases))), table)[0]
    samples = pooled_dice(weights, table).max(axis=1)
    return {**_entry(curve.max(), samples, cases), "threshold": int(curve.argmax()) / 100}, samples


def _dice_maxima(lesions: Sequence[Scored], weights: Floats) -> dict[str, Any]:
    """Max Dice over 101 thresholds: all lesion cases pooled, each size group, and the papers' average.

    ``dice_average`` is the mean of the groups' max Dice weighted by their numbers of cases. That, and not
    the Dice of all pixels pooled, is what the column "Average" of THOR's Table 1 holds: one set of weights
    (0.471, 0.381, 0.147) gives all its six rows to 0.004 points.
    """
    table = count_at(_maps(lesions), _masks(lesions), THRESHOLDS)
    groups = np.array([size_group(case.mask) for case in lesions], dtype=str)
    result: dict[str, Any] = {"dice_max": _best_dice(table, weights, lesions)[0]}
    total, share = np.zeros(len(weights)), np.zeros(len(weights))
    mean = 0.0
    for name in SIZES:
        members = np.flatnonzero(groups == name)
        cases = [lesions[i] for i in members.tolist()]
        entry, samples = _best_dice(table.of(members), weights[:, members], cases)
        result[f"dice_{name}"] = {**entry, "n": len(cases)}
        if cases:
            n_drawn = weights[:, members].sum(axis=1)
            total += np.where(n_drawn > 0, n_drawn * samples, 0.0)
            share += n_drawn
            mean += entry["value"] * len(cases) / len(lesions)
    with np.errstate(invalid="ignore"):
        average = total / share
    result["dice_average"] = _entry(mean if lesions else None, average, lesions)
    return result


def _exact(lesions: Sequence[Scored], weights: Floats) -> dict[str, Any]:
    """AUPRC and max Dice over all distinct thresholds: exact values, intervals from finely binned counts."""
    if not lesions:
        nothing = _entry(None, None, lesions)
        return {
            "auprc": nothing,
            "dice_max_exact": {**nothing, "threshold": None},
            "pr_curve": {"recall": [], "precision": []},
        }
    maps, masks = _maps(lesions), _masks(lesions)
    exact = exact_curve(maps, masks)
    ap, best = fine_samples(weights, fine_counts(maps, masks))
    return {
        "auprc": _entry(exact.average_precision, ap, lesions),
        "dice_max_exact": {**_entry(exact.dice, best, lesions), "threshold": exact.threshold},
        "pr_curve": {"recall": exact.recall, "precision": exact.precision},
    }


def _at_healthy(
    lesions: Sequence[Scored], weights: Floats, threshold: float | None
) -> dict[str, tuple[dict[str, Any], list[float | None]]]:
    """Dice at the healthy threshold, pooled and as a mean over cases, and each case's Dice."""
    if threshold is None or not lesions:
        nothing = _entry(None, None, lesions)
        each: list[float | None] = [None] * len(lesions)
        return {
            "dice_healthy_fpr5": ({**nothing, "threshold": threshold}, each),
            "dice_case": (nothing, each),
        }
    table = count_at(_maps(lesions), _masks(lesions), np.array([threshold], dtype=np.float32))
    pooled = pooled_dice(np.ones((1, len(lesions))), table)[0, 0]
    cases = pooled_dice(np.eye(len(lesions)), table)[:, 0]
    entry = _entry(pooled, pooled_dice(weights, table)[:, 0], lesions)
    return {
        "dice_healthy_fpr5": ({**entry, "threshold": threshold}, cases.tolist()),
        "dice_case": (_mean_entry(cases, weights, lesions), cases.tolist()),
    }


def _mean_entry(values: Floats, weights: Floats, cases: Sequence[Scored]) -> dict[str, Any]:
    """Mean over cases; undefined in a resample without any of them."""
    with np.errstate(invalid="ignore"):
        samples = weights @ values / weights.sum(axis=1)
    return _entry(values.mean(), samples, cases)


def _mean_of(name: str, healthy: Sequence[Scored], weights: Floats) -> dict[str, Any]:
    """Mean of a per-case metric; None unless every case has it (a mean over some could not be compared)."""
    values = [case.metrics.get(name) for case in healthy]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return _entry(None, None, healthy)
    return _mean_entry(np.array(known, dtype=np.float64), weights, healthy)


def _healthy_fpr(healthy: Sequence[Scored], weights: Floats, threshold: float | None) -> dict[str, Any]:
    """Share of healthy test pixels above the threshold: near 5 % where the threshold carries over."""
    if threshold is None or not healthy:
        return _entry(None, None, healthy)
    rates = np.array([(case.anomaly > np.float32(threshold)).mean() for case in healthy])
    return _mean_entry(rates, weights, healthy)


def _image_auroc(
    lesions: Sequence[Scored], healthy: Sequence[Scored], w_lesion: Floats, w_healthy: Floats
) -> dict[str, Any]:
    """Chance that a lesion image scores above a healthy one, ties counting half; None without both."""
    if not lesions or not healthy:
        return _entry(None, None, lesions)
    sick = np.array([image_score(case.anomaly) for case in lesions])[:, None]
    well = np.array([image_score(case.anomaly) for case in healthy])[None, :]
    wins = (sick > well) + 0.5 * (sick == well)
    with np.errstate(invalid="ignore"):
        samples = ((w_lesion @ wins) * w_healthy).sum(axis=1) / (w_lesion.sum(axis=1) * w_healthy.sum(axis=1))
    return _entry(wins.mean(), samples, [*lesions, *healthy])
