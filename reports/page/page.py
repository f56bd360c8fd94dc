"""The leaderboard as one self-contained HTML page: no network, works without JavaScript, same input same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
import pandas as pd

from uadbench.reports import caveats
from uadbench.reports.page import context, figures
from uadbench.reports.page.cases import RULE
from uadbench.reports.places import short_config
from uadbench.reports.provenance import MEASURES, account, environment
from uadbench.reports.published import NOT_COMPARABLE, published_tables
from uadbench.reports.ranking import TIES, marks
from uadbench.reports.rows import Section, run_id, sections
from uadbench.reports.store import Run

__all__ = ["page"]


def page(runs: Sequence[Run], frame: pd.DataFrame) -> str:
    """The page for runs and their table (table.rows_of). Everything that comes from a run is escaped.

    The content security policy allows the page's one script by its hash, styles, and images in data addresses.
    """
    runs = sorted(runs, key=run_id)
    parts = [_section(section, runs) for section in sections(runs, frame)]
    script = _asset("page.js")
    environment_ = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment_.from_string(_asset("page.html")).render(
        css=_asset("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=parts,
        summary=_summary(frame, parts),
        engines=sorted({row["engine"] for part in parts for row in part["rows"]}),
        runs=[_run(run) for run in runs],
        measures=MEASURES,
        ties=TIES.replace("`", ""),
        published=published_tables(),
        not_comparable=NOT_COMPARABLE,
        rule=RULE,
        markers=_MARKERS,
    )


# the legends' markers, as SVG paths in a box of 12 x 12, in the order of figures.MARKERS
_MARKERS = (
    "M6 1a5 5 0 1 0 .01 0z",
    "M1.5 1.5h9v9h-9z",
    "M6 .5L11.5 6 6 11.5.5 6z",
    "M6 1l5 10H1z",
    "M6 11L1 1h10z",
    "M4 1h4v3h3v4H8v3H4V8H1V4h3z",
    "M3.5 1L6 3.5 8.5 1 11 3.5 8.5 6 11 8.5 8.5 11 6 8.5 3.5 11 1 8.5 3.5 6 1 3.5z",
    "M6 .5l4.8 2.75v5.5L6 11.5 1.2 8.75v-5.5z",
)


def _asset(name: str) -> str:
    return files("uadbench.reports.page").joinpath("templates", name).read_text(encoding="utf-8")


def _summary(frame: pd.DataFrame, parts: list[dict[str, Any]]) -> str:
    def count(number: int, one: str, many: str) -> str:
        return f"{number} {one if number == 1 else many}"

    methods = frame[frame["kind"] != "floor"]
    engines = methods[["backend", "precision"]].drop_duplicates()
    words = [
        count(methods["method"].nunique(), "method", "methods"),
        count(frame[frame["kind"] == "floor"]["method"].nunique(), "floor", "floors"),
        count(len(engines), "back end and precision", "back ends and precisions"),
        count(len(parts), "data set", "data sets"),
        count(frame["run"].nunique(), "run", "runs"),
    ]
    return ", ".join(words)


def _section(section: Section, runs: Sequence[Run]) -> dict[str, Any]:
    frame, dataset = section.frame, section.dataset
    found = marks(frame)
    rows = context.result_rows(frame, found)
    counts = {row["cases"]["text"] for row in rows if row["cases"]["sort"]}
    return {
        "key": section.key,
        "name": str(frame.iloc[0]["dataset"]),
        "title": str(dataset.get("title") or frame.iloc[0]["dataset"]),
        "origin": str(frame.iloc[0]["origin"]),
        "modality": str(dataset.get("modality") or ""),
        "caveats": [str(text) for text in dataset.get("caveats") or ()],
        "licence": str(dataset.get("licence") or ""),
        "citation": str(dataset.get("citation") or ""),
        "fingerprint": str(dataset.get("fingerprint") or ""),
        "rows": rows,
        "several_runs": len(runs) > 1,
        "uneven": len(counts) > 1,
        "silent": _silent(rows),
        "glance": context.glance(section, found),
        "quality": context.quality_rows(frame),
        "loaded": caveats.load_notes(section),
        "timing": context.timing_rows(section),
        "problems": caveats.problems(section),
        "plots": _plots(section),
        "browser": context.case_browser(section),
    }


def _silent(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(cell, why) for the methods that show no speed-up and are not the reference."""
    return [
        (row["label"], row["speedup_note"])
        for row in rows
        if row["speedup_note"] and row["kind"] != "floor" and row["speedup_note"] != "the reference"
    ]


def _plots(section: Section) -> list[dict[str, Any]]:
    stages: dict[int, dict[str, float]] = {}
    curves: dict[int, tuple[list[float], list[float]]] = {}
    for index in section.frame.index:
        cell = section.cell(int(index))[1]
        stages[int(index)] = (cell.latency or {}).get("stages_ms") or {}
        curve = (cell.metrics or {}).get("pr_curve") or {}
        if curve.get("recall"):
            curves[int(index)] = (curve["recall"], curve["precision"])
    one = "One cell a method: torch fp32 where it was scored."
    floor = "Grey: the best floor."
    plots = [
        (
            "Accuracy against latency",
            "Up and to the left is better. Colour: method; marker: back end and precision. Strokes: 95 % intervals.",
            figures.accuracy_against_latency(section.frame, f"{section.key}-latency"),
        ),
        (
            "Time by stage",
            "Mean milliseconds an image, and the network's share.",
            figures.time_by_stage(section.frame, stages, f"{section.key}-stages"),
        ),
        (
            "Dice by lesion size",
            f"Pooled max Dice with 95 % intervals. {one} {floor}",
            figures.dice_by_size(section.frame, f"{section.key}-sizes"),
        ),
        (
            "Precision-recall",
            f"Pooled pixels. {one} {floor}",
            figures.precision_recall(section.frame, curves, f"{section.key}-curves"),
        ),
    ]
    return [{"title": title, "note": note, "plot": plot} for title, note, plot in plots if plot is not None]


def _run(run: Run) -> dict[str, Any]:
    config = run.manifest.get("config")
    return {
        "id": run_id(run),
        "account": account(run),
        "environment": environment(run),
        "config": json.dumps(short_config(config), indent=1, sort_keys=True, ensure_ascii=False)
        if config
        else "",
    }
