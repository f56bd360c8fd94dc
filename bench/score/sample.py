"""What a score is computed from: a cell's cases and their resampling weights, with what several scorers need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score import froc
from uadbench.bench.score.boxes import BoxCounts, count_boxes
from uadbench.bench.score.cases import Scored, Thresholds, size_group
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
)
from uadbench.bench.score.statistics import MIN_SUBJECTS, case_weights, percentile_interval
from uadbench.datasets.case import SIZES

__all__ = ["Sample", "Score", "best_dice", "make_sample", "maps_and_masks", "mean_over"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One score with its resampled values.

    value : None where it cannot be computed, and then samples is None too
    samples : [n_boot], NaN in resamples that leave it undefined
    cases : those that it is a score of
    more : what else stands in its entry of metrics.json
    kinds : the kind of each case where a score sets kinds against each other or weighs them apart from their numbers
    """

    value: float | None = None
    samples: Floats | None = None
    cases: Sequence[Scored] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    kinds: Sequence[str] = ()

    @property
    def n_subjects(self) -> int:
        """How many subjects its cases come from; of the rarest kind, where it has kinds."""
        subjects: dict[str, set[str]] = {}
        for case, kind in zip(self.cases, self.kinds or [""] * len(self.cases), strict=True):
            subjects.setdefault(kind, set()).add(case.subject)
        return min(map(len, subjects.values()), default=0)

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
    thresholds : what healthy validation cases fixed
    operating : of post-processed maps, None for maps as they are
    """

    lesions: Sequence[Scored]
    healthy: Sequence[Scored]
    w_lesion: Floats
    w_healthy: Floats
    thresholds: Thresholds
    operating: OperatingPoint | None = None

    @cached_property
    def table(self) -> Counts:
        """Pixels of each lesion case at the papers' 101 thresholds."""
        return count_at(*maps_and_masks(self.lesions), THRESHOLDS)

    @cached_property
    def curve(self) -> Curve:
        """What all distinct thresholds give; needs a lesion case."""
        return exact_curve(*maps_and_masks(self.lesions))

    @cached_property
    def fine(self) -> tuple[Floats, Floats]:
        """(average precision, max Dice) in each resample, from finely binned counts; needs a lesion case."""
        return fine_samples(self.w_lesion, fine_counts(*maps_and_masks(self.lesions)))

    @cached_property
    def groups(self) -> list[str]:
        """The size group of each lesion case."""
        return [str(size_group(case.mask)) for case in self.lesions]

    @cached_property
    def sizes(self) -> dict[str, Score]:
        """Max Dice of each size group, at its own best threshold."""
        groups = np.array(self.groups, dtype=str)
        return {name: self._best_of(np.flatnonzero(groups == name)) for name in SIZES}

    @cached_property
    def at_healthy(self) -> Counts | None:
        """Pixels of each lesion case at the healthy threshold; None without a threshold or a lesion case."""
        return self.at(self.thresholds.image)

    def at(self, threshold: float | None) -> Counts | None:
        """Likewise at any threshold."""
        if threshold is None or not self.lesions:
            return None
        return count_at(*maps_and_masks(self.lesions), np.array([threshold], dtype=np.float32))

    @cached_property
    def at_operating(self) -> Counts | None:
        """Pixels of each lesion case at the operating point; None without its threshold or a lesion case."""
        point = self.operating
        if point is None or point.threshold is None or not self.lesions:
            return None
        return count_found(*maps_and_masks(self.lesions), point.threshold, point.component_px)

    @cached_property
    def case_dice(self) -> Floats | None:
        """Dice of each lesion case at the healthy threshold [n]; None likewise."""
        counts = self.at_healthy
        return None if counts is None else pooled_dice(np.eye(len(self.lesions)), counts)[:, 0]

    @property
    def truth(self) -> str:
        """ "boxes" where any case's truth is boxes, else "mask"."""
        return "boxes" if any(case.boxes is not None for case in (*self.lesions, *self.healthy)) else "mask"

    @cached_property
    def boxes_found(self) -> list[BoxCounts] | None:
        """What is found of each lesion case at the healthy threshold; None without a threshold or a lesion case."""
        return self._boxes_of(self.lesions) if self.lesions else None

    @cached_property
    def boxes_healthy(self) -> list[BoxCounts] | None:
        """Likewise of each healthy case; None without a threshold."""
        return self._boxes_of(self.healthy)

    @cached_property
    def froc_events(self) -> froc.Events | None:
        """Of lesion cases, then healthy ones; None without a threshold or a lesion case."""
        threshold = self.thresholds.image
        if threshold is None or not self.lesions:
            return None
        cases = (*self.lesions, *self.healthy)
        return froc.join([froc.events_of(case.anomaly, case.boxes or (), threshold) for case in cases])

    @cached_property
    def froc_shares(self) -> tuple[Floats, Floats] | None:
        """Boxes found at ``froc.RATES``: [1, rates], and in each resample [n_boot, rates]; None likewise."""
        events = self.froc_events
        if events is None:
            return None
        weights = np.concatenate([self.w_lesion, self.w_healthy], axis=1)
        return froc.sensitivities(events, np.ones((1, weights.shape[1]))), froc.sensitivities(events, weights)

    def _boxes_of(self, cases: Sequence[Scored]) -> list[BoxCounts] | None:
        threshold = self.thresholds.image
        if threshold is None:
            return None
        return [count_boxes(case.anomaly, case.boxes or (), threshold) for case in cases]

    def _best_of(self, members: NDArray[np.intp]) -> Score:
        cases = [self.lesions[i] for i in members.tolist()]
        return best_dice(self.table.of(members), self.w_lesion[:, members], cases, n=len(cases))


def make_sample(
    lesions: Sequence[Scored],
    healthy: Sequence[Scored],
    thresholds: Thresholds,
    seed: int,
    n_boot: int,
    operating: OperatingPoint | None = None,
) -> Sample:
    """Draw the resamples: the same subjects and seed give the same, so that two methods can be paired."""
    weights = case_weights([case.subject for case in (*lesions, *healthy)], seed, n_boot)
    n = len(lesions)
    return Sample(lesions, healthy, weights[:, :n], weights[:, n:], thresholds, operating)


def best_dice(table: Counts, weights: Floats, cases: Sequence[Scored], **more: Any) -> Score:
    """Pooled max Dice with its (lowest) best threshold, the maximum taken anew in every resample."""
    if not cases:
        return Score(more={"threshold": None, **more})
    curve = pooled_dice(np.ones((1, len(cases))), table)[0]
    samples = pooled_dice(weights, table).max(axis=1)
    return Score(float(curve.max()), samples, cases, {"threshold": int(curve.argmax()) / 100, **more})


def mean_over(values: Floats, weights: Floats, cases: Sequence[Scored], **more: Any) -> Score:
    """Mean over cases; undefined in a resample without any of them."""
    with np.errstate(invalid="ignore"):
        samples = weights @ values / weights.sum(axis=1)
    return Score(float(values.mean()), samples, cases, more)


def maps_and_masks(
    cases: Sequence[Scored],
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    return [np.asarray(case.anomaly, dtype=np.float32) for case in cases], [case.mask for case in cases]
