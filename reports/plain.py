"""The leaderboard for a terminal and for GitHub."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from uadbench.reports.account import account
from uadbench.reports.published import NOT_COMPARABLE, published_tables
from uadbench.reports.store import Run
from uadbench.reports.table import TIES, Marks, Section, marks, run_id, sections, variant

__all__ = ["figure", "markdown", "milliseconds", "percent", "terminal_table"]

DASH = "–"


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as percent without the sign; a dash where there is none."""
    return DASH if pd.isna(value) else f"{value * 100:.{digits}f}"


def figure(value: Any, digits: int = 1) -> str:
    """A plain number; a dash where there is none, no decimals where it is whole."""
    if pd.isna(value):
        return DASH
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}f}"


def milliseconds(value: Any) -> str:
    """Three significant digits, all digits above 1000."""
    if pd.isna(value):
        return DASH
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def terminal_table(frame: pd.DataFrame) -> Table:
    """The leaderboard for a terminal, scores in percent with 95 % intervals; floors stand below a line."""
    table = Table(title="Leaderboard (percent; 95 % intervals)", title_justify="left", caption_justify="left")
    table.add_column("method", overflow="fold")
    table.add_column("back end")
    for name in ("max Dice", "S / M / L", "AUPRC", "Dice@5%", "AUROC", "NFE", "ms/image", "speed-up"):
        table.add_column(name, justify="right", no_wrap=True)
    keys = frame[["dataset", "fingerprint"]].drop_duplicates().itertuples(index=False)
    below = False
    for dataset, fingerprint in keys:
        part = frame[(frame["dataset"] == dataset) & (frame["fingerprint"] == fingerprint)]
        found = marks(part)
        below = below or bool(found.below)
        tag = f" ({part.iloc[0]['origin']})" if part.iloc[0]["origin"] else ""
        table.add_section()
        table.add_row(Text(f"{dataset}{tag}", style="bold"))
        for kind in ("method", "floor"):
            for index, row in part[(part["kind"] == "floor") == (kind == "floor")].iterrows():
                table.add_row(*_terminal_row(index, row, found), style="dim" if kind == "floor" else None)
            table.add_section()
    table.caption = "▼ below the best floor   S / M / L: small, medium, large lesions" if below else None
    return table


def _terminal_row(index: Any, row: Any, found: Marks) -> list[Text]:
    name = variant(row) + (" ▼" if index in found.below else "")
    sizes = " / ".join(percent(row[f"dice_{size}"]) for size in ("small", "medium", "large"))
    cells = [
        Text(name, style="bold" if (index, "dice_max") in found.best else ""),
        Text(f"{row['backend']} {row['precision']}"),
        Text(f"{percent(row['dice_max'])} [{percent(row['dice_max_lo'])}, {percent(row['dice_max_hi'])}]"),
        Text(sizes),
    ]
    scores = [percent(row[score]) for score in ("auprc", "dice_healthy_fpr5", "auroc_image")]
    timing = [figure(row["nfe"]), milliseconds(row["latency_ms_p50"]), _speedup(row)]
    return cells + [Text(text) for text in scores + timing]


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
    return lines + ([""] if len(notes) else [])


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
    cells += [figure(row["nfe"]), latency, _speedup(row), f"{figure(row['n_cases'])} ({figure(row['n_failed'])})"]
    return cells + ([escape(row["run"])] if several else [])
