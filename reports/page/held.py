"""What a run still holds of a case: committed results keep their tables and give up their arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uadbench.reports.atomic import RunError
from uadbench.reports.runs import Cell, Run
from uadbench.reports.store import BoxEntry

__all__ = ["arrays_of", "boxes_of", "inputs_of"]

Image = NDArray[np.float32]


def arrays_of(cell: Cell, case_id: str) -> tuple[Image, Image] | None:
    """(anomaly [H, W] >= 0, reconstruction [H, W] in [0, 1]) of a case, None where the run has none."""
    try:
        return cell.arrays(case_id)
    except RunError:
        return None


def inputs_of(runs: Sequence[Run], case_id: str) -> tuple[Image, NDArray[np.bool_]] | None:
    """(image [H, W] in [0, 1], mask bool [H, W]) of a case from the first run that holds them, else None."""
    for run in runs:
        try:
            return run.directory.read_input(case_id)
        except RunError:
            continue
    return None


def boxes_of(runs: Sequence[Run], case_id: str) -> list[BoxEntry] | None:
    """A case's boxes from the first run that holds its input; None where its truth is a mask, or none holds it."""
    for run in runs:
        try:
            return run.directory.read_boxes(case_id)
        except RunError:
            continue
    return None
