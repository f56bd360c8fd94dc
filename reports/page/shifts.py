"""The plot of reconstructions under shifts of intensity, as inline SVG."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.lines import Line2D

from uadbench.reports.page.figures import HEIGHT, WIDTH
from uadbench.reports.page.shown import looks
from uadbench.reports.page.svg import MUTED, RC, add_legend, inline_svg, new_axes
from uadbench.reports.shifts import KLD

__all__ = ["kld_against_shift"]


def kld_against_shift(frame: pd.DataFrame, rows: pd.DataFrame, kind: str, name: str) -> str | None:
    """Mean KL divergence over the shift's value, a line a method. rows : of ``reports.shifts``; None without any."""
    methods = frame.index[frame["kind"] != "floor"]
    part = rows[(rows["shift"] == kind) & rows[KLD].notna() & rows["index"].isin(methods)]
    if part.empty:
        return None
    known = looks(frame)
    with mpl.rc_context(RC):
        figure, axes = new_axes(WIDTH, HEIGHT)
        entries = []
        for _, line in part.groupby("index", sort=False):
            variant = str(line.iloc[0]["variant"])
            look = known[variant]
            style = {
                "color": look.colour,
                "linestyle": look.dash,
                "linewidth": 1.8,
                "marker": "o",
                "markersize": 4.5,
            }
            axes.plot(line["value"].astype(float), line[KLD].astype(float), **style)
            entries.append((Line2D([], [], **style), variant))
        axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axes.set_ylim(bottom=0)
        axes.set(xlabel=f"{kind} (1: as it is)", ylabel="KLD, nats")
        axes.grid(True)
        add_legend(figure, entries)
        return inline_svg(figure, name, f"KL divergence of intensity histograms over {kind}")
