"""The leaderboard for a terminal and for GitHub."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE
from rich.console import Group
from rich.markup import escape as markup_escape
from rich.table import Table
from rich.text import Text

from uadbench.reports.boxes import class_lines
from uadbench.reports.caveats import binned, decided, load_notes, problems, timed_batches, unfitted
from uadbench.reports.pareto import front_note
from uadbench.reports.provenance import account, meanings
from uadbench.reports.published import NOT_COMPARABLE, published_tables
from uadbench.reports.ranking import RANKS, Marks, marks
from uadbench.reports.rows import Section, run_id, sections
from uadbench.reports.runs import Run
from uadbench.reports.seeds import SEEDS, spreads
from uadbench.reports.shifts import shift_lines
from uadbench.reports.truth import SHORT, headline_of, table_of, truth_of
from uadbench.reports.vocabulary import MEASURES as VOCABULARY
from uadbench.reports.volumes import volume_lines, volume_terminal

__all__ = ["figure", "markdown", "milliseconds", "percent", "spread_text", "terminal_table"]

DASH = "–"
# What 80 columns have room for, with one back end and with several.
_NARROW = {
    "mask": ("dice_average", "dice_small", "dice_medium", "dice_large", "auprc", "auroc_image"),
    "boxes": ("box_f1_papers", "box_recall", "box_precision", "froc_mean", "auroc_image"),
}
_NARROWER = {"mask": ("dice_average", "auprc"), "boxes": ("box_recall", "froc_mean")}
_WITH_INTERVAL = ("dice_max", "dice_average", "auprc", "box_f1", "box_recall", "froc_mean")


def percent(value: Any, digits: int = 1) -> str:
    """A fraction as percent without the sign; a dash where there is none."""
    return DASH if pd.isna(value) else f"{value * 100:.{digits}f}"


def score(value: Any, name: str) -> str:
    """A score as the vocabulary prints it; a dash where there is none."""
    return DASH if pd.isna(value) else VOCABULARY[name].text(value)


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


def terminal_table(frame: pd.DataFrame) -> Table | Group:
    """The leaderboard for a terminal of 80 columns: scores in percent, floors below a line.

    With one back end the lesion sizes are shown, with several the back end and the speed-up instead. Data sets whose
    truth is boxes have a table of their own, as their scores are others; scores by volume stand in one below.
    """
    apart = "truth" in frame and frame["truth"].nunique() > 1
    parts = [part for _, part in frame.groupby("truth", sort=False)] if apart else [frame]
    tables = [*map(_terminal_table, parts), *volume_terminal(frame)]
    return tables[0] if len(tables) == 1 else Group(*tables)


def _terminal_table(frame: pd.DataFrame) -> Table:
    """Of data sets with one kind of truth."""
    headline, truth = headline_of(frame), truth_of(frame)
    several = frame[frame["kind"] != "floor"]["arm"].nunique() > 1
    runs = frame["run"].nunique() > 1
    table = Table(
        box=SIMPLE,
        title="Leaderboard (percent)",
        title_justify="left",
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
    )
    table.padding = (0, 0, 0, 0)
    table.add_column("method", overflow="fold", min_width=14)
    if several:
        table.add_column("back end", overflow="fold", min_width=11)
    shown = (_NARROWER if several else _NARROW)[truth]
    heads = [headline.short, "95 %", *(VOCABULARY[name].short for name in shown)]
    for name in ["#", *heads, "NFE", "ms", *(["speed"] if several else [])]:
        table.add_column(name, justify="right", no_wrap=True)
    for dataset, fingerprint in frame[["dataset", "fingerprint"]].drop_duplicates().itertuples(index=False):
        part = frame[(frame["dataset"] == dataset) & (frame["fingerprint"] == fingerprint)]
        found = marks(part)
        tags = [text for text in (part.iloc[0]["origin"], _subset(part)) if text]
        table.add_section()
        table.add_row(Text(dataset + (f" ({'; '.join(tags)})" if tags else ""), style="bold"))
        for floor in (False, True):
            for index, row in part[(part["kind"] == "floor") == floor].iterrows():
                table.add_row(
                    *_terminal_row(index, row, found, several, runs, (headline.name, *shown)),
                    style="dim" if floor else None,
                )
            table.add_section()
    table.caption = _caption(frame)
    return table


def _caption(frame: pd.DataFrame) -> str:
    """What the columns are, why there are no ranks, and the spread over seeds."""
    headline = headline_of(frame)
    text = (
        f"#: 1 + the number of rows significantly better by {headline.short} (paired, Holm). {SHORT[truth_of(frame)]} "
        "ms: median milliseconds an image. ▼: below the best floor."
    )
    text += "".join(f"\n{note[0].upper()}{note[1:]}." for note in frame["rank_note"].unique() if note)
    for spread in spreads(frame):
        if headline.name in spread.values:
            several = f"{spread.label} · {spread.arm}".replace(" · ", " ")
            values = f"{headline.short} {spread_text(spread.values, headline.name)}"
            text += f"\n{several}, {len(spread.seeds)} seeds: {values}."
    return markup_escape(text)


def spread_text(values: dict[str, tuple[float, float, float]], name: str) -> str:
    """'30.1 (29.7–36.8)': the mean and the lowest and highest over seeds; a dash where there is none."""
    if name not in values:
        return DASH
    mean, low, high = (score(value, name) for value in values[name])
    return f"{mean} ({low}–{high})"


def _subset(part: pd.DataFrame) -> str:
    """What says that a section is of a part of the test split only, or ''."""
    taken = sorted({str(text) for text in part["subset"] if text})
    return f"subset: {', '.join(taken)}" if taken else ""


def _terminal_row(
    index: Any, row: Any, found: Marks, several: bool, runs: bool, shown: tuple[str, ...]
) -> list[Text]:
    name = row["variant"].replace(" · ", " ") + (" ▼" if index in found.below else "")
    name += f" [{row['run'][:8]}]" if runs else ""
    headline, *others = shown
    low, high = row[f"{headline}_lo"], row[f"{headline}_hi"]
    interval = DASH if pd.isna(low) else f"{score(low, headline)}–{score(high, headline)}"
    texts = [score(row[headline], headline), interval, *(score(row[name], name) for name in others)]
    texts += [figure(row["nfe"]), milliseconds(row["latency_ms_p50"])] + ([_speedup(row)] if several else [])
    texts.insert(0, figure(row[f"rank_{headline}"]))
    head = [Text(name, style="bold" if (index, headline) in found.best else "")]
    head += [Text(row["arm"])] if several else []
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
    lines += [f"{RANKS} ▼: below the best floor.", ""]
    lines += ["Scores in percent with 95 % bootstrap intervals over subjects; a dash: not computed.", ""]
    lines += ["## How it was measured", ""]
    lines += [f"* **{name}**: {text}" for name, text in meanings(frame)] + [""]
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
    if taken := _subset(frame):
        lines += [f"**{taken[0].upper()}{taken[1:]}: figures of a part are no results.**", ""]
    head = ["method", "back end", "rank", *(VOCABULARY[name].title for name in table_of(frame))]
    head += ["NFE", "ms/image p50 (p90)", "speed-up", "cases (failed)"] + (["run"] if several else [])
    lines += ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    found = marks(frame)
    for kind in ("method", "floor"):
        part = frame[(frame["kind"] == "floor") == (kind == "floor")]
        if kind == "floor" and len(part):
            lines.append("| *floors: no network* |" + " |" * (len(head) - 1))
        for index, row in part.iterrows():
            lines.append("| " + " | ".join(_markdown_row(index, row, found, frame, several)) + " |")
    lines.append("")
    lines += _seeds(frame)
    lines += class_lines(section, escape)
    lines += volume_lines(section, escape)
    lines += [f"* {note[0].upper()}{note[1:]}." for note in frame["rank_note"].unique() if note]
    for _, row in frame[frame["not_applicable"] != ""].drop_duplicates("variant").iterrows():
        lines.append(f"* Not applicable: {escape(row['variant'])}: {escape(row['not_applicable'])}.")
    notes = frame[(frame["parity"] != "") & (frame["parity"] != "pass") & (frame["parity"] != "reference")]
    for _, row in notes.iterrows():
        lines.append(f"* No speed-up for {escape(row['cell'])}: {escape(row['speedup_note'])}.")
    said = (decided(section), unfitted(section), binned(section), load_notes(section))
    lines += [f"* {escape(text)}." for texts in said for text in texts]
    lines.append(f"* {escape(front_note(frame))}.")
    if timed := timed_batches(section):
        lines.append(f"* Batches timed, of which p50 is the median: {escape(timed)}.")
    if lines[-1]:
        lines.append("")
    return [*lines, *shift_lines(section, escape), *_problems(section)]


def _seeds(frame: pd.DataFrame) -> list[str]:
    """A table of the variants that have several seeds."""
    found = spreads(frame)
    if not found:
        return []
    head = ["over noise seeds", "back end", "seeds", *(VOCABULARY[name].title for name in table_of(frame))]
    lines = ["| " + " | ".join(head) + " |", "| --- | --- |" + " ---: |" * (len(head) - 2)]
    for one in found:
        cells = [escape(one.label), escape(one.arm), ", ".join(map(str, one.seeds))]
        cells += [spread_text(one.values, name) for name in table_of(frame)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", SEEDS, ""]


def _problems(section: Section) -> list[str]:
    """Failed and excluded cases with their reasons, and what is unfinished."""
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


def _markdown_row(index: Any, row: Any, found: Marks, frame: pd.DataFrame, several: bool) -> list[str]:
    def cell(name: str) -> str:
        text = score(row[name], name)
        if (index, name) in found.best:
            text = f"**{text}**"
        elif (index, name) in found.ties:
            text = f"{text} ≈"
        if name in _WITH_INTERVAL and not pd.isna(row[f"{name}_lo"]):
            text += f" ({score(row[f'{name}_lo'], name)}–{score(row[f'{name}_hi'], name)})"
        return text

    latency = milliseconds(row["latency_ms_p50"])
    if not pd.isna(row["latency_ms_p90"]):
        latency += f" ({milliseconds(row['latency_ms_p90'])})"
    cells = [escape(row["variant"]) + (" ▼" if index in found.below else ""), escape(row["arm"])]
    cells.append(figure(row[f"rank_{headline_of(frame).name}"]))
    cells += [cell(name) for name in table_of(frame)]
    cells += [
        figure(row["nfe"]),
        latency,
        _speedup(row),
        f"{figure(row['n_cases'])} ({figure(row['n_failed'])})",
    ]
    return cells + ([escape(row["run"])] if several else [])
