"""A sweep as a table: a row a variant, with the values of what was varied, its scores and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uadbench.reports.rows import Section
from uadbench.reports.runs import Run
from uadbench.reports.vocabulary import SCORES

__all__ = ["AXES", "VALIDATION", "sweep_rows", "swept", "value_text"]

AXES = ("dice_max", "dice_average", "auprc")
VALIDATION = "Validation cases: to choose on, not to report."
_COST = ("nfe", "latency_ms_p50", "load_max", "n_lesion", "n_failed", "dataset", "cell", "run")


def swept(run: Run) -> list[str]:
    """Names of what a run varies; [] for a run that is no sweep."""
    found = (run.manifest.get("config") or {}).get("vary") or {}
    return [str(name) for name in found] if isinstance(found, Mapping) else []


def sweep_rows(section: Section) -> pd.DataFrame:
    """A row a swept cell: method, arm, what was varied, scores with their intervals, NFE, milliseconds; fractions.

    Empty for a section without a sweep. Its index is that of the section's frame. A value that a method does not have
    is missing.
    """
    names = list(dict.fromkeys(_plain(name) for run in section.runs for name in swept(run)))
    found, records = [], []
    for index in section.frame.index:
        _, cell = section.cell(int(index))
        varied = cell.info.get("varied")
        if isinstance(varied, Mapping) and varied:
            found.append(index)
            records.append({name: value_text(varied[name]) if name in varied else None for name in names})
    if not found:
        return pd.DataFrame()
    frame = section.frame.loc[found]
    scores = [name for score in AXES for name in (score, f"{score}_lo", f"{score}_hi")]
    others = [score for score in SCORES if score in frame and score not in AXES]
    values = pd.DataFrame(records, index=frame.index, columns=names)
    told = [column for column in ("method", "variant", "arm") if column not in names]
    rest = [column for column in (*scores, *others, *_COST) if column in frame and column not in names]
    return pd.concat([frame[told], values, frame[rest]], axis=1)


def _plain(name: str) -> str:
    """A field's own name: of "thor.window", "window"."""
    return name.rpartition(".")[2]


def value_text(value: Any) -> str:
    """A varied value as tables and legends write it."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(value_text, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
