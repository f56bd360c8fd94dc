"""Where the time goes: bars of stages, the whole and what is left without the network, as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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

__all__ = ["Bar", "stacked_bars", "stages_of", "time_by_stage", "time_outside_network"]

NETWORK, *REST = STAGES

Stages = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Bar:
    """A bar of milliseconds.

    title : above it
    parts : (milliseconds, the stage's place in ``STAGES``), None for grey
    share : of the network, 0 to 1, written behind it; None for none
    """

    title: str
    parts: Sequence[tuple[float, int | None]]
    share: float | None = None

    @property
    def total(self) -> float:
        """Milliseconds of all parts."""
        return sum(width for width, _ in self.parts)


def stages_of(latency: Mapping[str, object] | None) -> dict[str, float]:
    """Mean milliseconds an image by stage from latency.json, {} where nothing was timed."""
    found = (latency or {}).get("stages_ms")
    values = found if isinstance(found, Mapping) else {}
    known = {stage: float(values.get(stage) or 0.0) for stage in STAGES}
    return known if sum(known.values()) > 0 else {}


def time_by_stage(frame: pd.DataFrame, stages: Stages, name: str) -> str | None:
    """Mean milliseconds an image, network against the rest, a bar a method cell. stages: row -> {stage: ms}."""
    bars = []
    for title, values in _methods(frame, stages):
        rest = sum(values[stage] for stage in REST)
        share = values[NETWORK] / (values[NETWORK] + rest)
        bars.append(Bar(title, [(values[NETWORK], 0), (rest, None)], share))
    return stacked_bars(bars, [(0, NETWORK), (None, "all else")], name, "Time by stage")


def time_outside_network(frame: pd.DataFrame, stages: Stages, name: str) -> str | None:
    """Mean milliseconds an image of every stage but the network, a bar a method cell."""
    timed = [(title, values) for title, values in _methods(frame, stages) if any(values[s] for s in REST)]
    legend = [(STAGES.index(stage), stage) for stage in REST if any(values[stage] for _, values in timed)]
    bars = [Bar(title, [(values[stage], place) for place, stage in legend]) for title, values in timed]
    return stacked_bars(bars, legend, name, "Time outside the network")


def _methods(frame: pd.DataFrame, stages: Stages) -> Iterator[tuple[str, Mapping[str, float]]]:
    """(the cell's name, its stages) of every method cell that was timed, in the order of the rows."""
    for index, row in frame[frame["kind"] != "floor"].iterrows():
        if values := stages.get(int(str(index))):
            yield f"{row['variant']} · {row['arm']}", values


def stacked_bars(
    bars: Sequence[Bar], legend: Sequence[tuple[int | None, str]], name: str, title: str
) -> str | None:
    """Bars with their title above and their sum behind, as inline SVG; None where there is none."""
    if not bars:
        return None
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, 0.55 + 0.36 * len(bars))
        for position, bar in enumerate(bars):
            left = 0.0
            for width, stage in bar.parts:
                axes.barh(position, width, 0.36, left, color=_colour(stage), edgecolor=PAPER, linewidth=0.4)
                left += width
            note = "" if bar.share is None else f" · {bar.share:.1%} network"
            place: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8.5}
            axes.annotate(
                f"{milliseconds(left)} ms{note}", (left, position), xytext=(4, 0), color=MUTED, **place
            )
            axes.annotate(shorten(bar.title), (0, position - 0.39), xytext=(0, 0), **place)
        shared = any(bar.share is not None for bar in bars)
        axes.set_ylim(len(bars) - 0.6, -0.7)
        axes.set_xlim(0, max(bar.total for bar in bars) * (1.5 if shared else 1.25))
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("ms an image, mean")
        add_legend(figure, [(Patch(facecolor=_colour(stage)), text) for stage, text in legend])
        return inline_svg(figure, name, f"{title}: milliseconds an image")


def _colour(stage: int | None) -> str:
    return MUTED if stage is None else stage_colour(stage)
