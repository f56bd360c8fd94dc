"""The leaderboard as one self-contained HTML page: no network, works without JavaScript, same input same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from uadbench.reports import caveats
from uadbench.reports.boxes import CLASSES, class_table
from uadbench.reports.page import context
from uadbench.reports.page.browser import case_browser
from uadbench.reports.page.choice import MAX_IMAGES, RULES
from uadbench.reports.page.failures import MAX_IMAGES as MAX_FAILURES
from uadbench.reports.page.failures import failures
from uadbench.reports.page.pictures import colour_tables
from uadbench.reports.page.plots import plots
from uadbench.reports.page.profile import profile_parts
from uadbench.reports.page.templating import asset, render
from uadbench.reports.places import short_config
from uadbench.reports.provenance import account, environment, meanings
from uadbench.reports.published import NOT_COMPARABLE, published_tables
from uadbench.reports.ranking import RANKS, marks
from uadbench.reports.rows import Section, run_id, sections
from uadbench.reports.runs import Run
from uadbench.reports.seeds import SEEDS
from uadbench.reports.truth import headline_of, truth_of
from uadbench.reports.volumes import BY_VOLUME, volume_notes, volume_table

__all__ = ["page"]

_SCRIPTS = ("page.js", "cases.js")


def page(runs: Sequence[Run], frame: pd.DataFrame, profile: Mapping[str, Any] | None = None) -> str:
    """The page for runs and their table (rows.rows_of). Everything that comes from a run is escaped.

    profile : a profile.json to show behind the runs

    The content security policy allows the page's one script by its hash, styles, and images in data addresses.
    """
    runs = sorted(runs, key=run_id)
    found = sections(runs, frame)
    parts = [_section(section, runs, len(found)) for section in found]
    script = "".join(asset(name) for name in _SCRIPTS)
    return render(
        "page.html",
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        sections=_with_permalinks(parts),
        summary=_summary(frame, parts),
        arms=sorted({row["arm"] for part in parts for row in part["rows"]}),
        runs=[_run(run) for run in runs],
        measures=meanings(frame),
        class_note=CLASSES,
        volume_note=BY_VOLUME,
        ranks=RANKS,
        seeds=SEEDS,
        published=published_tables(),
        not_comparable=NOT_COMPARABLE,
        inferno=colour_tables(),
        profile=profile_parts(profile) if profile else None,
    )


def _with_permalinks(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each case its fragment: case=ID, with the section's key behind it where another section has the case."""
    taken: set[str] = set()
    for part in parts:
        for entry in part["browser"]["cases"]:
            name = f"case={entry['case'].case_id}"
            entry["link"] = f"{name}&in={part['key']}" if name in taken else name
            taken.add(name)
    return parts


def _summary(frame: pd.DataFrame, parts: list[dict[str, Any]]) -> str:
    def count(number: int, one: str, many: str) -> str:
        return f"{number} {one if number == 1 else many}"

    methods = frame[frame["kind"] != "floor"]
    words = [
        count(methods["method"].nunique(), "method", "methods"),
        count(frame[frame["kind"] == "floor"]["method"].nunique(), "floor", "floors"),
        count(methods["arm"].nunique(), "back end and precision", "back ends and precisions"),
        count(len(parts), "data set", "data sets"),
        count(frame["run"].nunique(), "run", "runs"),
    ]
    return ", ".join(words)


def _section(section: Section, runs: Sequence[Run], sharing: int) -> dict[str, Any]:
    """What the template shows of a section; sharing : sections of the page, which share its pictures."""
    frame, dataset = section.frame, section.dataset
    found = marks(frame)
    rows = context.result_rows(frame, found)
    counts = {row["cases"]["text"] for row in rows if row["cases"]["sort"]}
    several = len(runs) > 1
    return {
        "key": section.key,
        "name": str(frame.iloc[0]["dataset"]),
        "title": str(dataset.get("title") or frame.iloc[0]["dataset"]),
        "origin": str(frame.iloc[0]["origin"]),
        "subset": context.subset_note(frame),
        "modality": str(dataset.get("modality") or ""),
        "caveats": [str(text) for text in dataset.get("caveats") or ()],
        "licence": str(dataset.get("licence") or ""),
        "citation": str(dataset.get("citation") or ""),
        "fingerprint": str(dataset.get("fingerprint") or ""),
        "heads": context.result_heads(frame, several),
        "rows": rows,
        "several_runs": several,
        "uneven": len(counts) > 1,
        "rank_notes": [f"{note[0].upper()}{note[1:]}" for note in frame["rank_note"].unique() if note],
        "seed_heads": context.seed_heads(frame, several),
        "seeds": context.seed_rows(frame),
        "silent": _silent(rows),
        "headline": headline_of(frame).title,
        "class_heads": class_table(section)[0],
        "classes": class_table(section)[1],
        "volume_heads": volume_table(section)[0],
        "volumes": volume_table(section)[1],
        "volume_notes": volume_notes(section),
        "rule": RULES[truth_of(frame)],
        "not_applicable": context.not_applicable(frame),
        "glance": context.glance(section, found),
        "further_heads": context.further_heads(frame),
        "further": context.further_rows(frame),
        "unfitted": [*caveats.decided(section), *caveats.unfitted(section), *caveats.binned(section)],
        "loaded": caveats.load_notes(section),
        "timing": context.timing_rows(section),
        "problems": caveats.problems(section),
        "plots": plots(section),
        "browser": case_browser(section, MAX_IMAGES // sharing),
        "failures": failures(section, MAX_FAILURES // sharing),
    }


def _silent(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(cell, why) for the methods that show no speed-up and are not the reference."""
    return [
        (row["label"], row["speedup_note"])
        for row in rows
        if row["applies"]
        and row["speedup_note"]
        and row["kind"] != "floor"
        and row["speedup_note"] != "the reference"
    ]


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
