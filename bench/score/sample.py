"""What a score is computed from: what was counted of a cell's cases, and weights of what is drawn together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score import froc
from uadbench.bench.score.cases import Thresholds
from uadbench.bench.score.measured import Measured, Units
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.pooled import Counts, Curve, fine_samples, pooled_dice
from uadbench.bench.score.statistics import MIN_SUBJECTS, percentile_interval, weight_blocks
from uadbench.bench.score.tally import Tally
from uadbench.bench.score.volumes import Volume, Volumes
from uadbench.datasets.case import SIZES

__all__ = ["Sample", "Score", "best_dice", "joined", "samples"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One score with its resampled values.

    value : None where it cannot be computed, and then samples is None too
    samples : [n_boot], NaN in resamples that leave it undefined
    cases : those that it is a score of, or volumes
    more : what else stands in its entry of metrics.json
    kinds : the kind of each case where a score sets kinds against each other or weighs them apart from their numbers
    """

    value: float | None = None
    samples: Floats | None = None
    cases: Sequence[Measured | Volume] = ()
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
    """A cell's cases with weights of some resamples, of their units: what of them is drawn together (``tally.Units``).

    w_lesion, w_healthy : [m, n_units] how often each unit of lesion, of healthy cases is drawn in each resample
    w_volumes : [m, n] how often each scored volume is
    """

    tally: Tally
    w_lesion: Floats
    w_healthy: Floats
    w_volumes: Floats

    @property
    def lesions(self) -> Sequence[Measured]:
        """Test cases; lesions of 3 pixels or fewer are not among them."""
        return self.tally.lesions

    @property
    def healthy(self) -> Sequence[Measured]:
        """Healthy test cases."""
        return self.tally.healthy

    @property
    def volumes(self) -> Volumes | None:
        """Of the cases; None where they are no volumes of several slices."""
        return self.tally.volumes

    @property
    def thresholds(self) -> Thresholds:
        """What healthy validation cases fixed."""
        return self.tally.thresholds

    @property
    def operating(self) -> OperatingPoint | None:
        """Of post-processed maps, None for maps as they are."""
        return self.tally.operating

    @property
    def table(self) -> Counts:
        """Pixels of each unit of lesion cases at the papers' 101 thresholds."""
        return self.tally.table

    @property
    def curve(self) -> Curve:
        """What all distinct thresholds give; needs a lesion case."""
        return self.tally.curve

    @cached_property
    def fine(self) -> tuple[Floats, Floats]:
        """(average precision, max Dice) in each resample, from finely binned counts; needs a lesion case."""
        units, counts = self.tally.fine
        return fine_samples(self._weights_of(units), counts)

    def _weights_of(self, units: Units) -> Floats:
        """The weights of units of the lesion cases that are not the table's: a subject's is that of any unit of it."""
        if units is self.tally.units:
            return self.w_lesion
        first = {subject: place for place, subject in enumerate(self.tally.units.subjects)}
        return self.w_lesion[:, [first[subject] for subject in units.subjects]]

    @property
    def groups(self) -> list[str]:
        """The size group of each lesion case."""
        return [str(case.group) for case in self.lesions]

    @cached_property
    def sizes(self) -> dict[str, Score]:
        """Max Dice of each size group, at its own best threshold."""
        return {name: self._best_of(name) for name in SIZES}

    def drawn(self, group: str) -> Floats:
        """How many lesion cases of a size group are in each resample [m]."""
        members = self._members(group)
        return self.w_lesion[:, members] @ self.tally.units.sizes[members]

    @property
    def at_healthy(self) -> Counts | None:
        """Pixels of each unit of lesion cases at the healthy threshold; None without a threshold or a lesion case."""
        return self.tally.at("image")

    @property
    def at_operating(self) -> Counts | None:
        """Likewise at the operating point; None without its threshold."""
        return self.tally.at_operating

    def _members(self, group: str) -> NDArray[np.intp]:
        return np.flatnonzero(np.array(self.tally.units.groups, dtype=str) == group)

    @cached_property
    def w_cases(self) -> tuple[Floats, Floats]:
        """How often each lesion case and each healthy case is in each resample, [m, n] each."""
        units, healthy = self.tally.units.of, self.tally.healthy_units.of
        return self.w_lesion[:, np.asarray(units, np.intp)], self.w_healthy[:, np.asarray(healthy, np.intp)]

    @cached_property
    def froc_shares(self) -> tuple[Floats, Floats] | None:
        """Boxes found at ``froc.RATES``: of all cases [1, rates], and in each resample [m, rates]; None without."""
        events = self.tally.froc_events
        if events is None:
            return None
        weights = np.concatenate(self.w_cases, axis=1)
        return froc.sensitivities(events, np.ones((1, weights.shape[1]))), froc.sensitivities(events, weights)

    def _best_of(self, group: str) -> Score:
        cases = [case for case in self.lesions if case.group == group]
        members = self._members(group)
        return best_dice(self.table.of(members), self.w_lesion[:, members], cases, n=len(cases))


def samples(tally: Tally, seed: int, n_boot: int) -> Iterator[Sample]:
    """Draw the resamples, as many at a time as memory has room for; all of them at once for small runs.

    The same subjects and seed give the same, so that two methods can be paired.
    """
    lesions, healthy = tally.units.subjects, tally.healthy_units.subjects
    volumes = [volume.subject for volume in tally.volumes.scored] if tally.volumes else []
    for weights in weight_blocks([*lesions, *healthy, *volumes], seed, n_boot):
        yield Sample(tally, *np.split(weights, [len(lesions), len(lesions) + len(healthy)], axis=1))


def joined(parts: Sequence[Score]) -> Score:
    """One score from its parts, each of some resamples."""
    first = parts[0]
    drawn = [part.samples for part in parts if part.samples is not None]
    return first if len(parts) == 1 or not drawn else replace(first, samples=np.concatenate(drawn))


def best_dice(table: Counts, weights: Floats, cases: Sequence[Measured], **more: Any) -> Score:
    """Pooled max Dice with its (lowest) best threshold, the maximum taken anew in every resample."""
    if not cases:
        return Score(more={"threshold": None, **more})
    curve = pooled_dice(np.ones((1, len(table.lesion))), table)[0]
    resampled = pooled_dice(weights, table).max(axis=1)
    return Score(float(curve.max()), resampled, cases, {"threshold": int(curve.argmax()) / 100, **more})
