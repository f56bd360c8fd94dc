"""The plots of a section's scores, as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from uadbench.reports.identity import REFERENCE
from uadbench.reports.page.shown import FLOOR, Look, best_floor, looks, shown_cells
from uadbench.reports.page.svg import GRID, MUTED, PAPER, RC, add_legend, inline_svg, new_axes
from uadbench.reports.truth import headline_of
from uadbench.reports.vocabulary import HEADLINE, MEASURES, SIZE_NAMES

__all__ = [
    "MARKERS",
    "WIDTH",
    "accuracy_against_latency",
    "dice_against_threshold",
    "free_response",
    "latency_ticks",
    "log_axis",
    "precision_recall",
    "scores_by_size",
]

WIDTH, HEIGHT = 4.6, 2.9
_FROC_RANGE = (0.1, 10.0)  # false positives an image
_NOUGHT = 0.006  # where a log axis from 0.01 on shows 0
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")

Floats = NDArray[np.float64]
Curves = Mapping[int, tuple[Sequence[float], Sequence[float]]]


def accuracy_against_latency(frame: pd.DataFrame, name: str) -> str | None:
    """The headline score with its interval over the median milliseconds an image; a marker an arm."""
    headline = headline_of(frame)
    score = headline.name
    part = frame[(frame["kind"] != "floor") & frame[score].notna() & (frame["latency_ms_p50"] > 0)]
    if part.empty:
        return None
    known = looks(frame)
    order = sorted(set(part["arm"]), key=lambda arm: (arm != REFERENCE.label, arm))
    arms = {arm: MARKERS[place % len(MARKERS)] for place, arm in enumerate(order)}
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        for _, row in part.iterrows():
            look, x = known[row["variant"]], row["latency_ms_p50"]
            _interval(axes, x, row, score, look)
            axes.plot(x, row[score] * headline.factor, **_point(look, arms[row["arm"]]))
        entries = _entries(part, known, "point")
        if len(arms) > 1:
            entries += [(Line2D([], [], **_point(FLOOR, marker)), arm) for arm, marker in arms.items()]
        for _, row in best_floor(frame).iterrows():
            axes.axhline(
                row[score] * headline.factor, color=MUTED, linewidth=1.2, linestyle=FLOOR.dash, zorder=1
            )
            entries.append(_floor_entry(row, "line"))
        _latency_axis(axes, part["latency_ms_p50"])
        axes.set_ylim(bottom=0)
        axes.set_ylabel(_axis(headline.title, headline.unit))
        axes.grid(True)
        add_legend(figure, entries)
        return inline_svg(figure, name, f"{headline.title} over milliseconds an image")


def _latency_axis(axes: Axes, values: pd.Series) -> None:
    pad = max(1.12, (values.max() / values.min()) ** 0.12)
    log_axis(axes, "x", values.min() / pad, values.max() * pad)
    axes.set_xlabel("ms an image, median (log)")


def log_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Make an axis logarithmic from low to high, with a few round values as they are written."""
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(latency_ticks(low, high)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_locator(NullLocator())


def latency_ticks(low: float, high: float) -> list[float]:
    """At least two round values within [low, high] for a log axis, 0 < low < high, whatever the span."""
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [float(f"{digit * decade:g}") for decade in decades for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks
    linear = MaxNLocator(nbins=5, min_n_ticks=3).tick_values(low, high)
    return [float(tick) for tick in linear if low <= tick <= high]


def scores_by_size(frame: pd.DataFrame, name: str) -> str | None:
    """The headline score within each group of lesion sizes with intervals; the best floor in grey."""
    columns = [f"dice_{size}" for size in SIZE_NAMES]
    if not set(columns) <= set(frame):
        return None
    part = shown_cells(frame)
    methods = part[(part["kind"] != "floor") & part[columns].notna().any(axis=1)]
    if methods.empty:
        return None
    known = looks(frame)
    shown = pd.concat([methods, best_floor(part)])
    step = 0.74 / max(len(shown), 2)
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        for place, (_, row) in enumerate(shown.iterrows()):
            look = known.get(row["variant"], FLOOR)
            for group, column in enumerate(columns):
                if np.isnan(row[column]):
                    continue
                x = group + (place - (len(shown) - 1) / 2) * step
                _interval(axes, x, row, column, look)
                axes.plot(x, row[column] * MEASURES[column].factor, **_point(look, _shape(row)))
        titles = [MEASURES[column].title + _count(shown[f"{column}_n"]) for column in columns]
        axes.set_xticks(range(len(columns)), titles)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0)
        for edge in range(len(columns) - 1):
            axes.axvline(edge + 0.5, color=GRID, linewidth=0.8)
        axes.set_ylabel(_axis(HEADLINE.title, HEADLINE.unit))
        axes.grid(True, axis="y")
        add_legend(figure, _entries(shown, known, "point"))
        return inline_svg(figure, name, f"{HEADLINE.title} by lesion size")


def _count(column: pd.Series) -> str:
    known = sorted({int(value) for value in column.dropna()})
    if not known:
        return ""
    return f" (n = {known[0]})" if len(known) == 1 else f" (n = {known[0]}–{known[-1]})"


def precision_recall(frame: pd.DataFrame, curves: Curves, name: str) -> str | None:
    """Precision over recall of the pooled pixels. curves: row -> (recall, precision); the best floor dashed."""

    def draw(axes: Axes, recall: Floats, precision: Floats, look: Look) -> None:
        axes.plot(100 * recall, 100 * precision, **_line(look))

    def finish(axes: Axes) -> None:
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="recall, %", ylabel="precision, %")

    return _of_curves(frame, curves, name, "Precision-recall curves of the pooled pixels", draw, finish)


def dice_against_threshold(frame: pd.DataFrame, curves: Curves, name: str) -> str | None:
    """Pooled Dice over the threshold. curves: row -> (thresholds, Dice), fractions; a dot at each maximum."""

    def draw(axes: Axes, thresholds: Floats, dice: Floats, look: Look) -> None:
        thresholds, dice, top = np.maximum(thresholds, _NOUGHT), 100 * dice, int(dice.argmax())
        axes.plot(thresholds, dice, **_line(look))
        axes.plot(thresholds[top], dice[top], "o", color=look.colour, markersize=4.5, clip_on=False)

    def finish(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.set_xlim(_NOUGHT, 1)
        axes.xaxis.set_major_locator(FixedLocator([_NOUGHT, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]))
        axes.xaxis.set_major_formatter(lambda value, _: "0" if value == _NOUGHT else f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        axes.set(xlabel="threshold (log; 0 at the left edge)", ylabel="pooled Dice, %")

    return _of_curves(frame, curves, name, "Pooled Dice over the threshold", draw, finish)


def free_response(frame: pd.DataFrame, curves: Curves, name: str) -> str | None:
    """Boxes found over false positives an image. curves: row -> (false positives, share found); best floor dashed."""

    def draw(axes: Axes, false: Floats, found: Floats, look: Look) -> None:
        # a step ends where the next level adds a false positive, and the last one goes on
        false, found = np.append(false, max(false[-1], _FROC_RANGE[1])), np.append(found, found[-1])
        axes.step(np.maximum(false, _FROC_RANGE[0]), 100 * found, where="post", **_line(look))

    def finish(axes: Axes) -> None:
        axes.set_xscale("log", base=2)
        axes.set_xlim(*_FROC_RANGE)
        axes.xaxis.set_major_locator(FixedLocator([0.125, 0.25, 0.5, 1, 2, 4, 8]))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set(ylim=(0, 100), xlabel="false positives an image (log)", ylabel="boxes found, %")

    return _of_curves(frame, curves, name, "Boxes found over false positives an image", draw, finish)


def _of_curves(
    frame: pd.DataFrame,
    curves: Curves,
    name: str,
    title: str,
    draw: Callable[[Axes, Floats, Floats, Look], None],
    finish: Callable[[Axes], None],
) -> str | None:
    """A figure of one curve a row; None where no method has one. draw : (axes, x, y, look); finish : of the axes"""
    shown, known = _with_curves(frame, curves), looks(frame)
    if shown.empty:
        return None
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        for index, row in shown.iterrows():
            x, y = (np.asarray(values, dtype=np.float64) for values in curves[int(str(index))])
            draw(axes, x, y, known.get(row["variant"], FLOOR))
        finish(axes)
        axes.grid(True)
        add_legend(figure, _entries(shown, known, "line"))
        return inline_svg(figure, name, title)


def _with_curves(frame: pd.DataFrame, curves: Curves) -> pd.DataFrame:
    """The shown methods that have a curve and the best floor that has one; empty where no method has."""
    part = shown_cells(frame)
    part = part[part.index.isin(list(curves))]
    methods = part[part["kind"] != "floor"]
    return methods if methods.empty else pd.concat([methods, best_floor(part)])


def _axis(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title


def _interval(axes: Axes, x: float, row: Any, column: str, look: Look) -> None:
    factor = MEASURES[column].factor
    low, high = row[f"{column}_lo"] * factor, row[f"{column}_hi"] * factor
    if not np.isnan(low + high):
        axes.plot([x, x], [low, high], color=look.colour, linewidth=1.4, alpha=0.6)


def _shape(row: Any) -> str:
    return "D" if row["kind"] == "floor" else "o"


def _point(look: Look, marker: str) -> dict[str, Any]:
    return {
        "marker": marker,
        "color": look.colour,
        "linestyle": "",
        "markersize": 7,
        "fillstyle": look.fill,
        "markerfacecoloralt": PAPER,
        "markeredgewidth": 1.3,
        "clip_on": False,
    } | ({"markerfacecolor": PAPER, "fillstyle": "full"} if look.fill == "none" else {})


def _line(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.dash, "linewidth": 1.8}


def _entries(shown: pd.DataFrame, known: Mapping[str, Look], kind: str) -> list[tuple[Line2D, str]]:
    """Legend entries ("point" or "line") of the variants shown, and of the floor where one is."""
    entries = []
    for _, row in shown.drop_duplicates("variant").iterrows():
        if row["kind"] == "floor":
            entries.append(_floor_entry(row, kind))
        else:
            look = known[row["variant"]]
            style = _point(look, "o") if kind == "point" else _line(look)
            entries.append((Line2D([], [], **style), row["variant"]))
    return entries


def _floor_entry(row: Any, kind: str) -> tuple[Line2D, str]:
    style = _line(FLOOR) if kind == "line" else _point(FLOOR, "D")
    return Line2D([], [], **style), f"best floor: {row['variant']}"
