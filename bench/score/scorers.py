"""The scorers: from a cell's cases and their resampling weights to one score each.

A new score is one function here, one line in ``SCORERS`` and one entry in ``reports.vocabulary``; metrics.json, its
interval and its paired difference between two methods follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from uadbench.bench.score.box_scorers import BOX_SCORERS
from uadbench.bench.score.measured import Measured, Units
from uadbench.bench.score.pooled import Counts, pooled_dice, pooled_precision, pooled_recall
from uadbench.bench.score.sample import Sample, Score, best_dice, joined
from uadbench.bench.score.volume_scorers import VOLUME_SCORERS
from uadbench.datasets.case import SIZES

__all__ = ["PAPERS_WEIGHTS", "SCORERS", "Sample", "Score", "Scorer", "scores"]

RECONSTRUCTION = ("ssim", "psnr", "lpips")
PAPERS_WEIGHTS = {"small": 0.471, "medium": 0.381, "large": 0.147}  # see the test on THOR's Table 1

AT_A_TIME = 2**22  # weights of ranks: 32 MiB

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
    for name, score in sample.sizes.items():
        if score.value is None or score.samples is None:
            continue
        n_drawn = sample.drawn(name)
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
    """The value is exact (in large runs with a bound on its error), resamples come from finely binned counts."""
    if not sample.lesions:
        return Score()
    more = _errors(sample, sample.curve.ap_error, 0)
    return Score(sample.curve.average_precision, sample.fine[0], sample.lesions, more)


def _dice_max_exact(sample: Sample) -> Score:
    """Likewise, at the best of all distinct thresholds."""
    if not sample.lesions:
        return Score(more={"threshold": None})
    more = {"threshold": sample.curve.threshold, **_errors(sample, sample.curve.dice_error, 1)}
    return Score(sample.curve.dice, sample.fine[1], sample.lesions, more)


def _errors(sample: Sample, value: float, which: int) -> dict[str, float]:
    """What a value from bins, and its interval, can be off by; {} where every distinct value was taken."""
    tally = sample.tally
    return {} if tally.exact else {"error": value, "interval_error": tally.fine_errors[which]}


def _dice_at(sample: Sample, within: str) -> Score:
    """Pooled Dice at a healthy threshold ("image" or "head"), which is held fixed in resampling."""
    counts, more = sample.tally.at(within), {"threshold": getattr(sample.thresholds, within)}
    if counts is None:
        return Score(more=more)
    value = pooled_dice(_once(counts), counts)[0, 0]
    return Score(float(value), pooled_dice(sample.w_lesion, counts)[:, 0], sample.lesions, more)


def _fitted(sample: Sample, ratio: Callable[[Floats, Counts], Floats]) -> Score:
    """A ratio of pooled counts at the operating point, which is held fixed in resampling."""
    counts, point = sample.at_operating, sample.operating
    more = {} if point is None else {"threshold": point.threshold, "component_px": point.component_px}
    if counts is None:
        return Score(more=more)
    value = ratio(_once(counts), counts)[0, 0]
    if np.isnan(value):
        return Score(more=more)
    return Score(float(value), ratio(sample.w_lesion, counts)[:, 0], sample.lesions, more)


def _once(counts: Counts) -> Floats:
    """The weights that take every case once."""
    return np.ones((1, len(counts.lesion)))


def _dice_case(sample: Sample) -> Score:
    """Mean over cases of each case's Dice at the healthy threshold."""
    return _mean([case.dice for case in sample.lesions], sample.w_lesion, sample.tally.units, sample.lesions)


def _above(sample: Sample, read: Callable[[Measured], float | None]) -> Score:
    """Share of healthy test pixels above a healthy threshold: near 5 % where it carries over."""
    return _mean_healthy(sample, [read(case) for case in sample.healthy])


def _auroc_image(sample: Sample) -> Score:
    """Chance that a lesion image scores above a healthy one, ties counting half; None without both."""
    if not sample.lesions or not sample.healthy:
        return Score()
    scores = [case.score for case in (*sample.lesions, *sample.healthy)]
    distinct, ranks = np.unique(np.array(scores), return_inverse=True)
    n = len(sample.lesions)
    sick = _by_rank(sample.tally.units, ranks[:n], len(distinct))
    well = _by_rank(sample.tally.healthy_units, ranks[n:], len(distinct))
    once = np.ones((1, sick.shape[0])), np.ones((1, well.shape[0]))
    with np.errstate(invalid="ignore"):
        value = _chance_above(*once, sick, well)[0]
        samples = _chance_above(sample.w_lesion, sample.w_healthy, sick, well)
    kinds = ["lesion"] * n + ["healthy"] * len(sample.healthy)
    return Score(float(value), samples, [*sample.lesions, *sample.healthy], kinds=kinds)


def _by_rank(units: Units, ranks: NDArray[np.intp], n_ranks: int) -> csr_array:
    """How many cases of each unit have each rank [n_units, n_ranks]."""
    ones = np.ones(len(ranks))
    return csr_array((ones, (np.asarray(units.of), ranks)), shape=(len(units.subjects), n_ranks))


def _chance_above(w_sick: Floats, w_well: Floats, sick: csr_array, well: csr_array) -> Floats:
    """The share [m] of weighted pairs in which the sick image's rank is higher, ties counting half."""
    wins, pairs = np.empty((2, len(w_sick)))
    rows = max(1, AT_A_TIME // sick.shape[1])
    for start in range(0, len(w_sick), rows):
        block = slice(start, start + rows)
        drawn_sick, drawn_well = sick.T @ w_sick[block].T, well.T @ w_well[block].T  # [n_ranks, rows]
        below = drawn_well.cumsum(axis=0) - 0.5 * drawn_well
        wins[block] = (drawn_sick * below).sum(axis=0)
        pairs[block] = drawn_sick.sum(axis=0) * drawn_well.sum(axis=0)
    return wins / pairs


def _reconstruction(sample: Sample, name: str) -> Score:
    """Mean of a case's metric."""
    return _mean_healthy(sample, [case.metrics.get(name) for case in sample.healthy])


def _mean_healthy(sample: Sample, values: Sequence[float | None]) -> Score:
    return _mean(values, sample.w_healthy, sample.tally.healthy_units, sample.healthy)


def _mean(values: Sequence[float | None], weights: Floats, units: Units, cases: Sequence[Measured]) -> Score:
    """Mean over cases, undefined in a resample without any; None unless every case has a value.

    A mean over some could not be compared.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Score()
    each = np.array(known, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        samples = weights @ units.sums(each) / (weights @ units.sizes)
    return Score(float(each.mean()), samples, cases)


def scores(
    names: Iterable[str], samples: Iterable[Sample], own: Mapping[str, Scorer] | None = None
) -> dict[str, Score]:
    """The scores of these names, from all resamples; ``own`` scorers stand for those of ``SCORERS``."""
    scorers = {name: {**SCORERS, **(own or {})}[name] for name in names}
    parts: dict[str, list[Score]] = {name: [] for name in scorers}
    for sample in samples:
        for name, scorer in scorers.items():
            parts[name].append(scorer(sample))
    return {name: joined(found) for name, found in parts.items()}


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
    "fpr_healthy_test": partial(_above, read=lambda case: case.above),
    "fpr_healthy_test_head": partial(_above, read=lambda case: case.above_head),
    **{f"{name}_healthy": partial(_reconstruction, name=name) for name in RECONSTRUCTION},
    "dice_fitted": partial(_fitted, ratio=pooled_dice),
    "precision_fitted": partial(_fitted, ratio=pooled_precision),
    "recall_fitted": partial(_fitted, ratio=pooled_recall),
    **BOX_SCORERS,
    **VOLUME_SCORERS,
}
"""Every score of the vocabulary, by name."""
