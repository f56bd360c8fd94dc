"""The failures of one cell as a PNG for a document, with the rule, the source and the licence written beneath."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from uadbench.reports.atomic import RunError
from uadbench.reports.failures import (
    FALSE_ALARM,
    MISSED,
    RULES,
    Failure,
    find_failures,
    threshold_of,
)
from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.page.pictures import colour_top
from uadbench.reports.rows import subset
from uadbench.reports.runs import Cell, Run
from uadbench.reports.truth import truth_of_cell

__all__ = ["failure_picture"]

DPI = 128
PANEL, HEAD, TOP, LINE = 1.0, 0.3, 0.3, 0.145  # inches: a panel's side, the room above it, titles, a line
COLUMNS = ("input", "reconstruction", "map", "found")
GAP = 0.35  # between the missed cases and the false alarms
TRUTH = "#00a8c6"
_RC: Any = {"text.parse_math": False, "font.size": 7.0}


def failure_picture(run: Run, cell: Cell) -> bytes:
    """A PNG: a row a rank, missed cases on the left, false alarms on the right, four panels each.

    Raises RunError where the cell has no failure with figures, or the run no longer holds the pictures.
    """
    found, threshold = find_failures(cell), threshold_of(cell)
    if not found or threshold is None:
        raise RunError(
            f"{cell.slug}: has no failures that could be shown; a run scored by an earlier version is scored again by "
            "the same `bench run` command"
        )
    held = {
        case.case_id: (*run.directory.read_sample(case.case_id), *cell.arrays(case.case_id)) for case in found
    }
    top = colour_top([anomaly for *_, anomaly, _ in held.values()])
    sides = [[case for case in found if case.kind == kind] for kind in (MISSED, FALSE_ALARM)]
    rows = max(map(len, sides))
    notes = _notes(run, cell, threshold, top)
    width = 2 * len(COLUMNS) * PANEL + GAP
    height = TOP + rows * (PANEL + HEAD) + LINE * (len(notes) + 1)
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        for side, (kind, cases) in enumerate(zip(("Missed", "False alarms"), sides, strict=True)):
            left = side * (len(COLUMNS) * PANEL + GAP)
            _write(figure, left, 0.15, kind, weight="bold", size=8.5)
            for row, case in enumerate(cases):
                place = (left, TOP + row * (PANEL + HEAD))
                _draw_case(figure, place, case, held[case.case_id], top, threshold)
        for number, line in enumerate(notes):
            _write(figure, 0, height - LINE * (len(notes) - number), line, color="#444444")
        return _png(figure)


def _write(figure: Figure, x: float, y: float, text: str, **style: Any) -> None:
    """Text whose upper left corner is x, y inches from that of the figure."""
    width, height = figure.get_size_inches()
    figure.text((x + 0.03) / width, 1 - y / height, text, va="center", **style)


def _draw_case(
    figure: Figure, place: tuple[float, float], case: Failure, arrays: Any, top: float, threshold: float
) -> None:
    image, mask, boxes, anomaly, reconstruction = arrays
    left, upper = place
    _write(figure, left, upper + 0.08, f"{case.case_id}: {case.what}", weight="bold")
    _write(figure, left, upper + 0.21, case.outcome)
    width, height = figure.get_size_inches()
    found = anomaly > np.float32(threshold)
    shown = (
        *((image, "gray", 1.0), (reconstruction, "gray", 1.0)),
        *((anomaly, "inferno", top), (found, "gray", 1.0)),
    )
    for number, (picture, colours, white) in enumerate(shown):
        corner = ((left + number * PANEL) / width, 1 - (upper + HEAD + PANEL) / height)
        axes = figure.add_axes((*corner, 0.98 * PANEL / width, 0.98 * PANEL / height))
        axes.imshow(picture, cmap=colours, vmin=0, vmax=white, interpolation="nearest")
        axes.set_axis_off()
        for _, row, column, bottom, right in boxes or ():
            size = (right - column, bottom - row)
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), *size, fill=False, color=TRUTH, linewidth=0.8)
            )
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=[TRUTH], linewidths=0.8)


def _notes(run: Run, cell: Cell, threshold: float, top: float) -> list[str]:
    """What the picture is of, how it was chosen, whose data it shows and by which licence."""
    dataset = run.manifest.get("dataset") or {}
    part = f" ({taken})" if (taken := subset(dataset)) else ""
    origin = f", {dataset['origin']}" if dataset.get("origin") else ""
    parts = [
        f"{variant_of(cell.info).label} · {arm_of(cell.info).label} on {dataset.get('name')}{part}{origin}. "
        f"Panels: {', '.join(COLUMNS)}: above {threshold:.3g}. Cyan: truth. Maps from 0 to {top:.3g}.",
        RULES[truth_of_cell(cell)],
        f"Source: {dataset.get('citation') or 'not recorded'}. Licence: {dataset.get('licence') or 'not recorded'}.",
    ]
    return [line for text in parts for line in textwrap.wrap(text, 165)]


def _png(figure: Figure) -> bytes:
    """The figure in 256 colours, a third of the bytes that all would take."""
    drawn, saved = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI)
    image = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(saved, "PNG", optimize=True)
    return saved.getvalue()
