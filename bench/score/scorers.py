"""The scorers: from a cell's cases and their resampling weights to one score each.

A new score is one function here, one line in ``SCORERS`` and one entry in ``reports.vocabulary``; metrics.json, its
interval and its paired difference between two methods follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.box_scorers import BOX_SCORERS
from uadbench.bench.score.cases import image_score
from uadbench.bench.score.pooled import Counts, pooled_dice, pooled_precision, pooled_recall
from uadbench.bench.score.sample import Sample, Score, best_dice, make_sample, mean_over
from uadbench.datasets.case import SIZES

__all__ = ["PAPERS_WEIGHTS", "SCORERS", "Sample", "Score", "Scorer", "make_sample"]

RECONSTRUCTION = ("ssim", "psnr", "lpips")
PAPERS_WEIGHTS = {"small": 0.471, "medium": 0.381, "large": 0.147}  # see the test on THOR's Table 1

Floats = NDArray[np.float64]


Scorer = Callable[[Sample], Score]


def _dice_max(sample: Sample) -> Score:
    """All lesion cases pooled, over 101 thresholds."""
    return best_dice(sample.table, sample.w_lesion, sample.lesions)


def _dice_of_size(sample: Sample, size: str) -> Score:
    """The same of one size group."""
    return sample.sizes[size]


def _dice_average(sample: Sample) -> Score:
    """The mean of the groups' max Dice weighted by their numbers of cases.

    That, and not the Dice of all pixels pooled, is what the column "Average" of THOR's Table 1 holds: one set of
    weights (0.471, 0.381, 0.147) gives all its six rows to 0.004 points.
    """
    if not sample.lesions:
        return Score()
    total, share = np.zeros(len(sample.w_lesion)), np.zeros(len(sample.w_lesion))
    mean = 0.0
    groups = np.array(sample.groups, dtype=str)
    for name, score in sample.sizes.items():
        if score.value is None or score.samples is None:
            continue
        n_drawn = sample.w_lesion[:, np.flatnonzero(groups == name)].sum(axis=1)
        total += np.where(n_drawn > 0, n_drawn * score.samples, 0.0)
        share += n_drawn
        mean += score.value * len(score.cases) / len(sample.lesions)
    with np.errstate(invalid="ignore"):
        return Score(mean, total / share, sample.lesions)


def _dice_average_papers(sample: Sample) -> Score:
    """The same weighted as the papers' cases are spread; None unless every group has a case.

    A group's weight does not fall with its number of cases, so the subjects that count are those of the rarest.
    """
    total, value = np.zeros(len(sample.w_lesion)), 0.0
    for name, weight in PAPERS_WEIGHTS.items():
        score = sample.sizes[name]
        if score.value is None or score.samples is None:
            return Score()
        share = weight / sum(PAPERS_WEIGHTS.values())  # printed, they sum to 0.999
        total, value = total + share * score.samples, value + share * score.value
    return Score(value, total, sample.lesions, kinds=sample.groups)


def _auprc(sample: Sample) -> Score:
    """The value is exact, its resamples come from finely binned counts."""
    if not sample.lesions:
        return Score()
    return Score(sample.curve.average_precision, sample.fine[0], sample.lesions)


def _dice_max_exact(sample: Sample) -> Score:
    """Likewise, at the best of all distinct thresholds."""
    if not sample.lesions:
        return Score(more={"threshold": None})
    return Score(sample.curve.dice, sample.fine[1], sample.lesions, {"threshold": sample.curve.threshold})


def _dice_at(sample: Sample, within: str) -> Score:
    """Pooled Dice at a healthy threshold ("image" or "head"), which is held fixed in resampling."""
    threshold = getattr(sample.thresholds, within)
    counts, more = sample.at(threshold), {"threshold": threshold}
    if counts is None:
        return Score(more=more)
    value = pooled_dice(np.ones((1, len(sample.lesions))), counts)[0, 0]
    return Score(float(value), pooled_dice(sample.w_lesion, counts)[:, 0], sample.lesions, more)


def _fitted(sample: Sample, ratio: Callable[[Floats, Counts], Floats]) -> Score:
    """A ratio of pooled counts at the operating point, which is held fixed in resampling."""
    counts, point = sample.at_operating, sample.operating
    more = {} if point is None else {"threshold": point.threshold, "component_px": point.component_px}
    if counts is None:
        return Score(more=more)
    value = ratio(np.ones((1, len(sample.lesions))), counts)[0, 0]
    if np.isnan(value):
        return Score(more=more)
    return Score(float(value), ratio(sample.w_lesion, counts)[:, 0], sample.lesions, more)


def _dice_case(sample: Sample) -> Score:
    """Mean over cases of each case's Dice at the healthy threshold."""
    each = sample.case_dice
    return Score() if each is None else mean_over(each, sample.w_lesion, sample.lesions)


def _fpr_healthy_test(sample: Sample) -> Score:
    """Share of healthy test pixels above the threshold: near 5 % where the threshold carries over."""
    return _mean_above(sample, sample.thresholds.image, [case.anomaly for case in sample.healthy])


def _fpr_healthy_test_head(sample: Sample) -> Score:
    """The same of the head's pixels and threshold; None unless every case has a head."""
    heads = [case.head for case in sample.healthy]
    if not all(head is not None and head.any() for head in heads):
        return Score()
    inside = [case.anomaly[head] for case, head in zip(sample.healthy, heads, strict=True)]
    return _mean_above(sample, sample.thresholds.head, inside)


def _mean_above(sample: Sample, threshold: float | None, pixels: Sequence[NDArray[np.float32]]) -> Score:
    if threshold is None or not pixels:
        return Score()
    rates = np.array([(values > np.float32(threshold)).mean() for values in pixels])
    return mean_over(rates, sample.w_healthy, sample.healthy)


def _auroc_image(sample: Sample) -> Score:
    """Chance that a lesion image scores above a healthy one, ties counting half; None without both."""
    if not sample.lesions or not sample.healthy:
        return Score()
    sick = np.array([image_score(case.anomaly) for case in sample.lesions])[:, None]
    well = np.array([image_score(case.anomaly) for case in sample.healthy])[None, :]
    wins = (sick > well) + 0.5 * (sick == well)
    w_lesion, w_healthy = sample.w_lesion, sample.w_healthy
    with np.errstate(invalid="ignore"):
        samples = ((w_lesion @ wins) * w_healthy).sum(axis=1) / (w_lesion.sum(axis=1) * w_healthy.sum(axis=1))
    kinds = ["lesion"] * len(sick) + ["healthy"] * wins.shape[1]
    return Score(float(wins.mean()), samples, [*sample.lesions, *sample.healthy], kinds=kinds)


def _reconstruction(sample: Sample, name: str) -> Score:
    """Mean of a per-case metric; None unless every case has it (a mean over some could not be compared)."""
    values = [case.metrics.get(name) for case in sample.healthy]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Score()
    return mean_over(np.array(known, dtype=np.float64), sample.w_healthy, sample.healthy)


SCORERS: dict[str, Scorer] = {
    "dice_max": _dice_max,
    "dice_average": _dice_average,
    "dice_average_papers": _dice_average_papers,
    **{f"dice_{size}": partial(_dice_of_size, size=size) for size in SIZES},
    "auprc": _auprc,
    "dice_healthy_fpr5": partial(_dice_at, within="image"),
    "dice_healthy_fpr5_head": partial(_dice_at, within="head"),
    "auroc_image": _auroc_image,
    "dice_max_exact": _dice_max_exact,
    "dice_case": _dice_case,
    "fpr_healthy_test": _fpr_healthy_test,
    "fpr_healthy_test_head": _fpr_healthy_test_head,
    **{f"{name}_healthy": partial(_reconstruction, name=name) for name in RECONSTRUCTION},
    "dice_fitted": partial(_fitted, ratio=pooled_dice),
    "precision_fitted": partial(_fitted, ratio=pooled_precision),
    "recall_fitted": partial(_fitted, ratio=pooled_recall),
    **BOX_SCORERS,
}
"""Every score of the vocabulary, by name."""
