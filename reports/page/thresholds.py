"""Pooled Dice over the threshold, from a run's scores where they hold it, else from the maps that it holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uadbench.reports.page.held import arrays_of, inputs_of
from uadbench.reports.runs import Cell, Run

__all__ = ["THRESHOLDS", "dice_curve"]

THRESHOLDS = (np.arange(101) / 100).astype(np.float32)  # the papers', as max Dice takes them


def dice_curve(cell: Cell, runs: Sequence[Run]) -> tuple[list[float], list[float]] | None:
    """(thresholds, Dice) of all pixels of the cell's scored lesion cases pooled; None where an array is missing.

    A map that a run no longer holds would move the whole curve, so a part of the cases is never shown.
    """
    if kept := (cell.metrics or {}).get("dice_curve"):  # of so many cases that their maps are not read again
        return kept["threshold"], kept["dice"]
    lesions = [case_id for case_id, entry in sorted(cell.scores.items()) if entry.get("group")]
    found, hit, size = np.zeros(len(THRESHOLDS)), np.zeros(len(THRESHOLDS)), 0
    for case_id in lesions:
        arrays, inputs = arrays_of(cell, case_id), inputs_of(runs, case_id)
        if arrays is None or inputs is None or arrays[0].shape != inputs[1].shape:
            return None
        anomaly, mask = arrays[0], inputs[1]
        found += _above(anomaly.ravel())
        hit += _above(anomaly[mask])
        size += int(mask.sum())
    if not size:
        return None
    return THRESHOLDS.tolist(), (2 * hit / (found + size)).tolist()


def _above(values: np.ndarray) -> np.ndarray:
    """How many values exceed each threshold."""
    passed = np.searchsorted(THRESHOLDS, values, side="left")
    counts = np.bincount(passed, minlength=len(THRESHOLDS) + 1)
    return counts[::-1].cumsum()[::-1][1:]
