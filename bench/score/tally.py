"""One look at each map: what is kept of a case once its pixels are counted, and of all cases together.

A map is read, counted and let go. What stays of a case is a small record (``Measured``) and its counts at the
thresholds in a row of a table. Up to ``EXACT_PIXELS`` pixels of lesion cases, a row is a case and the lesion cases'
maps are held, for scores that take every distinct value. Beyond, a row is all lesion cases of one subject and size
group (healthy cases: of one subject), as they are drawn together in every resample; and where every distinct value
was taken, bins stand for them, with bounds on the error (``binned``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.binned import Histogram, binned_curve, error_bounds
from uadbench.bench.score.cases import Scored, Thresholds, check_case, image_score, size_group, top_mean
from uadbench.bench.score.froc import Events, join
from uadbench.bench.score.measured import Cases, Measured, Units, of_boxes
from uadbench.bench.score.operating import OperatingPoint, count_found
from uadbench.bench.score.pooled import (
    N_BINS,
    THRESHOLDS,
    Counts,
    Curve,
    add_counts,
    beyond,
    exact_curve,
    fine_counts,
    fine_edges,
    first_counts,
    no_counts,
    pooled_dice,
)
from uadbench.bench.score.volumes import VolumeCounter, Volumes
from uadbench.datasets.case import SIZES

__all__ = ["EDGE_CASES", "EXACT_PIXELS", "Tally", "tally"]

EXACT_PIXELS = 2**24
"""Of lesion cases, up to which every distinct value is taken: 1024 slices of 128 x 128."""
EDGE_CASES = 1024
"""Lesion cases, spread evenly, whose lesion pixels give the edges of the bins beyond that; these are read twice."""
FINE_BYTES = 2**29
"""What the tables of fine bins may take; with more subjects than 8192 there are fewer bins, LEAST_BINS at least."""
LEAST_BINS = 256


@dataclass(frozen=True)
class Tally:
    """All that scores are computed from.

    lesions, healthy : test cases; lesions of 3 pixels or fewer are counted as ``excluded`` only
    units, healthy_units : what of them is drawn together
    counts : [units, 101 + 2] at the papers' thresholds, the healthy one of the image and that of the head
    operating : the operating point of post-processed maps; at_operating : [units, 1] there
    truth : "boxes" where that of the cases is, whose counts stand with each of them; else "mask"
    maps : the lesion cases, where every distinct value is taken; else binned : (pooled, by subject) in fine bins
    volumes : None where the cases are no volumes of several slices
    """

    lesions: Sequence[Measured]
    healthy: Sequence[Measured]
    excluded: int
    units: Units
    healthy_units: Units
    counts: Counts
    thresholds: Thresholds
    operating: OperatingPoint | None
    at_operating: Counts | None
    bins: int
    maps: Sequence[Scored] = ()
    pooled: Histogram | None = None
    by_subject: tuple[Units, Counts] | None = None
    truth: str = "mask"
    volumes: Volumes | None = None

    @cached_property
    def froc_events(self) -> Events | None:
        """Of lesion cases, then healthy ones, where the truth is boxes; None without a threshold or a lesion case."""
        if self.truth != "boxes" or self.thresholds.image is None or not self.lesions:
            return None
        return join([case.events for case in (*self.lesions, *self.healthy) if case.events is not None])

    @property
    def exact(self) -> bool:
        """Whether every distinct value is taken."""
        return self.pooled is None

    @cached_property
    def table(self) -> Counts:
        """At the papers' 101 thresholds."""
        return self.counts.at(slice(0, len(THRESHOLDS)))

    def at(self, within: str) -> Counts | None:
        """At the healthy threshold of the "image" or of the "head"; None without it, or without a lesion case."""
        if getattr(self.thresholds, within) is None or not self.lesions:
            return None
        place = len(THRESHOLDS) + ("image", "head").index(within)
        return self.counts.at(slice(place, place + 1))

    @cached_property
    def dice(self) -> NDArray[np.float64]:
        """The pooled Dice at the papers' 101 thresholds."""
        return pooled_dice(np.ones((1, len(self.table.lesion))), self.table)[0]

    @property
    def best(self) -> int | None:
        """Which of the papers' thresholds gives the (first) highest pooled Dice; None without a lesion."""
        return int(self.dice.argmax()) if self.lesions and self.truth == "mask" else None

    @cached_property
    def curve(self) -> Curve:
        """What all distinct thresholds, or all bins and the papers' thresholds, give; needs a lesion case."""
        if self.pooled is None:
            return exact_curve(*_maps_and_masks(self.maps))
        curve = binned_curve(self.pooled)
        best = int(self.dice.argmax())
        if (dice := float(self.dice[best])) <= curve.dice:
            return curve
        error = curve.dice + curve.dice_error - dice
        return replace(curve, dice=dice, threshold=float(THRESHOLDS[best]), dice_error=error)

    @cached_property
    def fine(self) -> tuple[Units, Counts]:
        """Counts at fine cuts for resampling, and the units that they are of; needs a lesion case."""
        return self.by_subject or (self.units, fine_counts(*_maps_and_masks(self.maps), self.bins))

    @cached_property
    def fine_errors(self) -> tuple[float, float]:
        """What average precision and max Dice of all cases would be off by at most, taken from ``fine``."""
        counts = self.fine[1]
        return error_bounds(counts.found.sum(axis=0), counts.hit.sum(axis=0))


def _maps_and_masks(cases: Sequence[Scored]) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    return [np.asarray(case.anomaly, dtype=np.float32) for case in cases], [case.mask for case in cases]


def tally(
    cases: Sequence[Scored] | Cases,
    thresholds: Thresholds,
    operating: OperatingPoint | None = None,
    bins: int = N_BINS,
    exact_pixels: int = EXACT_PIXELS,
) -> Tally:
    """Look at each test case once.

    bins : for resamples of what takes every distinct value, at most
    exact_pixels : of lesion cases, beyond which a row is a subject and bins stand for distinct values
    Raises ValueError that names a case that cannot be scored (``check_cases``).
    """
    cases = Cases.held(cases)
    places = [place for place, lesion in enumerate(cases.lesion) if lesion]
    first = cases.read(places[0]) if places else None
    together = first is not None and first.anomaly.size * len(places) > exact_pixels
    subjects = {cases.subjects[place] for place in places}
    n_units = min(len(places), len(SIZES) * len(subjects)) if together else len(places)
    counter = _Counter(thresholds, operating, bins, together, n_units)
    if together and first is not None and first.boxes is None:
        step = -(-len(places) // EDGE_CASES)
        counter.find_edges((cases.read(place) for place in places[::step]), len(subjects))
    volumes = VolumeCounter(cases, thresholds, operating)
    for place, case in enumerate(cases):
        counter.look_at(case)
        volumes.look_at(place, case)
    return replace(counter.finish(), volumes=volumes.finish())


class _Counter:
    """A tally in the making."""

    def __init__(
        self,
        thresholds: Thresholds,
        operating: OperatingPoint | None,
        bins: int,
        together: bool,
        n_units: int,
    ) -> None:
        self._thresholds, self._operating, self._bins = thresholds, operating, bins
        fixed = [np.inf if t is None else t for t in (thresholds.image, thresholds.head)]
        self._cuts = np.concatenate([THRESHOLDS, np.array(fixed, dtype=np.float32)])
        self._units, self._healthy_units = Units(together), Units(together)
        self._counts = no_counts(max(n_units, 1), len(self._cuts))
        self._called = no_counts(max(n_units, 1), 1)
        self._lesions: list[Measured] = []
        self._healthy: list[Measured] = []
        self._maps: list[Scored] = []
        self._seen: set[str] = set()
        self._excluded, self._boxes = 0, False
        self._pooled = Histogram() if together else None
        self._subjects, self._edges, self._fine = Units(True), np.zeros(0, dtype=np.float32), no_counts(0, 0)

    def find_edges(self, lesions: Iterable[Scored], n_subjects: int) -> None:
        """Fix the fine bins' edges: quantiles of these cases' lesion pixels, and 0, below which nothing lies."""
        pixels = np.concatenate([case.anomaly[case.mask].astype(np.float32) for case in lesions])
        bins = max(LEAST_BINS, min(self._bins, FINE_BYTES // (16 * n_subjects)))
        self._edges = np.union1d(np.zeros(1, np.float32), fine_edges(pixels, bins - 1))
        self._fine = no_counts(n_subjects, len(self._edges))

    def look_at(self, case: Scored) -> None:
        """Count a case."""
        check_case(case, self._seen)
        if len(self._seen) > 1 and (case.boxes is not None) != self._boxes:
            raise ValueError(
                f"case {case.case_id}: its truth is {'boxes, not a mask' if not self._boxes else 'a mask, not boxes'}"
            )
        self._boxes = case.boxes is not None
        group = size_group(case.mask) if case.lesion else None
        if case.lesion and self._boxes:
            self._units.add(case.subject, "boxes")
            kept = of_boxes(case, self._thresholds.image)
            score = image_score(case.anomaly)
            self._lesions.append(Measured(case.case_id, case.subject, True, 0, None, score, **kept))
        elif case.lesion and group is None:
            self._excluded += 1
        elif group is not None:
            self._count_lesion(case, group)
        else:
            self._count_healthy(case)

    def _count_lesion(self, case: Scored, group: str) -> None:
        unit, lesion = self._units.add(case.subject, group), int(np.count_nonzero(case.mask))
        anomaly = np.asarray(case.anomaly, dtype=np.float32)
        pixels, inside = np.sort(anomaly, axis=None), np.sort(anomaly[case.mask])
        found, hit = (beyond(values, self._cuts, "right") for values in (pixels, inside))
        add_counts(self._counts, unit, found, hit, lesion)
        dice = None if self._thresholds.image is None else float(2 * hit[-2] / (found[-2] + lesion))
        kept = (group, top_mean(pixels), dice, _kept(found - hit), _kept(hit))
        self._lesions.append(Measured(case.case_id, case.subject, True, lesion, *kept))
        if self._operating is not None and self._operating.threshold is not None:
            point = self._operating
            called = count_found([anomaly], [case.mask], self._operating.threshold, point.component_px)
            add_counts(self._called, unit, called.found[0], called.hit[0], lesion)
        if self._pooled is None:
            self._maps.append(case)
        else:
            self._pooled.add(pixels, inside)
            found, hit = (beyond(values, self._edges, "left") for values in (pixels, inside))
            add_counts(self._fine, self._subjects.add(case.subject), found[::-1], hit[::-1], lesion)

    def _count_healthy(self, case: Scored) -> None:
        self._healthy_units.add(case.subject)
        above, head = self._thresholds, case.head
        inside = case.anomaly[head] if head is not None and head.any() else None
        pixels = np.sort(np.asarray(case.anomaly, dtype=np.float32), axis=None)
        self._healthy.append(
            Measured(
                case.case_id,
                case.subject,
                False,
                0,
                None,
                top_mean(pixels),
                false=_kept(beyond(pixels, THRESHOLDS, "right")),
                above=_share_above(case.anomaly, above.image),
                above_head=None if inside is None else _share_above(inside, above.head),
                metrics=case.metrics,
                **of_boxes(case, self._thresholds.image),
            )
        )

    def finish(self) -> Tally:
        """What was counted."""
        n = len(self._units.subjects)
        point = self._operating
        called = point is not None and point.threshold is not None and n
        fine = (self._subjects, first_counts(self._fine, len(self._subjects.subjects)))
        return Tally(
            lesions=self._lesions,
            healthy=self._healthy,
            excluded=self._excluded,
            units=self._units,
            healthy_units=self._healthy_units,
            counts=first_counts(self._counts, n),
            thresholds=self._thresholds,
            operating=point,
            at_operating=first_counts(self._called, n) if called else None,
            bins=self._bins,
            maps=self._maps,
            pooled=self._pooled if n and not self._boxes else None,
            by_subject=fine if self._pooled is not None and n and not self._boxes else None,
            truth="boxes" if self._boxes else "mask",
        )


def _kept(counts: NDArray[Any]) -> NDArray[Any]:
    """Counts at the papers' thresholds alone, in few bytes: there may be 200,000 cases."""
    return counts[: len(THRESHOLDS)].astype(np.min_scalar_type(counts.max()))


def _share_above(pixels: NDArray[np.float32], threshold: float | None) -> float | None:
    return None if threshold is None else float((pixels > np.float32(threshold)).mean())
