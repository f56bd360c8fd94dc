"""The plots of a sweep, and of the Pareto front, as inline SVG."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from uadbench.reports.page.figures import HEIGHT, MARKERS, WIDTH, log_axis
from uadbench.reports.page.shown import FLOOR, best_floor, looks
from uadbench.reports.page.svg import (
    INK,
    MUTED,
    PAPER,
    RC,
    SERIES,
    add_legend,
    inline_svg,
    new_axes,
    series_colour,
)
from uadbench.reports.truth import headline_of
from uadbench.reports.vocabulary import MEASURES

__all__ = ["curves", "pareto_front"]

MOST_TICKS = 12
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


def curves(
    rows: pd.DataFrame, names: list[str], over: str, column: str, title: str, floors: pd.DataFrame, name: str
) -> str | None:
    """A column over one thing varied, a line for each combination of the others; None with fewer than two values.

    rows : of ``reports.sweep``; names : all that is varied; floors : rows whose best is drawn, empty for none
    """
    part = rows[rows[over].notna() & rows[column].notna()]
    values = sorted(set(part[over]), key=lambda value: (len(value), value))
    if len(values) < 2:
        return None
    place, numeric = _places(values)
    factor = MEASURES[column].factor if column in MEASURES else 1.0
    keys = ["method", "arm", *(other for other in names if other != over)]
    lines = list(part.groupby([part[key].fillna("") for key in keys], sort=True))
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        entries = []
        for number, (key, line) in enumerate(lines):
            style = _style(number)
            line = line.assign(_x=[place[value] for value in line[over]]).sort_values("_x")
            for part_of, look in _joined(line, over, style):
                axes.plot(part_of["_x"], part_of[column] * factor, **look)
            _intervals(axes, line, column, factor, style["color"])
            entries.append((Line2D([], [], **style), _line_text(keys, key, part)))
        for _, row in best_floor(floors).iterrows():
            axes.axhline(row[column] * factor, color=MUTED, linewidth=1.2, linestyle=FLOOR.dash, zorder=1)
            entries.append(
                (Line2D([], [], color=MUTED, linestyle=FLOOR.dash), f"best floor: {row['variant']}")
            )
        if not numeric or len(values) <= MOST_TICKS:
            names_at = {x: value.replace(",", ",\n") for value, x in place.items()}
            axes.xaxis.set_major_locator(FixedLocator(sorted(names_at)))
            axes.xaxis.set_major_formatter(lambda x, _: names_at.get(x, ""))
        axes.set_ylim(bottom=0)
        axes.set(xlabel=over, ylabel=title)
        axes.grid(True)
        add_legend(figure, entries)
        return inline_svg(figure, name, f"{title} over {over}")


def _places(values: list[str]) -> tuple[dict[str, float], bool]:
    """Where each value stands on the axis: at its number where all are numbers, else one after the other."""
    try:
        return {value: float(value) for value in values}, True
    except ValueError:
        return {value: float(place) for place, value in enumerate(values)}, False


def _joined(
    line: pd.DataFrame, over: str, style: dict[str, Any]
) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """A line's rows with a look: a value that is a list lies between no others, so nothing joins it to them."""
    lists = line[over].str.contains(",")
    looks = [(line[~lists], style), (line[lists], {**style, "linestyle": "none"})]
    return [(rows, look) for rows, look in looks if len(rows)]


def _style(number: int) -> dict[str, Any]:
    turn = number // SERIES
    return {
        "color": series_colour(number % SERIES),
        "linestyle": _DASHES[turn % len(_DASHES)],
        "marker": MARKERS[turn % len(MARKERS)],
        "linewidth": 1.6,
        "markersize": 4.5,
    }


def _intervals(axes: Axes, line: pd.DataFrame, column: str, factor: float, colour: str) -> None:
    if f"{column}_lo" in line:
        for x, low, high in zip(line["_x"], line[f"{column}_lo"], line[f"{column}_hi"], strict=True):
            if not np.isnan(low + high):
                axes.plot([x, x], [low * factor, high * factor], color=colour, linewidth=1.0, alpha=0.5)


def _line_text(keys: list[str], key: tuple[str, ...], part: pd.DataFrame) -> str:
    """What tells a line from the others: the method first, then the rest where it differs at all."""
    several = {name for name in keys if part[name].fillna("").nunique() > 1}
    words = [
        value if name in ("method", "noise", "arm") else f"{name} {value}"
        for name, value in zip(keys, key, strict=True)
        if value and (name == "method" or name in several)
    ]
    return " · ".join(words)


def pareto_front(frame: pd.DataFrame, name: str) -> str | None:
    """The headline score over milliseconds of every row, floors too; the front ringed. None without a front."""
    part = frame[frame["pareto"] != ""]
    if not (part["pareto"] == "yes").any():
        return None
    headline = headline_of(frame)
    score = headline.name
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        points = _points(axes, part.assign(**{score: part[score] * headline.factor}), frame, score)
        front = part[part["pareto"] == "yes"].sort_values("latency_ms_p50")
        entries: list[tuple[Any, str]] = []
        for number, (_, row) in enumerate(front.iterrows(), 1):
            place = (row["latency_ms_p50"], row[score] * headline.factor)
            axes.plot(*place, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK)
            axes.annotate(str(number), place, xytext=(7, 4), textcoords="offset points", fontsize=8)
            handle = Line2D([], [], marker="o", markerfacecolor=PAPER, markeredgecolor=INK, linestyle="")
            entries.append((handle, f"{number}: {row['variant']} · {row['arm']}"))
        if (
            front["run"].nunique() == 1
        ):  # of several machines there are several fronts, which no line may join
            axes.step(
                front["latency_ms_p50"], front[score] * headline.factor, where="post", color=MUTED, zorder=1
            )
        times = part["latency_ms_p50"]
        log_axis(axes, "x", times.min() / 1.5, times.max() * 1.5)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="ms an image, median (log)", ylabel=f"{headline.title}, {headline.unit}")
        axes.grid(True)
        add_legend(figure, [*entries, *points])
        return inline_svg(figure, name, f"Pareto front of {headline.title} over milliseconds an image")


def _points(axes: Axes, part: pd.DataFrame, frame: pd.DataFrame, score: str) -> list[tuple[Any, str]]:
    """A point a row; returns the legend's entries: a method each, whatever its variants, and one for all floors."""
    known, entries = looks(frame), {}
    for _, row in part.sort_values(["kind", "method"], ascending=[False, True]).iterrows():
        floor = row["kind"] == "floor"
        style: dict[str, Any] = {
            "marker": "D" if floor else "o",
            "color": (FLOOR if floor else known[row["variant"]]).colour,
            "linestyle": "",
        }
        axes.plot(row["latency_ms_p50"], row[score], markersize=6, **style)
        title = "floors" if floor else row["title"]
        entries[title] = (Line2D([], [], **style), title)
    return list(entries.values())
