"""The page's plots of a section, as inline SVG with a legend that the page writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from uadbench.reports.page.svg import (
    GRID,
    MUTED,
    PAPER,
    RC,
    SERIES,
    inline_svg,
    new_axes,
    series_colour,
    stage_colour,
)

__all__ = [
    "MARKERS",
    "STAGES",
    "Plot",
    "accuracy_against_latency",
    "dice_by_size",
    "precision_recall",
    "series",
    "shown_cells",
    "time_by_stage",
]

STAGES = ("network", "perceptual", "noise", "update", "morphology", "other")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "h")
# methods beyond the eight colours share them and are told apart by dashes
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


@dataclass(frozen=True)
class Plot:
    """An inline SVG and its legend: (kind, colour variable, marker or dash number, text)."""

    svg: str
    legend: tuple[tuple[str, str, int, str], ...] = ()


def series(frame: pd.DataFrame) -> dict[str, int]:
    """A number for each method variant of a section, by name, so that a method keeps its colour in every plot."""
    names = sorted({row["variant"] for _, row in frame[frame["kind"] != "floor"].iterrows()})
    return {name: index for index, name in enumerate(names)}


def shown_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """One cell a method variant and run: torch fp32 where it is scored, else the best; floors all."""
    order = frame.assign(
        _name=[row["variant"] for _, row in frame.iterrows()],
        _missing=frame["dice_max"].isna(),
        _other=~((frame["backend"] == "torch") & (frame["precision"] == "fp32")),
    )
    order = order.sort_values(["_missing", "_other"], kind="stable")
    return frame.loc[sorted(order.drop_duplicates(["_name", "run"]).index)]


def _dash(index: int) -> Any:
    return _DASHES[(index // SERIES) % len(_DASHES)]


def accuracy_against_latency(frame: pd.DataFrame, name: str) -> Plot | None:
    """Pooled max Dice with its interval over the median milliseconds an image; a marker a back end."""
    part = frame[(frame["kind"] != "floor") & frame["dice_max"].notna() & (frame["latency_ms_p50"] > 0)]
    if part.empty:
        return None
    numbers = series(frame)
    engines = sorted({f"{row['backend']} {row['precision']}" for _, row in part.iterrows()})
    with mpl.rc_context(RC):
        figure, axes = new_axes(5.6, 3.6)
        for _, row in part.iterrows():
            value, low, high = (100 * row[key] for key in ("dice_max", "dice_max_lo", "dice_max_hi"))
            colour = series_colour(numbers[row["variant"]])
            if not np.isnan(low + high):
                axes.plot([row["latency_ms_p50"]] * 2, [low, high], color=colour, linewidth=1.4, alpha=0.55)
            marker = MARKERS[engines.index(f"{row['backend']} {row['precision']}") % len(MARKERS)]
            axes.plot(
                row["latency_ms_p50"],
                value,
                marker,
                color=colour,
                markersize=7.5,
                markeredgecolor=PAPER,
                clip_on=False,
            )
        _floor_line(axes, frame)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.12)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(_minor(part["latency_ms_p50"]))
        axes.tick_params(axis="x", which="minor", labelsize=8.5)
        axes.set_xlabel("ms an image, median (log)")
        axes.set_ylabel("max Dice, %")
        axes.grid(True, axis="both", which="major")
        svg = inline_svg(figure, name, "Accuracy against latency: max Dice over milliseconds an image")
    present = [row["variant"] for _, row in part.iterrows()]
    legend = [("line", f"--s{numbers[text] % SERIES}", 0, text) for text in numbers if text in present]
    legend += [("marker", "--muted", index % len(MARKERS), text) for index, text in enumerate(engines)]
    floors = frame[(frame["kind"] == "floor") & frame["dice_max"].notna()]
    legend += [("dash", "--muted", 0, f"best floor: {row['method']}") for _, row in floors.head(1).iterrows()]
    return Plot(svg, tuple(legend))


def _two_lines(row: Any) -> str:
    """A tick label of two lines, cut where it would leave no room for the bars."""
    lines = (row["variant"], f"{row['backend']} {row['precision']}")
    return "\n".join(line if len(line) <= 34 else f"{line[:33]}…" for line in lines)


def _minor(values: pd.Series) -> Any:
    """Label 2 and 5 between the decades where the data span less than two of them."""
    if values.max() / values.min() > 100:
        return NullFormatter()

    def text(value: float, _: Any) -> str:
        digit = round(value / 10 ** np.floor(np.log10(value)))
        return f"{value:g}" if digit in (2, 5) else ""

    return FuncFormatter(text)


def _floor_line(axes: Axes, frame: pd.DataFrame) -> None:
    floors = frame[(frame["kind"] == "floor") & frame["dice_max"].notna()]
    if floors.empty:
        return
    floor = floors.loc[floors["dice_max"].idxmax()]
    axes.axhline(100 * floor["dice_max"], color=MUTED, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)


def time_by_stage(frame: pd.DataFrame, stages: dict[int, dict[str, float]], name: str) -> Plot | None:
    """Mean milliseconds an image by stage, a bar a method cell. stages: row -> {stage: ms}."""
    part = frame[(frame["kind"] != "floor") & frame.index.isin([row for row in stages if stages[row]])]
    if part.empty:
        return None
    with mpl.rc_context(RC):
        figure, axes = new_axes(5.6, 0.8 + 0.42 * len(part))
        longest = max(sum(stages[int(index)].values()) for index in part.index)
        for position, index in enumerate(part.index):
            left = 0.0
            for number, stage in enumerate(STAGES):
                width = stages[int(index)].get(stage) or 0.0
                axes.barh(
                    position,
                    width,
                    left=left,
                    height=0.66,
                    color=stage_colour(number),
                    edgecolor=PAPER,
                    lw=0.5,
                )
                left += width
            share = (stages[int(index)].get("network") or 0.0) / left if left else 0.0
            axes.annotate(
                f"{left:.{0 if left >= 100 else 1}f} ms · {share:.0%}",
                (left, position),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=MUTED,
            )
        axes.set_yticks(range(len(part)), [_two_lines(row) for _, row in part.iterrows()], fontsize=8.5)
        axes.set_ylim(len(part) - 0.45, -0.55)
        axes.set_xlim(0, longest * 1.42)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("ms an image, mean")
        svg = inline_svg(figure, name, "Time by stage: milliseconds an image")
    return Plot(svg, tuple(("box", f"--t{number}", 0, stage) for number, stage in enumerate(STAGES)))


def dice_by_size(frame: pd.DataFrame, name: str) -> Plot | None:
    """Pooled max Dice within the small, medium and large lesions with intervals; the best floor in grey."""
    part = shown_cells(frame)
    sizes = ("small", "medium", "large")
    columns = [f"dice_{size}" for size in sizes]
    methods = part[(part["kind"] != "floor") & part[columns].notna().any(axis=1)]
    floors = part[(part["kind"] == "floor") & part["dice_max"].notna()].head(1)
    if methods.empty:
        return None
    numbers = series(frame)
    shown = pd.concat([methods, floors])
    step = 0.74 / max(len(shown), 2)
    with mpl.rc_context(RC):
        figure, axes = new_axes(5.6, 3.6)
        for place, (_, row) in enumerate(shown.iterrows()):
            floor = row["kind"] == "floor"
            colour = MUTED if floor else series_colour(numbers[row["variant"]])
            for group, column in enumerate(columns):
                x = group + (place - (len(shown) - 1) / 2) * step
                value, low, high = (100 * row[key] for key in (column, f"{column}_lo", f"{column}_hi"))
                if np.isnan(value):
                    continue
                if not np.isnan(low + high):
                    axes.plot([x, x], [low, high], color=colour, linewidth=1.6, alpha=0.6)
                axes.plot(x, value, "D" if floor else "o", color=colour, markersize=7, markeredgecolor=PAPER)
        counts = [_count(shown[f"{column}_n"]) for column in columns]
        axes.set_xticks(range(3), [f"{size}{text}" for size, text in zip(sizes, counts, strict=True)])
        axes.set_xlim(-0.5, 2.5)
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", length=0)
        for edge in (0.5, 1.5):
            axes.axvline(edge, color=GRID, linewidth=0.8)
        axes.set_ylabel("max Dice, %")
        axes.grid(True, axis="y")
        svg = inline_svg(figure, name, "Dice by lesion size")
    return Plot(svg, _legend(shown, numbers, "box"))


def _count(column: pd.Series) -> str:
    known = sorted({int(value) for value in column.dropna()})
    if not known:
        return ""
    return f" (n = {known[0]})" if len(known) == 1 else f" (n = {known[0]}–{known[-1]})"


def precision_recall(
    frame: pd.DataFrame, curves: Mapping[int, tuple[Sequence[float], Sequence[float]]], name: str
) -> Plot | None:
    """Precision over recall of the pooled pixels. curves: row -> (recall, precision); the best floor dashed."""
    part = shown_cells(frame)
    part = part[part.index.isin(list(curves))]
    methods, floors = part[part["kind"] != "floor"], part[part["kind"] == "floor"].head(1)
    if methods.empty:
        return None
    numbers = series(frame)
    shown = pd.concat([methods, floors])
    with mpl.rc_context(RC):
        figure, axes = new_axes(5.6, 3.6)
        for index, row in shown.iterrows():
            recall, precision = (100 * np.asarray(values, dtype=float) for values in curves[int(str(index))])
            floor = row["kind"] == "floor"
            number = 0 if floor else numbers[row["variant"]]
            style = (0, (5, 3)) if floor else _dash(number)
            axes.plot(
                recall,
                precision,
                color=MUTED if floor else series_colour(number),
                linewidth=1.8,
                linestyle=style,
            )
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="recall, %", ylabel="precision, %")
        axes.grid(True)
        svg = inline_svg(figure, name, "Precision-recall curves of the pooled pixels")
    return Plot(svg, _legend(shown, numbers, "line"))


def _legend(shown: pd.DataFrame, numbers: dict[str, int], kind: str) -> tuple[tuple[str, str, int, str], ...]:
    entries = []
    for _, row in shown.iterrows():
        if row["kind"] == "floor":
            entries.append(("dash" if kind == "line" else kind, "--muted", 0, f"best floor: {row['method']}"))
        else:
            entry = (kind, f"--s{numbers[row['variant']] % SERIES}", 0, row["variant"])
            if entry not in entries:
                entries.append(entry)
    return tuple(entries)
