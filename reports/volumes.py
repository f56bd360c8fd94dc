"""Scores by volume, from the shown cells' metrics.json: a table of means, and a row a volume for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from uadbench.reports.rows import Section, cell_label
from uadbench.reports.vocabulary import MEASURES, VOLUMES

__all__ = [
    "BY_VOLUME",
    "COLUMNS",
    "VolumeRow",
    "measures_of",
    "volume_lines",
    "volume_notes",
    "volume_rows",
    "volume_table",
    "volume_terminal",
]

BY_VOLUME = (
    "Means over volumes with lesion. A volume is what the run has of its slices, at 128 × 128. Best Dice, lesions and "
    "surfaces are at the threshold of the best mean Dice, which knows the truth."
)
_SCORES = (
    *("lesion_voxels", "dice", "dice_healthy_fpr5", "dice_fitted", "auprc"),
    *("lesions", "lesions_found", "components", "components_true", "lesion_f1", "lesion_recall"),
    *("hausdorff95_mm", "surface_distance_mm"),
)
COLUMNS = (
    *("dataset", "variant", "arm", "kind", "volume", "subject", "n_slices"),
    *("slice_mm", "row_mm", "column_mm"),
    "threshold",
    *_SCORES,
    *("cell", "run"),
)
"""Of volumes.csv; scores are fractions, threshold is that of dice, lesions and surfaces."""


@dataclass(frozen=True)
class VolumeRow:
    """One cell's line of the table. texts : "41.2 (35.0–47.1)", one a measure"""

    label: str
    kind: str
    texts: tuple[str, ...]


def volume_rows(section: Section) -> pd.DataFrame:
    """A row a cell and scored volume, with COLUMNS; empty where there are none."""
    return pd.DataFrame(list(_rows(section)), columns=list(COLUMNS))


def _rows(section: Section) -> Iterator[dict[str, Any]]:
    for index, row in section.frame.iterrows():
        metrics = section.cell(int(str(index)))[1].metrics or {}
        threshold = (metrics.get("volume_dice_max") or {}).get("threshold")
        for name, found in ((metrics.get("volumes") or {}).get("per_volume") or {}).items():
            spacing = dict(
                zip(("slice_mm", "row_mm", "column_mm"), found.get("spacing_mm") or (), strict=False)
            )
            yield {
                **{key: row[key] for key in ("dataset", "variant", "arm", "kind", "cell", "run")},
                **{key: found.get(key) for key in ("subject", "n_slices", *_SCORES)},
                **{"volume": name, "threshold": threshold, **spacing},
            }


def measures_of(frame: pd.DataFrame) -> list[str]:
    """Names of the measures by volume that a row of the table has; [] where no run has whole volumes."""
    return [name for name in VOLUMES if name in frame and frame[name].notna().any()]


def volume_table(section: Section) -> tuple[list[str], list[VolumeRow]]:
    """(heads, rows): a row a cell of the leaderboard that has any, in its order; ([], []) without volumes."""
    names = measures_of(section.frame)
    heads = [
        MEASURES[name].title + ("" if MEASURES[name].better > 0 else " (less is better)") for name in names
    ]
    scored = section.frame[section.frame[names].notna().any(axis=1)] if names else section.frame.iloc[:0]
    return heads, [
        VolumeRow(cell_label(row), str(row["kind"]), tuple(_text(row, name) for name in names))
        for _, row in scored.iterrows()
    ]


def volume_notes(section: Section) -> list[str]:
    """How many volumes, which were left out, and what could not be measured: sentences without their full stop."""
    found: dict[str, list[str]] = {}
    cells = [section.cell(int(index))[1] for index in section.frame.index]
    counted = {cell.slug: volumes for cell in cells if (volumes := (cell.metrics or {}).get("volumes"))}
    for slug, volumes in counted.items():
        for note in _notes(volumes):
            found.setdefault(note, []).append(slug)
    return [
        note if len(slugs) == len(counted) else f"{note} ({', '.join(slugs)})"
        for note, slugs in found.items()
    ]


def _notes(volumes: dict[str, Any], most: int = 8) -> Iterator[str]:
    count, lost = volumes["n"], volumes.get("left_out") or {}
    yield f"{count} {'volume' if count == 1 else 'volumes'} scored"
    for reason in sorted(set(lost.values())):
        names = [name for name in lost if lost[name] == reason]
        more = f" and {len(names) - most} more" if len(names) > most else ""
        yield f"Left out, {reason}: {', '.join(names[:most])}{more}"
    yield from (f"{note[0].upper()}{note[1:]}" for note in volumes.get("notes") or ())


def volume_lines(section: Section, escape: Callable[[str], str]) -> list[str]:
    """The table as Markdown below its heading; [] without volumes."""
    heads, rows = volume_table(section)
    if not rows:
        return []
    lines = ["### By volume", "", BY_VOLUME, ""]
    lines += ["| method | " + " | ".join(map(escape, heads)) + " |", "| --- |" + " ---: |" * len(heads)]
    lines += [f"| {escape(row.label)} | " + " | ".join(row.texts) + " |" for row in rows]
    return [*lines, "", *(f"* {escape(note)}." for note in volume_notes(section)), ""]


def volume_terminal(frame: pd.DataFrame) -> list[Table]:
    """The table for a terminal of 80 columns, without intervals; [] without volumes."""
    names = measures_of(frame)
    if not names:
        return []
    table = Table(box=SIMPLE, title="By volume", title_justify="left", pad_edge=False, show_edge=False)
    table.padding, table.caption_justify = (0, 0, 0, 0), "left"
    table.add_column("method", overflow="fold", min_width=14)
    for name in names:
        table.add_column(MEASURES[name].short, justify="right", no_wrap=True)
    for _, row in frame[frame[names].notna().any(axis=1)].iterrows():
        label = f"{row['variant']} {row['arm']}".replace(" · ", " ")
        style = "dim" if row["kind"] == "floor" else None
        table.add_row(Text(label), *(Text(_value(row, name)) for name in names), style=style)
    table.caption = (
        "Means over volumes with lesion, in percent; HD95, ASD: mm, less is better. v.Dice, lesions (les.) and "
        "surfaces at the threshold of the best mean Dice, which knows the truth."
    )
    return [table]


def _value(row: Any, name: str) -> str:
    return "–" if pd.isna(row[name]) else MEASURES[name].text(row[name])


def _text(row: Any, name: str) -> str:
    """'41.2 (35.0–47.1)'; a dash where there is none."""
    measure, low, high = MEASURES[name], row[f"{name}_lo"], row[f"{name}_hi"]
    return _value(row, name) + ("" if pd.isna(low) else f" ({measure.text(low)}–{measure.text(high)})")
