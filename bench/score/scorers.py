"""The scorers: from a cell's cases and their resampling weights to one score each.

A new score is one function here, one line in ``SCORERS`` and one entry in ``reports.vocabulary``; metrics.json, its
interval and its paired difference between two methods follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.cases import Scored, image_score, size_group
from uadbench.bench.score.operating import OperatingPoint, count_found
from uadbench.bench.score.pooled import (
    THRESHOLDS,
    Counts,
    Curve,
    count_at,
    exact_curve,
    fine_counts,
    fine_samples,
    pooled_dice,
    pooled_precision,
    pooled_recall,
)
from uadbench.bench.score.statistics import MIN_SUBJECTS, case_weights, percentile_interval
from uadbench.datasets.case import SIZES

__all__ = ["SCORERS", "Sample", "Score", "Scorer", "make_sample"]

RECONSTRUCTION = ("ssim", "psnr", "lpips")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One score with its resampled values.

    value : None where it cannot be computed, and then samples is None too
    samples : [n_boot], NaN in resamples that leave it undefined
    cases : those that it is a score of
    more : what else stands in its entry of metrics.json
    """

    value: float | None = None
    samples: Floats | None = None
    cases: Sequence[Scored] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_subjects(self) -> int:
        """How many subjects its cases come from; of the rarer kind, where it sets lesions against healthy cases."""
        kinds = {case.lesion for case in self.cases}
        return min((len({c.subject for c in self.cases if c.lesion is kind}) for kind in kinds), default=0)

    @property
    def entry(self) -> dict[str, Any]:
        """{"value", "lo", "hi", more}: lo and hi None with fewer than MIN_SUBJECTS subjects."""
        if self.value is None or self.samples is None:
            return {"value": None, "lo": None, "hi": None, **self.more}
        lo, hi = percentile_interval(self.samples) if self.n_subjects >= MIN_SUBJECTS else (None, None)
        return {"value": float(self.value), "lo": lo, "hi": hi, **self.more}


@dataclass(frozen=True)
class Sample:
    """The cases of a cell with their resampling weights; what several scorers need of them is counted once.

    lesions, healthy : test cases; lesions of 3 pixels or fewer are not among them
    w_lesion, w_healthy : [n_boot, n] how often each is drawn in each resample
    threshold : the healthy threshold, None without one
    operating : of post-processed maps, None for maps as they are
    """

    lesions: Sequence[Scored]
    healthy: Sequence[Scored]
    w_lesion: Floats
    w_healthy: Floats
    threshold: float | None
    operating: OperatingPoint | None = None

    @cached_property
    def table(self) -> Counts:
        """Pixels of each lesion case at the papers' 101 thresholds."""
        return count_at(*_maps_and_masks(self.lesions), THRESHOLDS)

    @cached_property
    def curve(self) -> Curve:
        """What all distinct thresholds give; needs a lesion case."""
        return exact_curve(*_maps_and_masks(self.lesions))

    @cached_property
    def fine(self) -> tuple[Floats, Floats]:
        """(average precision, max Dice) in each resample, from finely binned counts; needs a lesion case."""
        return fine_samples(self.w_lesion, fine_counts(*_maps_and_masks(self.lesions)))

    @cached_property
    def sizes(self) -> dict[str, Score]:
        """Max Dice of each size group, at its own best threshold."""
        groups = np.array([size_group(case.mask) for case in self.lesions], dtype=str)
        return {name: self._best_of(np.flatnonzero(groups == name)) for name in SIZES}

    @cached_property
    def at_healthy(self) -> Counts | None:
        """Pixels of each lesion case at the healthy threshold; None without a threshold or a lesion case."""
        if self.threshold is None or not self.lesions:
            return None
        return count_at(*_maps_and_masks(self.lesions), np.array([self.threshold], dtype=np.float32))

    @cached_property
    def at_operating(self) -> Counts | None:
        """Pixels of each lesion case at the operating point; None without its threshold or a lesion case."""
        point = self.operating
        if point is None or point.threshold is None or not self.lesions:
            return None
        return count_found(*_maps_and_masks(self.lesions), point.threshold, point.component_px)

    @cached_property
    def case_dice(self) -> Floats | None:
        """Dice of each lesion case at the healthy threshold [n]; None likewise."""
        counts = self.at_healthy
        return None if counts is None else pooled_dice(np.eye(len(self.lesions)), counts)[:, 0]

    def _best_of(self, members: NDArray[np.intp]) -> Score:
        cases = [self.lesions[i] for i in members.tolist()]
        return best_dice(self.table.of(members), self.w_lesion[:, members], cases, n=len(cases))


Scorer = Callable[[Sample], Score]


def make_sample(
    lesions: Sequence[Scored],
    healthy: Sequence[Scored],
    threshold: float | None,
    seed: int,
    n_boot: int,
    operating: OperatingPoint | None = None,
) -> Sample:
    """Draw the resamples: the same subjects and seed give the same, so that two methods can be paired."""
    weights = case_weights([case.subject for case in (*lesions, *healthy)], seed, n_boot)
    n = len(lesions)
    return Sample(lesions, healthy, weights[:, :n], weights[:, n:], threshold, operating)


def best_dice(table: Counts, weights: Floats, cases: Sequence[Scored], **more: Any) -> Score:
    """Pooled max Dice with its (lowest) best threshold, the maximum taken anew in every resample."""
    if not cases:
        return Score(more={"threshold": None, **more})
    curve = pooled_dice(np.ones((1, len(cases))), table)[0]
    samples = pooled_dice(weights, table).max(axis=1)
    return Score(float(curve.max()), samples, cases, {"threshold": int(curve.argmax()) / 100, **more})


def _maps_and_masks(
    cases: Sequence[Scored],
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    return [np.asarray(case.anomaly, dtype=np.float32) for case in cases], [case.mask for case in cases]


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
    groups = np.array([size_group(case.mask) for case in sample.lesions], dtype=str)
    for name, score in sample.sizes.items():
        if score.value is None or score.samples is None:
            continue
        n_drawn = sample.w_lesion[:, np.flatnonzero(groups == name)].sum(axis=1)
        total += np.where(n_drawn > 0, n_drawn * score.samples, 0.0)
        share += n_drawn
        mean += score.value * len(score.cases) / len(sample.lesions)
    with np.errstate(invalid="ignore"):
        return Score(mean, total / share, sample.lesions)


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


def _dice_healthy_fpr5(sample: Sample) -> Score:
    """Pooled Dice at the healthy threshold, which is held fixed in resampling."""
    counts, more = sample.at_healthy, {"threshold": sample.threshold}
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
    return Score() if each is None else _mean(each, sample.w_lesion, sample.lesions)


def _fpr_healthy_test(sample: Sample) -> Score:
    """Share of healthy test pixels above the threshold: near 5 % where the threshold carries over."""
    if sample.threshold is None or not sample.healthy:
        return Score()
    threshold = np.float32(sample.threshold)
    rates = np.array([(case.anomaly > threshold).mean() for case in sample.healthy])
    return _mean(rates, sample.w_healthy, sample.healthy)


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
    return Score(float(wins.mean()), samples, [*sample.lesions, *sample.healthy])


def _reconstruction(sample: Sample, name: str) -> Score:
    """Mean of a per-case metric; None unless every case has it (a mean over some could not be compared)."""
    values = [case.metrics.get(name) for case in sample.healthy]
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return Score()
    return _mean(np.array(known, dtype=np.float64), sample.w_healthy, sample.healthy)


def _mean(values: Floats, weights: Floats, cases: Sequence[Scored]) -> Score:
    """Mean over cases; undefined in a resample without any of them."""
    with np.errstate(invalid="ignore"):
        samples = weights @ values / weights.sum(axis=1)
    return Score(float(values.mean()), samples, cases)


SCORERS: dict[str, Scorer] = {
    "dice_max": _dice_max,
    "dice_average": _dice_average,
    **{f"dice_{size}": partial(_dice_of_size, size=size) for size in SIZES},
    "auprc": _auprc,
    "dice_healthy_fpr5": _dice_healthy_fpr5,
    "auroc_image": _auroc_image,
    "dice_max_exact": _dice_max_exact,
    "dice_case": _dice_case,
    "fpr_healthy_test": _fpr_healthy_test,
    **{f"{name}_healthy": partial(_reconstruction, name=name) for name in RECONSTRUCTION},
    "dice_fitted": partial(_fitted, ratio=pooled_dice),
    "precision_fitted": partial(_fitted, ratio=pooled_precision),
    "recall_fitted": partial(_fitted, ratio=pooled_recall),
}
"""Every score of the vocabulary, by name."""
