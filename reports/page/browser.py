"""The case browser: the chosen cases with their pictures, input and truth first, then every method and floor."""

from __future__ import annotations

from typing import Any

from uadbench.reports.identity import arm_of
from uadbench.reports.page.choice import HEALTHY, Chosen, choose
from uadbench.reports.page.held import arrays_of, boxes_of, inputs_of
from uadbench.reports.page.pictures import (
    box_image,
    box_path,
    colour_range,
    grey_image,
    map_image,
    mask_image,
    outline_path,
)
from uadbench.reports.page.shown import shown_cells
from uadbench.reports.places import short_text
from uadbench.reports.rows import Section, run_id
from uadbench.reports.runs import Cell
from uadbench.reports.text import percent

__all__ = ["case_browser", "shown_results"]

Shown = tuple[str, Cell]


def case_browser(section: Section, images: int) -> dict[str, Any]:
    """The chosen cases and their pictures, at most ``images`` of methods' results; each map's own scale."""
    shown = shown_results(section)
    chosen = choose([cell for _, cell in shown], images=images)
    tops: list[float] = []
    panels: list[list[dict[str, Any]]] = []
    for label, cell in shown:  # one after the other: of large cells only a few are in memory
        tops.append(colour_range(cell, chosen))
        panels.append([_panel(label, cell, case, tops[-1]) for case in chosen])
    cases: list[dict[str, Any]] = []
    for place, case in enumerate(chosen):
        inputs = inputs_of(section.runs, case.case_id)
        if inputs is None:
            continue
        image, mask = inputs
        boxes = boxes_of(section.runs, case.case_id) or []
        cases.append(
            {
                "case": case,
                "title": _title(case, len(boxes)),
                "input": grey_image(image),
                "truth": mask_image(mask) if mask.any() else box_image(boxes, mask.shape),
                "truth_text": ", ".join(label for label, *_ in boxes) or f"{case.lesion_px} px",
                "outline": box_path(boxes) if boxes else outline_path(mask),
                "size": {"width": image.shape[1], "height": image.shape[0]},
                "panels": [column[place] for column in panels],
            }
        )
    held = {panel["label"] for entry in cases for panel in entry["panels"] if not panel["missing"]}
    scales = [(label, f"{top:.3g}") for (label, _), top in zip(shown, tops, strict=True) if label in held]
    arms = sorted({arm_of(cell.info).label for _, cell in shown})
    return {"cases": cases, "scales": scales, "arms": ", ".join(arms)}


def shown_results(section: Section) -> list[Shown]:
    """(label, cell) of the shown cells that are scored; with several runs the run is part of a method's label."""
    several = len(section.runs) > 1
    found = []
    for index, row in shown_cells(section.frame).iterrows():
        run, cell = section.cell(int(str(index)))
        if cell.metrics is not None:
            label = row["variant"] + (f" · {run_id(run)}" if several and row["kind"] != "floor" else "")
            found.append((label, cell))
    return found


def _title(case: Chosen, n_boxes: int) -> str:
    if case.group == HEALTHY:
        return f"{HEALTHY}, score rank {case.rank} of {case.of}"
    if n_boxes:
        count = f"{n_boxes} {'box' if n_boxes == 1 else 'boxes'}"
        return f"{case.group}, {count}, rank {case.rank} of {case.of}"
    return f"{case.group} lesion, {case.lesion_px} px, rank {case.rank} of {case.of}"


def _panel(label: str, cell: Cell, case: Chosen, top: float) -> dict[str, Any]:
    name, _, rest = label.partition(" · ")
    floor = cell.info.get("kind") == "floor"
    panel: dict[str, Any] = {"label": label, "name": name, "rest": rest, "floor": floor}
    record = cell.by_id.get(case.case_id)
    if record is None or record.get("status") != "ok":
        status = record.get("status") if record else "not run"
        reason = short_text(str((record or {}).get("reason") or ""))
        return panel | {"missing": f"{status}: {reason}" if reason else str(status)}
    arrays = arrays_of(cell, case.case_id)
    if arrays is None:
        return panel | {"missing": "the run no longer holds this case's arrays"}
    anomaly, reconstruction = arrays
    return panel | {
        "missing": "",
        "reconstruction": grey_image(reconstruction),
        "map": map_image(anomaly, top),
        "top": f"{top:.6g}",
        "value": _value(cell, case),
    }


def _value(cell: Cell, case: Chosen) -> str:
    """The case's own figure at the healthy threshold, Dice or boxes; the image's score where it is healthy."""
    scored = cell.scores.get(case.case_id) or {}
    if case.group == HEALTHY:
        return "" if scored.get("score") is None else f"score {scored['score']:.3g}"
    if (found := scored.get("found")) is not None:
        return f"{sum(found)} of {len(found)} found, {scored['false_positives']} false"
    return "" if scored.get("dice") is None else f"Dice {percent(scored['dice'])}"
