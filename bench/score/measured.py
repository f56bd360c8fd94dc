"""Cases that are read one by one, the small record that stays of each, and what of them is drawn together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.boxes import BoxCounts, count_boxes
from uadbench.bench.score.cases import Scored
from uadbench.bench.score.froc import Events, events_of

__all__ = ["Cases", "Measured", "Slice", "Units", "of_boxes"]

Floats = NDArray[np.float64]
Integers = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Slice:
    """Where in a volume a case lies, see ``datasets.case.Case``."""

    volume: str
    position: int
    spacing: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Cases:
    """Cases that are read when they are looked at.

    subjects, lesion : of each case, known before it is read; read : place -> the case with its map
    slices : of each case, None where it is an image of its own; () where no case is a slice
    incomplete : volumes of which slices are not among the cases because they failed
    """

    subjects: Sequence[str]
    lesion: Sequence[bool]
    read: Callable[[int], Scored]
    slices: Sequence[Slice | None] = ()
    incomplete: frozenset[str] = frozenset()

    def __iter__(self) -> Iterator[Scored]:
        """Each case once, in order."""
        return map(self.read, range(len(self.lesion)))

    @classmethod
    def held(cls, cases: Sequence[Scored] | Cases) -> Cases:
        """Cases that are in memory."""
        if isinstance(cases, Cases):
            return cases
        return cls([case.subject for case in cases], [case.lesion for case in cases], cases.__getitem__)


@dataclass(frozen=True, slots=True)
class Measured:
    """What stays of a case.

    lesion_px, group : its lesion pixels, and their size group where it is a lesion case
    score : of the image, see ``image_score``
    dice : of a lesion case at the healthy threshold
    false, hit : [101] pixels above each of the papers' thresholds outside the truth, and of a lesion case inside it
    above, above_head : of a healthy case, the shares of pixels above the healthy thresholds, None where undefined
    metrics : as the run kept them
    labels : classes of its boxes, None where its truth is a mask
    counts, events : what is found of its boxes at the healthy threshold, and for FROC; None without a threshold
    """

    case_id: str
    subject: str
    lesion: bool
    lesion_px: int
    group: str | None
    score: float
    dice: float | None = None
    false: Integers | None = None
    hit: Integers | None = None
    above: float | None = None
    above_head: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    counts: BoxCounts | None = None
    events: Events | None = None


def of_boxes(case: Scored, threshold: float | None) -> dict[str, Any]:
    """What a record holds of a case's boxes at the healthy threshold; {} where its truth is a mask."""
    if case.boxes is None:
        return {}
    labels = {"labels": tuple(box.label for box in case.boxes)}
    if threshold is None:
        return labels
    found = {"counts": count_boxes(case.anomaly, case.boxes, threshold)}
    return {**labels, **found, "events": events_of(case.anomaly, case.boxes, threshold)}


@dataclass
class Units:
    """What is drawn together: a case each, or all cases of a subject (and kind). of : the unit of each case"""

    together: bool
    of: list[int] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    _places: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, subject: str, group: str = "") -> int:
        """The unit of the next case."""
        place = self._places.get((subject, group), -1) if self.together else -1
        if place < 0:
            place = self._places[subject, group] = len(self.subjects)
            self.subjects.append(subject)
            self.groups.append(group)
        self.of.append(place)
        return place

    @cached_property
    def sizes(self) -> Floats:
        """Cases of each unit."""
        return self.sums(np.ones(len(self.of)))

    def sums(self, values: Floats) -> Floats:
        """Sums over each unit of values of its cases [n]."""
        places = np.asarray(self.of, dtype=np.intp)
        return np.bincount(places, weights=values, minlength=len(self.subjects)).astype(np.float64)
