"""Where the time goes: bars of stages, the whole and what is left without the network, as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.patches import Patch

from uadbench.reports.page.figures import WIDTH
from uadbench.reports.page.svg import (
    MUTED,
    PAPER,
    RC,
    add_legend,
    inline_svg,
    new_axes,
    shorten,
    stage_colour,
)
from uadbench.reports.text import milliseconds
from uadbench.reports.vocabulary import STAGES

__all__ = ["stages_of", "time_by_stage", "time_outside_network"]

NETWORK, *REST = STAGES

Stages = Mapping[int, Mapping[str, float]]


def stages_of(latency: Mapping[str, object] | None) -> dict[str, float]:
    """Mean milliseconds an image by stage from latency.json, {} where nothing was timed."""
    found = (latency or {}).get("stages_ms")
    values = found if isinstance(found, Mapping) else {}
    known = {stage: float(values.get(stage) or 0.0) for stage in STAGES}
    return known if sum(known.values()) > 0 else {}


def time_by_stage(frame: pd.DataFrame, stages: Stages, name: str) -> str | None:
    """Mean milliseconds an image, network against the rest, a bar a method cell. stages: row -> {stage: ms}."""
    bars = {
        index: [(values[NETWORK], 0), (sum(values[stage] for stage in REST), None)]
        for index, values in stages.items()
        if values
    }
    notes = {index: f"{parts[0][0] / sum(part for part, _ in parts):.1%}" for index, parts in bars.items()}
    return _bars(frame, bars, notes, [(0, NETWORK), (None, "all else")], name, "Time by stage")


def time_outside_network(frame: pd.DataFrame, stages: Stages, name: str) -> str | None:
    """Mean milliseconds an image of every stage but the network, a bar a method cell."""
    bars = {
        index: [(values[stage], STAGES.index(stage)) for stage in REST]
        for index, values in stages.items()
        if values and any(values[stage] for stage in REST)
    }
    legend = [(STAGES.index(stage), stage) for stage in REST]
    return _bars(frame, bars, {}, legend, name, "Time outside the network")


def _bars(
    frame: pd.DataFrame,
    bars: Mapping[int, Sequence[tuple[float, int | None]]],
    notes: Mapping[int, str],
    legend: Sequence[tuple[int | None, str]],
    name: str,
    title: str,
) -> str | None:
    """Stacked bars with the cell's name above and the sum behind; a stage None is drawn in grey."""
    part = frame[(frame["kind"] != "floor") & frame.index.isin(list(bars))]
    if part.empty:
        return None
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, 0.55 + 0.36 * len(part))
        for position, (index, row) in enumerate(part.iterrows()):
            left = 0.0
            for width, stage in bars[int(str(index))]:
                axes.barh(position, width, 0.36, left, color=_colour(stage), edgecolor=PAPER, linewidth=0.4)
                left += width
            note = f" · {notes[int(str(index))]} network" if int(str(index)) in notes else ""
            place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8.5}
            axes.annotate(
                f"{milliseconds(left)} ms{note}", (left, position), xytext=(4, 0), color=MUTED, **place
            )
            text = shorten(f"{row['variant']} · {row['arm']}")
            axes.annotate(text, (0, position - 0.39), xytext=(0, 0), **place)
        longest = max(sum(width for width, _ in bars[int(str(index))]) for index in part.index)
        axes.set_ylim(len(part) - 0.6, -0.7)
        axes.set_xlim(0, longest * (1.5 if notes else 1.25))
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("ms an image, mean")
        add_legend(figure, [(Patch(facecolor=_colour(stage)), text) for stage, text in legend])
        return inline_svg(figure, name, f"{title}: milliseconds an image")


def _colour(stage: int | None) -> str:
    return MUTED if stage is None else stage_colour(stage)
