"""The plots of a profile as inline SVG: roofline, latency by batch, stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from uadbench.reports.page.figures import MARKERS, WIDTH, log_axis
from uadbench.reports.page.svg import (
    MUTED,
    RC,
    SERIES,
    add_legend,
    inline_svg,
    new_axes,
    series_colour,
)
from uadbench.reports.page.times import Bar, stacked_bars
from uadbench.reports.profile import arm_text, what_text
from uadbench.reports.vocabulary import STAGES

__all__ = ["latency_by_batch", "roofline", "stage_bars"]

HEIGHT = 3.0
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))

Row = Mapping[str, Any]
Profile = Mapping[str, Any]


def roofline(profile: Profile, name: str) -> str | None:
    """GFLOP/s over FLOP a byte on logarithmic axes: colour and shape an arm, a number the batch; ceilings as lines."""
    rows = [row for row in _calls(profile) if row["gflops"] and row["intensity"]]
    if not rows:
        return None
    looks = _looks(profile)
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        roofs = list(_roofs(profile))
        ridges = [roof / bandwidth for _, roof, bandwidth in roofs]  # where a roof's two lines meet
        x = _span([row["intensity"] for row in rows] + ridges, 2.0)
        y = _span([row["gflops"] for row in rows] + [roof for _, roof, _ in roofs], 1.6)
        entries = []
        for place, (title, roof, bandwidth) in enumerate(roofs):
            ridge = roof / bandwidth
            across = np.array([x[0], ridge, x[1]] if x[0] < ridge < x[1] else x)
            line = axes.plot(
                across,
                np.minimum(roof, across * bandwidth),
                color=MUTED,
                linewidth=1.1,
                linestyle=_DASHES[place % len(_DASHES)],
            )[0]
            entries.append((line, f"ceiling {title}"))
        for row in rows:
            colour, marker = looks[arm_text(row)]
            axes.plot(row["intensity"], row["gflops"], marker, color=colour, markersize=6.5, alpha=0.9)
        _name_batches(axes, rows)
        log_axis(axes, "x", *x)
        log_axis(axes, "y", *y)
        axes.set_xlabel("FLOP a byte, counted (log)")
        axes.set_ylabel("GFLOP/s (log)")
        axes.grid(True)
        add_legend(figure, _arm_entries(rows, looks) + entries)
        return inline_svg(figure, name, "Roofline: GFLOP/s over FLOP a byte")


def latency_by_batch(profile: Profile, name: str) -> str | None:
    """Median milliseconds an image over the batch size, a line an arm and network; None with a single batch size."""
    rows = [row for row in _calls(profile) if row["raw"]]
    batches = sorted({row["batch"] for row in rows})
    if len(batches) < 2:
        return None
    looks, networks = _looks(profile), list(dict.fromkeys(row["network"] for row in rows))
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        axes.set_xscale("log", base=2)
        for network in networks:
            for arm, (colour, marker) in looks.items():
                part = [row for row in rows if row["network"] == network and arm_text(row) == arm]
                part.sort(key=lambda row: int(row["batch"]))
                quarters = [
                    np.percentile([call["ms"] / row["batch"] for call in row["raw"]], [25, 50, 75])
                    for row in part
                ]
                for row, (low, _, high) in zip(part, quarters, strict=True):
                    axes.plot([row["batch"]] * 2, [low, high], color=colour, linewidth=1.2)
                axes.plot(
                    [row["batch"] for row in part],
                    [middle for _, middle, _ in quarters],
                    marker=marker,
                    color=colour,
                    linestyle=_DASHES[networks.index(network) % len(_DASHES)],
                    linewidth=1.3,
                    markersize=5,
                )
        axes.xaxis.set_major_locator(FixedLocator(batches))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0)
        axes.set_xlabel("batch")
        axes.set_ylabel("ms an image")
        axes.grid(True)
        entries = _arm_entries(rows, looks)
        if len(networks) > 1:
            entries += [
                (Line2D([], [], color=MUTED, linestyle=_DASHES[place % len(_DASHES)]), network)
                for place, network in enumerate(networks)
            ]
        add_legend(figure, entries)
        return inline_svg(figure, name, "Milliseconds an image by batch size")


def stage_bars(profile: Profile, name: str) -> str | None:
    """Mean milliseconds an image of each method row, stacked by stage; None where no method was timed."""
    bars = [
        Bar(
            f"{arm_text(row)} · batch {row['batch']} · {what_text(row)}",
            [(width, STAGES.index(stage)) for stage, width in row["stages_ms"].items()],
            row["stages_ms"][STAGES[0]] / sum(row["stages_ms"].values()),
        )
        for row in profile["rows"]
        if row["stages_ms"]
    ]
    return stacked_bars(bars, list(enumerate(STAGES)), name, "Time by stage")


def _calls(profile: Profile) -> list[Row]:
    return [row for row in profile["rows"] if row["method"] == "-"]


def _looks(profile: Profile) -> dict[str, tuple[str, str]]:
    """arm -> (colour, marker), in the order of the rows."""
    arms = list(dict.fromkeys(arm_text(row) for row in profile["rows"]))
    return {
        arm: (series_colour(place % SERIES), MARKERS[place % len(MARKERS)]) for place, arm in enumerate(arms)
    }


def _arm_entries(rows: list[Row], looks: Mapping[str, tuple[str, str]]) -> list[tuple[Any, str]]:
    shown = dict.fromkeys(arm_text(row) for row in rows)
    return [
        (Line2D([], [], color=looks[arm][0], marker=looks[arm][1], linestyle="", markersize=6), arm)
        for arm in shown
    ]


def _name_batches(axes: Axes, rows: list[Row]) -> None:
    """The batch beside each mark, where there are several."""
    if len({row["batch"] for row in rows}) > 1:
        for row in rows:
            place = (row["intensity"], row["gflops"])
            axes.annotate(
                str(row["batch"]), place, xytext=(6, 0), textcoords="offset points", va="center", fontsize=8
            )


def _roofs(profile: Profile) -> Iterator[tuple[str, float, float]]:
    """(title, GFLOP/s, GB/s) of each device and precision."""
    for device, entry in profile["ceilings"].items():
        for precision, rates in entry["precisions"].items():
            title = precision if device == "cpu" else f"{precision} {device}"
            yield f"{title}: {max(rates.values()):.0f} GFLOP/s", max(rates.values()), entry["copy_gb_s"]


def _span(values: list[float], pad: float) -> tuple[float, float]:
    return min(values) / pad, max(values) * pad
