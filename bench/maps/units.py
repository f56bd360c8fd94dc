"""What is written as one file: a case, or where the form can hold them all slices of a volume that a run has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Unit", "make_units"]

_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Unit:
    """Cases of one file.

    name : of the file, without ending; records : lines of cases.jsonl; volume : whether they are slices of a volume
    """

    name: str
    records: tuple[Mapping[str, Any], ...]
    volume: bool

    def place(self, record: Mapping[str, Any]) -> int:
        """Which slice of the file a case is."""
        return int(record.get("position") or 0) if self.volume else 0

    def array(self, images: Mapping[int, NDArray[Any]]) -> NDArray[Any]:
        """Images [H, W] by place as one array: [H, W] for a case, [D, H, W] for a volume, 0 where there is none."""
        first = next(iter(images.values()))
        if not self.volume:
            return first
        depth = 1 + max(self.place(record) for record in self.records)
        stacked = np.zeros((depth, *first.shape), first.dtype)
        for place, image in images.items():
            stacked[place] = image
        return stacked


def make_units(records: Sequence[Mapping[str, Any]], together: bool) -> list[Unit]:
    """The cases in their order; together : whether slices of a volume are one unit, at the place of the first."""
    found: dict[tuple[bool, str], list[Mapping[str, Any]]] = {}
    for record in records:
        volume = str(record.get("volume") or "") if together else ""
        found.setdefault((bool(volume), volume or record["case_id"]), []).append(record)
    return [
        Unit(_UNUSUAL.sub("_", name), tuple(members), volume) for (volume, name), members in found.items()
    ]
