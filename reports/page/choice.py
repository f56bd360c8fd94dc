"""Which cases are shown: spread from the best to the worst of each lesion size, and healthy ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uadbench.reports.runs import Cell
from uadbench.reports.vocabulary import SIZE_NAMES

__all__ = ["HEALTHY", "MAX_CASES", "MAX_IMAGES", "RULES", "Chosen", "choose"]

MAX_CASES = 24
MAX_IMAGES = 600  # a page; a map takes at most 16 kB and a reconstruction 6 kB: below 7 MB together
HEALTHY = "healthy"
RULES = {
    "mask": "lesion cases are taken evenly from best to worst mean Dice over the methods shown, the same number from "
    "each lesion size; a quarter of the places goes to healthy cases, evenly from the highest to the lowest mean score",
    "boxes": "cases with boxes are taken evenly from best to worst mean F1 over the methods shown, the same number of "
    "each class, one with several for that which the fewest cases have; healthy cases have as many places "
    "as a class, evenly from the highest to the lowest mean score",
}
"""How cases are chosen, by the data set's truth."""


@dataclass(frozen=True)
class Chosen:
    """A case to show: group (lesion size, class or HEALTHY), its rank from 1 among ``of`` cases of the group."""

    case_id: str
    group: str
    rank: int
    of: int
    lesion_px: int


def choose(cells: Sequence[Cell], limit: int = MAX_CASES, images: int = MAX_IMAGES) -> list[Chosen]:
    """At most ``limit`` scored test cases by RULES, sizes in their order, then healthy, best first.

    cells : the cells shown; the more of them, the fewer cases: two pictures a cell, ``images`` in all
    """
    limit = max(1, min(limit, images // (2 + 2 * max(1, len(cells)))))
    methods = [cell for cell in cells if cell.info.get("kind") != "floor"] or list(cells)
    values: dict[str, list[float]] = {}
    known: dict[str, tuple[str, int]] = {}
    classes = _classes(methods)
    for cell in methods:
        scored = cell.scores
        for record in cell.cases:
            entry = scored.get(str(record["case_id"]))
            if record.get("split") != "test" or record.get("status") != "ok" or entry is None:
                continue
            if (group := _group(record, entry, classes)) is None:
                continue
            case_id = str(record["case_id"])
            known[case_id] = group, int(record.get("lesion_px") or 0)
            value = entry.get("score" if group == HEALTHY else "f1" if "boxes" in entry else "dice")
            values.setdefault(case_id, []).extend([] if value is None else [float(value)])
    ranked: dict[str, list[str]] = {group: [] for group in (*SIZE_NAMES, *classes, HEALTHY)}
    for case_id in sorted(known):
        ranked[known[case_id][0]].append(case_id)
    for ids in ranked.values():
        ids.sort(key=lambda case_id: (-float(np.mean(values[case_id] or [-1.0])), case_id))
    quota = _quotas({group: len(ids) for group, ids in ranked.items()}, limit)
    return [
        Chosen(ids[place], group, place + 1, len(ids), known[ids[place]][1])
        for group, ids in ranked.items()
        for place in _spread(len(ids), quota[group])
    ]


def _classes(cells: Sequence[Cell]) -> list[str]:
    """Classes of boxes, that which fewest cases have first; [] where the truth is masks."""
    counts: Counter[str] = Counter()
    for entry in cells[0].scores.values() if cells else ():
        counts.update(set(entry.get("boxes") or ()))
    return sorted(counts, key=lambda label: (counts[label], label))


def _group(record: dict[str, Any], entry: dict[str, Any], classes: Sequence[str]) -> str | None:
    """The case's group as it was scored; None for a lesion too small to be scored."""
    if not record.get("lesion"):
        return HEALTHY
    if labels := entry.get("boxes"):
        return next((label for label in classes if label in labels), None)
    return entry["group"] if entry.get("group") in SIZE_NAMES else None


def _quotas(counts: dict[str, int], limit: int) -> dict[str, int]:
    """Places a group: shared in turn, so that each gets the same; what a group cannot fill goes on."""
    quota = dict.fromkeys(counts, 0)
    free = limit
    while free and any(quota[group] < counts[group] for group in counts):
        for group in counts:
            if free and quota[group] < counts[group]:
                quota[group] += 1
                free -= 1
    return quota


def _spread(count: int, places: int) -> list[int]:
    """``places`` positions in 0 .. count - 1, first and last included, the middle one when there is a single place."""
    if places >= count:
        return list(range(count))
    if places == 1:
        return [(count - 1) // 2]
    return sorted({round(position) for position in np.linspace(0, count - 1, places).tolist()})
