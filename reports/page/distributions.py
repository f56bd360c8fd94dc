"""Plots of single cases: each case's Dice, and differences of it between methods, as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from uadbench.reports.page.figures import WIDTH
from uadbench.reports.page.shown import FLOOR, best_floor, looks, shown_cells
from uadbench.reports.page.svg import INK, MUTED, PAPER, RC, inline_svg, new_axes, shorten
from uadbench.reports.runs import Cell
from uadbench.reports.truth import headline_of

__all__ = ["case_dice", "case_dice_of", "paired_differences", "reference_row"]

MAX_DOTS = 2000
"""A strip; of more cases every so-manieth by value is drawn."""
ROOM = 66  # letters in the line above a strip

Cases = Mapping[int, Mapping[str, float]]


def case_dice_of(cell: Cell) -> dict[str, float]:
    """Dice of each scored lesion case at the healthy threshold, in 0 .. 1."""
    found = {case_id: entry.get("dice") for case_id, entry in sorted(cell.scores.items())}
    return {case_id: float(value) for case_id, value in found.items() if value is not None}


def case_dice(frame: pd.DataFrame, cases: Cases, name: str) -> str | None:
    """A strip of dots a method, one a lesion case, and the mean. cases: row -> {case id: Dice}."""
    shown = _with_cases(frame, cases)
    if shown.empty:
        return None

    def row_of(index: int) -> tuple[NDArray[np.float64], str]:
        values = 100 * np.array(list(cases[index].values()))
        return values, f"mean {values.mean():.1f} · n = {len(values)}"

    return _strips(frame, shown, row_of, (0.0, 100.0), "Dice of a case, %", name, "Dice of each lesion case")


def paired_differences(frame: pd.DataFrame, cases: Cases, name: str) -> str | None:
    """Each method's and the best floor's Dice less that of the best method, case by case."""
    shown = _with_cases(frame, cases)
    reference = reference_row(frame, cases)
    if reference is None:
        return None
    base = cases[reference]

    def row_of(index: int) -> tuple[NDArray[np.float64], str]:
        both = [case_id for case_id in cases[index] if case_id in base]
        values = 100 * np.array([cases[index][case_id] - base[case_id] for case_id in both])
        better, worse = int((values > 0).sum()), int((values < 0).sum())
        return values, f"mean {values.mean():+.1f}".replace("-", "−") + f" · {better} up, {worse} down"

    others = [index for index in shown.index if index != reference and set(cases[index]) & set(base)]
    if not others:
        return None
    label = "difference of a case's Dice, points"
    title = "Paired differences of the cases' Dice"
    return _strips(frame, shown.loc[others], row_of, None, label, name, title)


def reference_row(frame: pd.DataFrame, cases: Cases) -> int | None:
    """The row of the method that the others are held against: the best by the headline score, None without any."""
    methods = _with_cases(frame, cases)
    headline = headline_of(frame)
    methods = methods[(methods["kind"] != "floor") & methods[headline.name].notna()]
    if methods.empty:
        return None
    return int(str((headline.better * methods[headline.name]).idxmax()))


def _with_cases(frame: pd.DataFrame, cases: Cases) -> pd.DataFrame:
    part = shown_cells(frame)
    part = part[[bool(cases.get(int(str(index)))) for index in part.index]]
    methods = part[part["kind"] != "floor"]
    return methods if methods.empty else pd.concat([methods, best_floor(part)])


def _strips(
    frame: pd.DataFrame,
    shown: pd.DataFrame,
    row_of: Callable[[int], tuple[NDArray[np.float64], str]],
    limits: tuple[float, float] | None,
    label: str,
    name: str,
    title: str,
) -> str:
    known, several = looks(frame), shown["run"].nunique() > 1
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, 0.6 + 0.44 * len(shown))
        for position, (index, row) in enumerate(shown.iterrows()):
            values, note = row_of(int(str(index)))
            colour = known.get(row["variant"], FLOOR).colour
            _dots(axes, values, position, colour)
            note += f" · {MAX_DOTS} drawn" if len(values) > MAX_DOTS else ""
            head = ("best floor: " if row["kind"] == "floor" else "") + row["variant"]
            head += f" · {row['run']}" if several else ""
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "fontsize": 8.5, "va": "center"}
            place["bbox"] = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}  # lines stop at words
            axes.annotate(shorten(head, ROOM - len(note)), (0, position - 0.36), ha="left", **place)
            axes.annotate(note, (1, position - 0.36), ha="right", color=MUTED, **place)
        axes.set_ylim(len(shown) - 0.6, -0.6)
        if limits:
            axes.set_xlim(*limits)
        else:
            widest = max(float(np.abs(row_of(int(str(index)))[0]).max()) for index in shown.index)
            axes.set_xlim(-1.08 * max(widest, 1.0), 1.08 * max(widest, 1.0))
            axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
        axes.grid(True, axis="x")
        return inline_svg(figure, name, title)


def _dots(axes: Axes, values: NDArray[np.float64], position: int, colour: str) -> None:
    """Dots spread over the strip by a fixed sequence, so that the same cases always give the same picture."""
    mean = values.mean()
    if len(values) > MAX_DOTS:
        values = np.sort(values)[np.linspace(0, len(values) - 1, MAX_DOTS).astype(int)]
    spread = (np.arange(len(values)) * 0.618034) % 1 - 0.5
    # many hundred circles of their own would weigh on the page: one path a strip
    axes.plot(
        values, position + 0.1 + 0.3 * spread, ".", color=colour, markersize=5, alpha=0.6, clip_on=False
    )
    axes.plot([mean] * 2, [position - 0.12, position + 0.32], color=INK, linewidth=1.8)
