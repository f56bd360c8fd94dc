"""Leaderboards from run directories: a table in memory, and CSV, Markdown and HTML files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uadbench.reports.atomic import RunError, write_bytes
from uadbench.reports.boxes import class_rows
from uadbench.reports.page.page import page
from uadbench.reports.rows import rows_of, sections
from uadbench.reports.runs import Held, load_run
from uadbench.reports.shifts import COLUMNS, shift_rows
from uadbench.reports.sweep import sweep_rows
from uadbench.reports.text import markdown, terminal_table
from uadbench.reports.volumes import volume_rows

__all__ = ["rows", "terminal_table", "write_reports"]


def rows(runs: Sequence[Path]) -> pd.DataFrame:
    """One row a cell of the given run directories (see table.rows_of); RunError when one of them is none."""
    held = Held()
    return rows_of([load_run(Path(path), held) for path in runs])


def write_reports(
    runs: Sequence[Path],
    output: Path,
    held: Held | None = None,
    profile: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write leaderboard.csv, leaderboard.md and leaderboard.html into ``output``; returns their paths.

    The same runs give the same bytes, in whatever order they are given. In the CSV scores are fractions and a missing
    value is an empty field; in the other two scores are percent. Where cases were run under shifts, shifts.csv
    besides; of a sweep, sweep.csv; where the truth is boxes, boxes.csv with the scores by class; of whole
    volumes, volumes.csv with each of them. held : see ``load_run``;
    profile : a profile.json, which the page then shows too
    """
    if not runs:
        raise RunError("no run directory given; `bench run` makes one")
    held = Held() if held is None else held
    loaded = [load_run(Path(path), held) for path in runs]
    frame = rows_of(loaded)
    texts = {
        "leaderboard.csv": frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        "leaderboard.md": markdown(loaded, frame),
        "leaderboard.html": page(loaded, frame, profile),
    }
    shifts = [rows for section in sections(loaded, frame) if len(rows := shift_rows(section))]
    if shifts:
        table = pd.concat(shifts)[list(COLUMNS)]
        texts["shifts.csv"] = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    sweeps = [rows for section in sections(loaded, frame) if len(rows := sweep_rows(section))]
    if sweeps:
        texts["sweep.csv"] = pd.concat(sweeps).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    classes = [rows for section in sections(loaded, frame) if len(rows := class_rows(section))]
    if classes:
        texts["boxes.csv"] = pd.concat(classes).to_csv(index=False, float_format="%.6g", lineterminator="\n")
    volumes = [rows for section in sections(loaded, frame) if len(rows := volume_rows(section))]
    if volumes:
        texts["volumes.csv"] = pd.concat(volumes).to_csv(
            index=False, float_format="%.6g", lineterminator="\n"
        )
    paths = []
    for name, text in texts.items():
        paths.append(Path(output) / name)
        write_bytes(paths[-1], text.encode())
    return paths
