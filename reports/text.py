"""The leaderboard for a terminal and for GitHub."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from uadbench.reports.caveats import load_notes, problems, timed_batches
from uadbench.reports.provenance import MEASURES, account
from uadbench.reports.published import NOT_COMPARABLE, published_tables
from uadbench.reports.ranking import TIES, Marks, marks
from uadbench.reports.rows import Section, run_id, sections, variant
from uadbench.reports.store import Run

__all__ = ["figure", "markdown", "milliseconds", "percent", "terminal_table"]

DASH = "–"
_SIZES = ["dice_small", "dice_medium", "dice_large"]


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as percent without the sign; a dash where there is none."""
    return DASH if pd.isna(value) else f"{value * 100:.{digits}f}"


def figure(value: Any, digits: int = 1) -> str:
    """A plain number; a dash where there is none, no decimals where it is whole."""
    if pd.isna(value):
        return DASH
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}f}"


def milliseconds(value: Any) -> str:
    """About three significant digits: 1514, 42.9, 0.211."""
    if pd.isna(value):
        return DASH
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 3}f}"


def terminal_table(frame: pd.DataFrame) -> Table:
    """The leaderboard for a terminal of 80 columns: scores in percent, floors below a line.

    With one back end the lesion sizes are shown, with several the back end and the speed-up instead.
    """
    engines = frame[frame["kind"] != "floor"][["backend", "precision"]].drop_duplicates()
    several = len(engines) > 1
    table = Table(
        box=SIMPLE,
        title="Leaderboard (percent)",
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
    )
    table.padding = (0, 0, 0, 0)
    table.add_column("method", overflow="fold", min_width=16)
    if several:
        table.add_column("back end", overflow="fold", min_width=11)
    sizes = [] if several else ["small", "med.", "large"]
    for name in ["Dice", "95 %", *sizes, "AUPRC", "AUROC", "NFE", "ms", *(["speed"] if several else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for dataset, fingerprint in frame[["dataset", "fingerprint"]].drop_duplicates().itertuples(index=False):
        part = frame[(frame["dataset"] == dataset) & (frame["fingerprint"] == fingerprint)]
        found = marks(part)
        tag = f" ({part.iloc[0]['origin']})" if part.iloc[0]["origin"] else ""
        table.add_section()
        table.add_row(Text(f"{dataset}{tag}", style="bold"))
        for floor in (False, True):
            for index, row in part[(part["kind"] == "floor") == floor].iterrows():
                table.add_row(*_terminal_row(index, row, found, several), style="dim" if floor else None)
            table.add_section()
    table.caption = "Dice: pooled max Dice. ms: median milliseconds an image. ▼: below the best floor."
    return table


def _terminal_row(index: Any, row: Any, found: Marks, several: bool) -> list[Text]:
    name = str(row["method"])
    if row["kind"] != "floor":
        name = f"{name} {row['noise']} {row['steps']}" + (" ▼" if index in found.below else "")
    interval = (
        DASH
        if pd.isna(row["dice_max_lo"])
        else f"{percent(row['dice_max_lo'])}–{percent(row['dice_max_hi'])}"
    )
    texts = [percent(row["dice_max"]), interval]
    texts += [percent(row[score]) for score in ([] if several else _SIZES) + ["auprc", "auroc_image"]]
    texts += [figure(row["nfe"]), milliseconds(row["latency_ms_p50"])] + ([_speedup(row)] if several else [])
    head = [Text(name, style="bold" if (index, "dice_max") in found.best else "")]
    head += [Text(f"{row['backend']} {row['precision']}")] if several else []
    return head + [Text(text) for text in texts]


def _speedup(row: Any) -> str:
    return DASH if pd.isna(row["speedup"]) else f"{row['speedup']:.2f}×"


def escape(text: Any) -> str:
    """User text that cannot become markup, links or a new cell in a GitHub table."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]|~!#])", r"\\\1", html.escape(flat, quote=False))


def markdown(runs: Sequence[Run], frame: pd.DataFrame) -> str:
    """The leaderboard as GitHub Markdown: a table a data set, then how it was measured and the published rows."""
    lines = ["# Leaderboard", ""]
    parts = sections(runs, frame)
    for section in parts:
        lines += _section(section, several=frame["run"].nunique() > 1)
    if not parts:
        lines += ["No cell has been run yet.", ""]
    lines += [f"{TIES} ▼: below the best floor.", ""]
    lines += ["Scores in percent with 95 % bootstrap intervals over subjects; a dash: not computed.", ""]
    lines += ["## How it was measured", ""]
    lines += [f"* **{name}**: {text}" for name, text in MEASURES] + [""]
    for run in sorted(runs, key=run_id):
        lines += [f"### Run {escape(run_id(run))}", ""]
        lines += [f"* {escape(name)}: {escape(value)}" for name, value in account(run)]
        lines += [""]
    lines += ["## Published figures", "", f"**{NOT_COMPARABLE}**", ""]
    for table in published_tables():
        lines += [f"{table.title}. {table.note} Source: {table.source} ({table.link}).", ""]
        lines += ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * len(table.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows] + [""]
    return "\n".join(lines)


def _section(section: Section, several: bool) -> list[str]:
    dataset, frame = section.dataset, section.frame
    tag = f" ({frame.iloc[0]['origin']})" if frame.iloc[0]["origin"] else ""
    lines = [f"## {escape(dataset.get('title') or frame.iloc[0]['dataset'])}{tag}", ""]
    lines += [f"* {escape(caveat)}" for caveat in dataset.get("caveats") or ()]
    terms = [("Licence", dataset.get("licence")), ("Source", dataset.get("citation"))]
    lines += [f"* {name}: {escape(text)}" for name, text in terms if text] + [""]
    head = ["method", "back end", "max Dice", "small", "medium", "large", "AUPRC", "Dice at 5 % FPR", "AUROC"]
    head += ["NFE", "ms/image p50 (p90)", "speed-up", "cases (failed)"] + (["run"] if several else [])
    lines += ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    found = marks(frame)
    for kind in ("method", "floor"):
        part = frame[(frame["kind"] == "floor") == (kind == "floor")]
        if kind == "floor" and len(part):
            lines.append("| *floors: no network* |" + " |" * (len(head) - 1))
        for index, row in part.iterrows():
            lines.append("| " + " | ".join(_markdown_row(index, row, found, several)) + " |")
    lines.append("")
    notes = frame[(frame["parity"] != "") & (frame["parity"] != "pass") & (frame["parity"] != "reference")]
    for _, row in notes.iterrows():
        lines.append(f"* No speed-up for {escape(row['cell'])}: {escape(row['speedup_note'])}.")
    lines += [f"* {escape(text)}." for text in load_notes(section)]
    if timed := timed_batches(section):
        lines.append(f"* Batches timed, of which p50 is the median: {escape(timed)}.")
    if lines[-1]:
        lines.append("")
    return lines + _problems(section)


def _problems(section: Section) -> list[str]:
    """Failed, skipped and excluded cases with their reasons, and what is unfinished."""
    found = problems(section)
    lines = [
        f"* {escape(status)}: {escape(case_id)}: {escape(reason or 'no reason recorded')} ({escape(where)})"
        for status, case_id, reason, where in found["cases"]
    ]
    if found["more"]:
        lines.append(f"* {found['more']} more are in the run's cases.jsonl files")
    lines += [
        f"* excluded: {count} {'case' if count == 1 else 'cases'}: {escape(reason)} ({escape(where)})"
        for reason, count, where in found["excluded"]
    ]
    lines += [f"* unfinished: {escape(text)}" for text in found["unfinished"]]
    return ["### Failed and excluded cases", "", *(lines or ["None."]), ""]


def _markdown_row(index: Any, row: Any, found: Marks, several: bool) -> list[str]:
    def score(name: str, interval: bool = False) -> str:
        text = percent(row[name])
        if (index, name) in found.best:
            text = f"**{text}**"
        elif (index, name) in found.ties:
            text = f"{text} ≈"
        if interval and not pd.isna(row[f"{name}_lo"]):
            text += f" ({percent(row[f'{name}_lo'])}–{percent(row[f'{name}_hi'])})"
        return text

    latency = milliseconds(row["latency_ms_p50"])
    if not pd.isna(row["latency_ms_p90"]):
        latency += f" ({milliseconds(row['latency_ms_p90'])})"
    cells = [escape(variant(row)) + (" ▼" if index in found.below else "")]
    cells += [f"{escape(row['backend'])} {escape(row['precision'])}", score("dice_max", interval=True)]
    cells += [score(name) for name in ("dice_small", "dice_medium", "dice_large")]
    cells += [score("auprc", interval=True), score("dice_healthy_fpr5"), score("auroc_image")]
    cells += [
        figure(row["nfe"]),
        latency,
        _speedup(row),
        f"{figure(row['n_cases'])} ({figure(row['n_failed'])})",
    ]
    return cells + ([escape(row["run"])] if several else [])
