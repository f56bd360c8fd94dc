"""Which measures a table shows: those of its data set's truth, masks or boxes."""

from __future__ import annotations

import pandas as pd

from uadbench.reports.runs import Cell
from uadbench.reports.vocabulary import HEADLINES, MEASURES, TABLE, Measure

__all__ = ["HEALTHY", "SHORT", "headline_of", "headline_values", "table_of", "truth_of", "truth_of_cell"]


HEALTHY = {"mask": "dice_healthy_fpr5", "boxes": "box_f1"}
"""The measure with whose entry in metrics.json the healthy threshold of the image stands, by the truth."""

SHORT = {
    "mask": "Dice: max Dice of all pixels pooled. avg.: the papers' average over sizes.",
    "boxes": "F1, rec., prec.: of boxes, mean over images, at 5 % FPR. F1p: by the authors' count of false positives.",
}
"""What the short heads of a terminal's columns mean, by the truth."""


def truth_of(frame: pd.DataFrame) -> str:
    """ "mask" or "boxes", of a table whose rows share it (or the first row's)."""
    return str(frame["truth"].iloc[0]) if "truth" in frame and len(frame) else "mask"


def truth_of_cell(cell: Cell, otherwise: str = "mask") -> str:
    """ "mask" or "boxes", of what a cell was scored by; ``otherwise`` where it is not scored."""
    return str((cell.metrics or {}).get("truth") or otherwise)


def headline_of(frame: pd.DataFrame) -> Measure:
    """The score that the table's methods are compared by first."""
    return HEADLINES[truth_of(frame)]


def table_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """Names of the scores in the columns of the table, those of its truth alone first: the headline leads."""
    truth = truth_of(frame)
    names = (name for name in TABLE if MEASURES[name].applies_to(truth))
    return tuple(sorted(names, key=lambda name: MEASURES[name].truth == "any"))


def headline_values(frame: pd.DataFrame) -> pd.Series:
    """Each row's own headline score."""
    values = pd.Series(float("nan"), index=frame.index)
    truth = frame["truth"] if "truth" in frame else pd.Series("mask", index=frame.index)
    for name, measure in HEADLINES.items():
        if measure.name in frame:
            values = values.where(truth != name, frame[measure.name])
    return values
