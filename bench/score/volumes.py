"""Whole volumes: slices are held until the last of their volume has come, counted together and let go.

A volume is the slices of it that the run has, at their positions. It is scored where it has several, none of them
failed, and a lesion. What depends on a threshold that is known only after all volumes (``Tally.objects``) reads the
volumes once more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.cases import Scored, Thresholds
from uadbench.bench.score.lesions import Objects, count_objects
from uadbench.bench.score.measured import Cases, Slice
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.pooled import THRESHOLDS, beyond
from uadbench.engine.post import without_small

__all__ = ["FAILED", "NO_LESION", "Volume", "VolumeCounter", "Volumes", "average_precision"]

FAILED = "slices of it failed"
NO_LESION = "no lesion in it"

Floats = NDArray[np.float64]
Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Volume:
    """What stays of a volume with lesion.

    places : of its slices among the cases, from the lowest; positions : which slices of the volume they are
    spacing : mm from slice to slice, row to row, column to column; None where unknown
    lesion : lesion voxels; average_precision : of its own voxels
    dice : [101 + 1] at the papers' thresholds and the healthy one, NaN without it
    dice_fitted : at the operating point of post-processed maps; None without
    """

    name: str
    subject: str
    places: tuple[int, ...]
    positions: tuple[int, ...]
    spacing: tuple[float, float, float] | None
    lesion: int
    average_precision: float
    dice: Floats
    dice_fitted: float | None


@dataclass(frozen=True)
class Volumes:
    """All volumes of a cell's cases.

    scored : those with lesion; left_out : the others -> why
    read : place -> the case with its map
    """

    scored: Sequence[Volume]
    left_out: Mapping[str, str]
    read: Callable[[int], Scored]

    @cached_property
    def dice(self) -> Floats:
        """Of each scored volume at the papers' thresholds [n, 101]."""
        return np.array([volume.dice[: len(THRESHOLDS)] for volume in self.scored])

    @cached_property
    def best(self) -> int:
        """The place among the papers' thresholds of the best mean Dice, the lowest of equals."""
        return int(self.dice.mean(axis=0).argmax())

    @cached_property
    def objects(self) -> list[Objects]:
        """What is found of each scored volume's lesions at the best threshold; reads their cases again."""
        return [self._objects_of(volume) for volume in self.scored]

    def _objects_of(self, volume: Volume) -> Objects:
        cases = [self.read(place) for place in volume.places]
        above = [case.anomaly.astype(np.float32, copy=False) > THRESHOLDS[self.best] for case in cases]
        masks = [case.mask for case in cases]
        return count_objects(
            _at_positions(above, volume.positions), _at_positions(masks, volume.positions), volume.spacing
        )


class VolumeCounter:
    """Volumes in the making."""

    def __init__(self, cases: Cases, thresholds: Thresholds, operating: OperatingPoint | None) -> None:
        self._cases, self._point = cases, operating
        healthy = np.inf if thresholds.image is None else thresholds.image
        self._cuts = np.append(THRESHOLDS, np.float32(healthy))
        self._missing = Counter(one.volume for one in cases.slices if one is not None)
        self._several = {name for name, count in self._missing.items() if count > 1} | cases.incomplete
        self._held: dict[str, list[tuple[int, Slice, Scored]]] = {}
        self._scored: list[Volume] = []
        self._left_out: dict[str, str] = dict.fromkeys(sorted(cases.incomplete), FAILED)

    def look_at(self, place: int, case: Scored) -> None:
        """Hold a case until its volume is complete; what is no slice, or an only one, is passed over."""
        one = self._cases.slices[place] if self._cases.slices else None
        if one is None or one.volume not in self._several or one.volume in self._cases.incomplete:
            return
        self._held.setdefault(one.volume, []).append((place, one, case))
        self._missing[one.volume] -= 1
        if not self._missing[one.volume]:
            self._count(one.volume, sorted(self._held.pop(one.volume), key=lambda held: held[1].position))

    def _count(self, name: str, held: Sequence[tuple[int, Slice, Scored]]) -> None:
        places, slices, cases = zip(*held, strict=True)
        masks = [case.mask for case in cases]
        if not any(mask.any() for mask in masks):
            self._left_out[name] = NO_LESION
            return
        maps, positions = [case.anomaly for case in cases], tuple(one.position for one in slices)
        pixels = np.sort(np.concatenate([np.ravel(one) for one in maps]).astype(np.float32, copy=False))
        inside = np.sort(
            np.concatenate([one[mask] for one, mask in zip(maps, masks, strict=True)]).astype(np.float32)
        )
        found, hit = (beyond(values, self._cuts, "right") for values in (pixels, inside))
        dice = np.where(np.isinf(self._cuts), np.nan, 2 * hit / (found + inside.size))
        self._scored.append(
            Volume(
                name,
                cases[0].subject,
                places,
                positions,
                slices[0].spacing,
                inside.size,
                average_precision(pixels, inside),
                dice,
                self._fitted(maps, masks, positions),
            )
        )

    def _fitted(self, maps: Sequence[Maps], masks: Sequence[Masks], positions: Sequence[int]) -> float | None:
        point = self._point
        if point is None or point.threshold is None:
            return None
        above = _at_positions([one > np.float32(point.threshold) for one in maps], positions)
        truth, called = _at_positions(masks, positions), without_small(above, point.component_px)
        return float(
            2 * np.count_nonzero(called & truth) / (np.count_nonzero(called) + np.count_nonzero(truth))
        )

    def finish(self) -> Volumes | None:
        """What was counted; None where no case is one of several slices."""
        return Volumes(self._scored, self._left_out, self._cases.read) if self._several else None


def average_precision(pixels: Maps, inside: Maps) -> float:
    """Over every distinct value: scikit-learn's, as recall grows at the values of lesion pixels alone.

    pixels, inside : [n] all of them, [l] those that are lesion, sorted; l > 0
    """
    values = np.unique(inside)
    found, hit = (beyond(sorted_values, values, "left") for sorted_values in (pixels, inside))
    gained = hit - np.append(hit[1:], 0)
    return float((gained * (hit / found)).sum() / inside.size)


def _at_positions(slices: Sequence[Masks], positions: Sequence[int]) -> Masks:
    """bool [D, H, W] from the lowest position to the highest, empty where the run has no slice."""
    stacked = np.zeros((positions[-1] - positions[0] + 1, *slices[0].shape), dtype=bool)
    stacked[np.array(positions) - positions[0]] = slices
    return stacked
