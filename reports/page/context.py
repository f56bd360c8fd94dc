"""What the page's template shows of a section's tables: plain values, already worded, nothing escaped yet."""

from __future__ import annotations

from typing import Any

import pandas as pd

from uadbench.reports.caveats import busy_threads
from uadbench.reports.page.shown import best_floor, shown_cells
from uadbench.reports.ranking import Marks
from uadbench.reports.rows import Section, cell_label
from uadbench.reports.seeds import spreads
from uadbench.reports.text import DASH, figure, milliseconds, score, spread_text
from uadbench.reports.truth import headline_of, table_of, truth_of
from uadbench.reports.vocabulary import FURTHER, LOAD_LIMIT, MEASURES, Measure

__all__ = [
    "further_heads",
    "further_rows",
    "glance",
    "not_applicable",
    "result_heads",
    "result_rows",
    "seed_heads",
    "seed_rows",
    "subset_note",
    "timing_rows",
]


def result_heads(frame: pd.DataFrame, several_runs: bool) -> list[dict[str, str]]:
    """The columns of the main table: title, a line beneath, the first direction of sorting, class, aria-sort."""
    heads = [
        _head("Method", text=True),
        _head("Back end", text=True),
        _head("Rank", headline_of(frame).title),
    ]
    heads += [_head(MEASURES[name].title, falling=MEASURES[name].better > 0) for name in table_of(frame)]
    heads[3]["sorted"] = heads[3]["first"]
    heads += [_head("NFE"), _head("ms/image", "p50, p90"), _head("ms/call", "p50")]
    heads += [_head("Speed-up", "parity", falling=True), _head("Cases", falling=True)]
    return heads + ([_head("Run", text=True)] if several_runs else [])


def _head(title: str, sub: str = "", *, falling: bool = False, text: bool = False) -> dict[str, str]:
    first = "descending" if falling else "ascending"
    return {"title": title, "sub": sub, "first": first, "cls": "" if text else "num", "sorted": ""}


def result_rows(frame: pd.DataFrame, found: Marks) -> list[dict[str, Any]]:
    """The rows of the main table, methods and floors, in the frame's order."""
    headline, shown = headline_of(frame), table_of(frame)
    top = max(frame[f"{headline.name}_hi"].max(), frame[headline.name].max())
    scale = 1.0 if pd.isna(top) or top <= 0 else float(top)
    return [
        _result_row(index, row, found, shown)
        | {"rank": _plain(row[f"rank_{headline.name}"], figure), "bar": _bar(row, headline, scale)}
        for index, row in frame.iterrows()
    ]


def _result_row(index: Any, row: Any, found: Marks, shown: tuple[str, ...]) -> dict[str, Any]:
    name, _, rest = row["variant"].partition(" · ")
    backend, _, precision = row["arm"].partition(" ")
    return {
        "name": name,
        "rest": rest,
        "kind": row["kind"],
        "backend": backend,
        "precision": precision,
        "arm": row["arm"],
        "label": cell_label(row),
        "below": found.below.get(index, ""),
        "applies": not row["not_applicable"],
        "scores": [_score(index, row, name, found) for name in shown],
        "nfe": _plain(row["nfe"], figure),
        "p50": _plain(row["latency_ms_p50"], milliseconds),
        "p90": _plain(row["latency_ms_p90"], milliseconds),
        "call": _plain(row["network_ms_p50"], milliseconds),
        "speedup": _plain(row["speedup"], lambda value: DASH if pd.isna(value) else f"{value:.2f}×"),
        "speedup_note": row["speedup_note"],
        "parity": row["parity"],
        "parity_note": row["parity_note"],
        "cases": _plain(row["n_cases"], figure),
        "failed": _plain(row["n_failed"], figure),
        "run": row["run"],
    }


def _bar(row: Any, headline: Measure, scale: float) -> dict[str, str] | None:
    """Where the headline score and its interval stand on a bar of the column's width, in percent of it."""
    value, low, high = row[headline.name], row[f"{headline.name}_lo"], row[f"{headline.name}_hi"]
    if pd.isna(value):
        return None
    if pd.isna(low) or pd.isna(high):
        low = high = value
    places = {"v": value, "lo": low, "width": high - low}
    return {key: f"{100 * place / scale:.1f}" for key, place in places.items()}


def _plain(value: Any, text: Any) -> dict[str, str]:
    return {"text": text(value), "sort": "" if pd.isna(value) else f"{float(value):.9g}"}


def _score(index: Any, row: Any, name: str, found: Marks) -> dict[str, Any]:
    mark = "best" if (index, name) in found.best else "tie" if (index, name) in found.ties else ""
    value = _plain(row[name], lambda value: score(value, name))
    return value | {"mark": mark, "interval": _interval(row, name)}


def _interval(row: Any, name: str) -> str:
    low, high = row[f"{name}_lo"], row[f"{name}_hi"]
    return "" if pd.isna(low) or pd.isna(high) else f"{score(low, name)}–{score(high, name)}"


def seed_heads(frame: pd.DataFrame, several_runs: bool) -> list[str]:
    """The columns of the table of spreads over seeds."""
    return ["Seeds", *(MEASURES[name].title for name in table_of(frame)), *(["Run"] if several_runs else [])]


def seed_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Variants with several seeds: mean of each score, lowest and highest beneath."""
    return [
        {
            "label": f"{spread.label} · {spread.arm}",
            "kind": spread.kind,
            "seeds": ", ".join(map(str, spread.seeds)),
            "scores": [spread_text(spread.values, name).partition(" ") for name in table_of(frame)],
            "run": spread.run,
        }
        for spread in spreads(frame)
    ]


def subset_note(frame: pd.DataFrame) -> str:
    """The banner over a section of which a run took only a part of the test split, else ''."""
    taken = ", ".join(sorted({str(text) for text in frame["subset"] if text}))
    return f"subset: {taken}: figures of a part are no results" if taken else ""


def not_applicable(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """(variants, why) for what cannot be applied to the data set, each reason once."""
    part = frame[frame["not_applicable"] != ""]
    reasons = part.groupby("not_applicable", sort=True)["variant"].unique()
    return [(", ".join(sorted(variants)), str(reason)) for reason, variants in reasons.items()]


def _further(frame: pd.DataFrame) -> list[str]:
    truth = truth_of(frame)
    return [name for name in FURTHER if name in frame and MEASURES[name].applies_to(truth)]


def further_heads(frame: pd.DataFrame) -> list[str]:
    """The columns of the second table; what is better when it is less says so."""
    return [
        MEASURES[name].title + ("" if MEASURES[name].better > 0 else " (less is better)")
        for name in _further(frame)
    ]


def further_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The vocabulary's further scores of the shown cells."""
    return [
        {
            "label": row["variant"],
            "kind": row["kind"],
            "scores": [
                {"text": score(row[name], name), "interval": _interval(row, name)} for name in _further(frame)
            ],
        }
        for _, row in shown_cells(frame).iterrows()
    ]


def timing_rows(section: Section) -> list[dict[str, Any]]:
    """Latency percentiles, first call, warm-up, memory and load of every cell, with a warning on a loaded machine."""
    rows = []
    for index, row in section.frame[section.frame["not_applicable"] == ""].iterrows():
        busy = busy_threads(section, int(str(index)))
        # the first call is of a whole batch, the percentiles are of an image; warm-up is once a cell
        first = row["first_call_ms"] / row["batch_size"]
        values = [row[f"latency_ms_{key}"] for key in ("p50", "p90", "p95", "p99")]
        rows.append(
            {
                "label": cell_label(row),
                "kind": row["kind"],
                "n": figure(row["timed_batches"]),
                "ms": [milliseconds(value) for value in [*values, first, row["warmup_ms"]]],
                "batch": figure(row["batch_size"]),
                "memory": DASH if pd.isna(row["peak_memory_mib"]) else f"{row['peak_memory_mib']:.0f}",
                "load": DASH if pd.isna(row["load_max"]) else f"{row['load_max']:.1f}",
                "busy": "" if busy is None else f"above {LOAD_LIMIT} × {busy} threads",
            }
        )
    return rows


def glance(section: Section, found: Marks) -> list[tuple[str, str, str]]:
    """(caption, figure, detail) of what one wants to know first."""
    headline = headline_of(section.frame)
    frame = section.frame[section.frame[headline.name].notna()]
    methods = frame[frame["kind"] != "floor"]
    best = methods.loc[(headline.better * methods[headline.name]).sort_values(ascending=False).index[:1]]
    items = []
    for caption, part in (("Best method", best), ("Best floor", best_floor(frame))):
        for _, row in part.iterrows():
            interval = _interval(row, headline.name)
            name = row["variant"] + (f", {interval}" if interval else "")
            value = f"{score(row[headline.name], headline.name)} {headline.unit}".strip()
            items.append((f"{caption}, {headline.title}", value, name))
    items += _below(section.frame, found)
    faster = section.frame[section.frame["speedup"].notna()]
    if len(faster):
        row = faster.loc[faster["speedup"].idxmax()]
        items.append(("Largest speed-up with parity", f"{row['speedup']:.2f}×", cell_label(row)))
    return items


def _below(frame: pd.DataFrame, found: Marks) -> list[tuple[str, str, str]]:
    """How many methods are below the best floor, and over which floors that says nothing; [] without either."""
    floors, methods = (frame[(frame["kind"] == "floor") == is_floor] for is_floor in (True, False))
    headline = headline_of(frame).name
    scored = methods[methods[headline].notna()]
    silent = sorted(set(floors["variant"]) - set(floors[floors[headline].notna()]["variant"]))
    count = floors["variant"].nunique() - len(silent)
    if scored.empty or not count:
        return []
    variants: dict[str, bool] = {}
    for index, row in scored.iterrows():  # best cell first: a variant counts by its best cell
        variants.setdefault(row["variant"], index in found.below)
    below = sorted(name for name, is_below in variants.items() if is_below)
    text = ", ".join(below)
    if not below:
        text = f"all are above the best of {count} {'floor' if count == 1 else 'floors'} scored"
    if silent:
        text += f"; not scored: {', '.join(silent)}"
    return [("Methods below the best floor", f"{len(below)} of {len(variants)}", text)]
