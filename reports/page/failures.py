"""The failures of each method with their pictures: input, reconstruction, map, and what is above the threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from uadbench.reports.failures import FALSE_ALARM, MISSED, MOST, RULES, Failure, find_failures, threshold_of
from uadbench.reports.page.browser import shown_results
from uadbench.reports.page.held import arrays_of, boxes_of, inputs_of
from uadbench.reports.page.pictures import box_path, colour_top, grey_image, mask_image, outline_path
from uadbench.reports.page.shown import best_floor
from uadbench.reports.rows import Section
from uadbench.reports.runs import Cell
from uadbench.reports.truth import truth_of

__all__ = ["MAX_IMAGES", "failures"]

MAX_IMAGES = 320  # a page; a map takes at most 8 kB, the others less: below 3 MB together
_PICTURES = 4
_TITLES = {MISSED: "Missed", FALSE_ALARM: "False alarms"}


def failures(section: Section, images: int) -> dict[str, Any]:
    """The failures of the shown methods and of the best floor, at most ``images`` pictures.

    Of many methods there are fewer cases each; where not even one missed and one false alarm fit, the methods that come
    last in the table are left out and counted.
    """
    floors = {section.cell(int(index))[1].slug for index in best_floor(section.frame).index}
    shown = [
        (label, cell)
        for label, cell in shown_results(section)
        if cell.info.get("kind") != "floor" or cell.slug in floors
    ]
    places = images // (2 * _PICTURES)
    most = max(1, min(MOST, places // max(1, len(shown))))
    cells = [_cell(section, label, cell, most) for label, cell in shown[:places]]
    return {
        "cells": [cell for cell in cells if cell["kinds"]],
        "left_out": max(0, len(shown) - places),
        "rule": RULES[truth_of(section.frame)],
    }


def _cell(section: Section, label: str, cell: Cell, most: int) -> dict[str, Any]:
    found = find_failures(cell, most)
    held = [(case, arrays) for case in found if (arrays := arrays_of(cell, case.case_id)) is not None]
    top, threshold = colour_top([anomaly for _, (anomaly, _) in held]), threshold_of(cell)
    kinds = []
    for kind, title in _TITLES.items():
        part = [(case, arrays) for case, arrays in held if case.kind == kind]
        entries = [_case(section, case, *arrays, top, threshold) for case, arrays in part]
        if entries := [entry for entry in entries if entry]:
            kinds.append({"title": title, "cases": entries})
    said = "" if threshold is None else f"{threshold:.3g}"
    return {"label": label, "threshold": said, "top": f"{top:.3g}", "kinds": kinds}


def _case(
    section: Section,
    case: Failure,
    anomaly: np.ndarray,
    reconstruction: np.ndarray,
    top: float,
    threshold: float | None,
) -> dict[str, Any] | None:
    """The pictures of a case; None where the run no longer holds its input."""
    inputs = inputs_of(section.runs, case.case_id)
    if inputs is None or threshold is None:
        return None
    image, mask = inputs
    boxes = boxes_of(section.runs, case.case_id) or []
    pictures = [
        ("input", "", grey_image(image)),
        ("reconstruction", "", grey_image(reconstruction)),
        ("map", "heat", grey_image(anomaly / top)),
        ("found", "", mask_image(anomaly > np.float32(threshold))),
    ]
    return {
        "id": case.case_id,
        "what": case.what,
        "outcome": case.outcome,
        "outline": box_path(boxes) if boxes else outline_path(mask),
        "size": {"width": image.shape[1], "height": image.shape[0]},
        "pictures": pictures,
    }
