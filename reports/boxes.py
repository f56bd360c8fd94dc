"""Boxes by class, from the shown cells' metrics.json: recall and F1, as Table 2 of THOR's paper has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from uadbench.reports.rows import Section

__all__ = ["CLASSES", "COLUMNS", "ClassRow", "class_lines", "class_rows", "class_table"]

CLASSES = (
    "Recall / F1 in percent, mean over the images that have a box of the class, with the recall's 95 % interval where "
    "there are 10 subjects. Only boxes of the class are looked for; every false positive of the image counts. n: boxes "
    "in images."
)
SCORES = ("recall", "f1", "f1_papers")
COLUMNS = (
    *("dataset", "variant", "arm", "kind", "class", "n_boxes", "n_images"),
    *(f"{score}{end}" for score in SCORES for end in ("", "_lo", "_hi")),
    *("cell", "run"),
)
"""Of boxes.csv; scores are fractions."""


@dataclass(frozen=True)
class ClassRow:
    """One cell's line of the table. texts : "75.4 / 16.5 (60.1–88.0)", one a class"""

    label: str
    kind: str
    texts: tuple[str, ...]


def class_rows(section: Section) -> pd.DataFrame:
    """A row a cell and class, with COLUMNS; empty where the truth is masks."""
    return pd.DataFrame(list(_rows(section)), columns=list(COLUMNS))


def _rows(section: Section) -> Iterator[dict[str, Any]]:
    for index, row in section.frame.iterrows():
        metrics = section.cell(int(str(index)))[1].metrics or {}
        for label, entry in sorted((metrics.get("by_class") or {}).items()):
            scores = {
                f"{score}{end}": entry[score].get(key)
                for score in SCORES
                for end, key in (("", "value"), ("_lo", "lo"), ("_hi", "hi"))
            }
            names = ("dataset", "variant", "arm", "kind", "cell", "run")
            counts = {"class": label, "n_boxes": entry["n_boxes"], "n_images": entry["n_images"]}
            yield {**{name: row[name] for name in names}, **counts, **scores}


def class_table(section: Section) -> tuple[list[str], list[ClassRow]]:
    """(heads, rows): a column a class, a row a cell of the leaderboard, in its order; ([], []) without classes."""
    frame = class_rows(section)
    heads = [
        f"{label}, n = {int(part['n_boxes'].max())} in {int(part['n_images'].max())}"
        for label, part in frame.groupby("class", sort=True)
    ]
    labels = sorted(set(frame["class"]))
    rows = []
    for (_, _), part in frame.groupby(["run", "cell"], sort=False):
        first, by_label = part.iloc[0], part.set_index("class")
        texts = [_text(by_label.loc[label]) if label in by_label.index else "–" for label in labels]
        rows.append(ClassRow(f"{first['variant']} · {first['arm']}", str(first["kind"]), tuple(texts)))
    return heads, rows


def class_lines(section: Section, escape: Callable[[str], str]) -> list[str]:
    """The table as Markdown below its heading; [] without classes."""
    heads, rows = class_table(section)
    if not rows:
        return []
    lines = ["### By class", "", CLASSES, ""]
    lines += ["| method | " + " | ".join(map(escape, heads)) + " |", "| --- |" + " ---: |" * len(heads)]
    lines += [f"| {escape(row.label)} | " + " | ".join(row.texts) + " |" for row in rows]
    return [*lines, ""]


def _text(row: Mapping[str, Any]) -> str:
    """'75.4 / 16.5 (60.1–88.0)'."""
    recall, f1 = (_percent(row[name]) for name in ("recall", "f1"))
    low, high = row["recall_lo"], row["recall_hi"]
    return f"{recall} / {f1}" + ("" if pd.isna(low) else f" ({_percent(low)}–{_percent(high)})")


def _percent(value: Any) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f}"
