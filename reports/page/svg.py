"""matplotlib figures as inline SVG: text stays text, colours become CSS variables, same input same bytes."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from uadbench.reports.vocabulary import STAGES

__all__ = [
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "RC",
    "SERIES",
    "add_legend",
    "inline_svg",
    "new_axes",
    "series_colour",
    "shorten",
    "stage_colour",
]

SERIES = 16  # colours of methods in the style sheet, --s0 .. --s15

# Colours that stand for roles while matplotlib draws; inline_svg turns them into CSS variables.
INK, MUTED, GRID, PAPER = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"
_ROLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper"}
_ROLES |= {f"#0b0b{index:02x}": f"--s{index}" for index in range(SERIES)}
_ROLES |= {f"#0c0c{index:02x}": f"--t{index}" for index in range(len(STAGES))}

RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "uadbench",
    "text.parse_math": False,  # names that users supply may hold a dollar sign
    "axes.unicode_minus": True,
    "font.size": 9.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.borderpad": 0.0,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}


def series_colour(index: int) -> str:
    """The colour of number ``index`` below SERIES."""
    return f"#0b0b{index:02x}"


def stage_colour(index: int) -> str:
    """The colour of the stage at ``index`` of the vocabulary's STAGES."""
    return f"#0c0c{index:02x}"


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of ``width`` x ``height`` inches at 72 px an inch, margins fitted to its labels."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(facecolor="none")
    return figure, axes


def add_legend(figure: Figure, entries: Sequence[tuple[Any, str]]) -> None:
    """(handle, text) entries below the axes; the figure grows by their height, so that the axes keep theirs."""
    if not entries:
        return
    handles = [handle for handle, _ in entries]
    texts = [shorten(text) for _, text in entries]
    columns = 2 if max(map(len, texts)) <= 28 else 1
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.17 * -(-len(texts) // columns) + 0.06)
    figure.legend(handles, texts, loc="outside lower left", ncols=columns)


def shorten(text: str, longest: int = 64) -> str:
    """A label cut where it would leave no room for the plot."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an SVG element to stand in HTML; ``name`` makes its ids unique in the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(title), text, count=1)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for colour, variable in _ROLES.items():
        text = text.replace(colour, f"var({variable})")
    return re.sub(r"\n\s*", "\n", text).strip()


def _opening(title: str) -> str:
    label = escape(title)
    return rf'<svg viewBox="\1" role="img" aria-label="{label}">'
