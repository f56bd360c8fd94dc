"""Where a cell fails most: lesions that it misses and false alarms, by rule from the figures of single cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uadbench.reports.runs import Cell
from uadbench.reports.text import percent
from uadbench.reports.truth import HEALTHY, truth_of_cell
from uadbench.reports.vocabulary import HEADLINE, SIZE_NAMES

__all__ = [
    "FALSE_ALARM",
    "MISSED",
    "MOST",
    "RULES",
    "Failure",
    "failure_rows",
    "find_failures",
    "threshold_of",
]

MOST = 3
MISSED, FALSE_ALARM = "missed", "false alarm"
RULES = {
    "mask": "Missed: the lesions with the lowest Dice at the threshold of the method's own pooled max Dice, of equals "
    "the largest; small lesions only where there are too few others. False alarms: of the cases that are left, "
    "healthy ones too, those with the most pixels above that threshold outside the truth. A subject once.",
    "boxes": "Missed: the cases with the lowest share of boxes found at the threshold that 5 % of healthy validation "
    "pixels exceed, of equals those with the most boxes. False alarms: of the cases that are left, healthy ones too, "
    "those with the most false components at that threshold. A subject once.",
}
"""How failures are chosen, by the data set's truth."""


@dataclass(frozen=True)
class Failure:
    """A case in which a cell fails.

    kind : MISSED or FALSE_ALARM
    figures : the case's entry of per_case in metrics.json
    """

    kind: str
    case_id: str
    subject: str
    lesion: bool
    figures: dict[str, Any]

    @property
    def what(self) -> str:
        """What is wrong with the case: "medium lesion, 300 px", the classes of its boxes, or "healthy"."""
        if not self.lesion:
            return "healthy"
        if boxes := self.figures.get("boxes"):
            return ", ".join(boxes)
        return f"{self.figures.get('group') or ''} lesion, {self.figures.get('lesion_px')} px".strip()

    @property
    def outcome(self) -> str:
        """What came of it: "Dice 12.3, 40 px false", or "1 of 2 found, 3 false"."""
        if (found := self.figures.get("found")) is not None:
            share = f"{sum(found)} of {len(found)} found, " if found else ""
            return f"{share}{self.figures['false_positives']} false"
        dice = self.figures.get("dice_at_max")
        return (
            f"Dice {percent(dice)}, " if dice is not None else ""
        ) + f"{self.figures['false_px']} px false"


def threshold_of(cell: Cell) -> float | None:
    """Above which a cell's pixels count as found where its failures are chosen; None where there is none."""
    truth = truth_of_cell(cell)
    name = HEADLINE.name if truth == "mask" else HEALTHY[truth]
    return ((cell.metrics or {}).get(name) or {}).get("threshold")


def find_failures(cell: Cell, most: int = MOST) -> list[Failure]:
    """At most ``most`` missed cases, worst first, then as many false alarms, by RULES.

    Empty for a cell that is not scored, and for one scored by a version that kept no such figures.
    """
    scored = cell.scores
    records = [
        record for record in cell.cases if record.get("status") == "ok" and record["case_id"] in scored
    ]
    missed_key, false_key = _KEYS[truth_of_cell(cell)]
    missed = _first(MISSED, [r for r in records if r.get("lesion")], scored, missed_key, most, ())
    return missed + _first(FALSE_ALARM, records, scored, false_key, most, [case.subject for case in missed])


def failure_rows(failures: Mapping[str, Sequence[Failure]]) -> str:
    """The failures of cells, by name, as CSV: what, case and its figures; scores are fractions."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("cell", "kind", "case", "subject", *_FIGURES))
    for name, found in failures.items():
        for case in found:
            values = [case.figures.get(key) for key in _FIGURES]
            texts = [f"{value:.6g}" if isinstance(value, float) else value for value in values]
            writer.writerow((name, case.kind, case.case_id, case.subject, *texts))
    return buffer.getvalue()


_FIGURES = ("group", "lesion_px", "dice_at_max", "false_px", "recall", "false_positives", "score")
Key = Callable[[dict[str, Any]], tuple[float, ...] | None]


def _first(
    kind: str,
    records: Iterable[dict[str, Any]],
    scored: dict[str, Any],
    key: Key,
    most: int,
    taken: Iterable[str],
) -> list[Failure]:
    """The first cases by a key of their figures (None: no failure), at most one a subject, none of those taken."""
    ranked = []
    for record in records:
        case_id = str(record["case_id"])
        if (place := key(scored[case_id])) is not None:
            ranked.append((place, case_id, str(record.get("subject") or case_id), bool(record.get("lesion"))))
    found: dict[str, Failure] = {}
    subjects = set(taken)
    for _, case_id, subject, lesion in sorted(ranked):
        if len(found) < most and subject not in subjects:
            subjects.add(subject)
            found[case_id] = Failure(kind, case_id, subject, lesion, scored[case_id])
    return list(found.values())


def _lowest_dice(figures: dict[str, Any]) -> tuple[float, ...] | None:
    if (dice := figures.get("dice_at_max")) is None:
        return None
    return figures.get("group") == SIZE_NAMES[0], dice, -(figures.get("lesion_px") or 0)


def _most_false_pixels(figures: dict[str, Any]) -> tuple[float, ...] | None:
    return (-figures["false_px"],) if figures.get("false_px") else None


def _fewest_found(figures: dict[str, Any]) -> tuple[float, ...] | None:
    recall = figures.get("recall")
    return None if recall is None or recall >= 1 else (recall, -len(figures.get("boxes") or ()))


def _most_false_components(figures: dict[str, Any]) -> tuple[float, ...] | None:
    return (-figures["false_positives"],) if figures.get("false_positives") else None


_KEYS: dict[str, tuple[Key, Key]] = {
    "mask": (_lowest_dice, _most_false_pixels),
    "boxes": (_fewest_found, _most_false_components),
}
