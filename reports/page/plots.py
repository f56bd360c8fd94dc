"""A section's plots with their titles and notes, in the order of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from uadbench.reports.page import distributions, figures, shifts, sweeps, times
from uadbench.reports.page.shown import best_floor, shown_cells
from uadbench.reports.page.thresholds import dice_curve
from uadbench.reports.pareto import FRONT
from uadbench.reports.rows import Section
from uadbench.reports.runs import on_validation
from uadbench.reports.shifts import SHIFTED, shift_rows
from uadbench.reports.sweep import VALIDATION, sweep_rows, swept
from uadbench.reports.truth import headline_of
from uadbench.reports.vocabulary import HEADLINE

__all__ = ["plots"]

_ONE = "One cell a method: torch fp32 where it was scored."
_FLOOR = "Grey: the best floor."


def plots(section: Section) -> list[dict[str, str]]:
    """{"title", "note", "svg"} of every plot that the section has data for."""
    entries = [
        *_sweeps(section),
        *_scores(section),
        *_cases(section),
        *_shifts(section),
        *_times(section),
    ]
    said = f"{VALIDATION} " if any(map(on_validation, section.runs)) else ""
    return [
        {"title": title, "note": f"{said}{note}", "svg": svg}
        for title, note, svg in entries
        if svg is not None
    ]


def _sweeps(section: Section) -> list[tuple[str, str, str | None]]:
    """Of each thing varied: the headline score over it, and the milliseconds."""
    rows, key, headline = sweep_rows(section), section.key, headline_of(section.frame)
    if rows.empty:
        return []
    names = list(dict.fromkeys(name.rpartition(".")[2] for run in section.runs for name in swept(run)))
    floors = section.frame[~section.frame.index.isin(rows.index)]
    entries = []
    for place, name in enumerate(names):
        what = (rows, names, name)
        score = (headline.name, f"{headline.title}, {headline.unit}", floors)
        time = ("latency_ms_p50", "ms an image, median", floors[:0])
        lines = "A line for each combination of the rest."
        entries += [
            (
                f"{headline.title} over {name}",
                f"{lines} Strokes: 95 % intervals. {_FLOOR}",
                sweeps.curves(*what, *score, f"{key}-sweep-dice-{place}"),
            ),
            (
                f"Milliseconds over {name}",
                f"{lines} Batches, threads and load as in the table of times.",
                sweeps.curves(*what, *time, f"{key}-sweep-ms-{place}"),
            ),
        ]
    return entries


def _scores(section: Section) -> list[tuple[str, str, str | None]]:
    frame, key = section.frame, section.key
    recall: dict[int, Any] = {}
    for index in frame.index:
        curve = (section.cell(int(index))[1].metrics or {}).get("pr_curve") or {}
        if curve.get("recall"):
            recall[int(index)] = (curve["recall"], curve["precision"])
    return [
        (
            "Accuracy against latency",
            "Up and to the left is better. Colour and fill: method; shape: back end and precision. Strokes: 95 % "
            "intervals.",
            figures.accuracy_against_latency(frame, f"{key}-latency"),
        ),
        (
            f"Pareto front of {headline_of(frame).title} and time",
            f"Up and to the left is better. Ringed: on the front. {FRONT}",
            sweeps.pareto_front(frame, f"{key}-pareto"),
        ),
        (
            f"{HEADLINE.title} by lesion size",
            f"All pixels of a group pooled, with 95 % intervals. {_ONE} {_FLOOR}",
            figures.scores_by_size(frame, f"{key}-sizes"),
        ),
        (
            "Precision-recall",
            f"Pooled pixels. {_ONE} {_FLOOR}",
            figures.precision_recall(frame, recall, f"{key}-recall"),
        ),
        (
            "FROC",
            "Boxes found over false positives an image, healthy images counted; candidates are the components above "
            f"the 5 % threshold. A curve ends at that threshold and goes on level. {_ONE} {_FLOOR}",
            figures.free_response(frame, _froc_curves(section), f"{key}-froc"),
        ),
        (
            "Dice against threshold",
            f"Pooled pixels, at the thresholds that {HEADLINE.title} is the best of (dots). {_ONE} {_FLOOR}",
            figures.dice_against_threshold(frame, _threshold_curves(section), f"{key}-thresholds"),
        ),
    ]


def _froc_curves(section: Section) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for index in section.frame.index:
        curve = (section.cell(int(index))[1].metrics or {}).get("froc_curve") or {}
        if curve.get("false_positives"):
            found[int(index)] = (curve["false_positives"], curve["sensitivity"])
    return found


def _threshold_curves(section: Section) -> dict[int, Any]:
    part = shown_cells(section.frame)
    wanted = [*part[part["kind"] != "floor"].index, *best_floor(part).index]
    curves = {int(index): dice_curve(section.cell(int(index))[1], section.runs) for index in wanted}
    return {index: curve for index, curve in curves.items() if curve is not None}


def _cases(section: Section) -> list[tuple[str, str, str | None]]:
    frame, key = section.frame, section.key
    cases: Mapping[int, Mapping[str, float]] = {
        int(index): distributions.case_dice_of(section.cell(int(index))[1])
        for index in shown_cells(frame).index
    }
    reference = distributions.reference_row(frame, cases)
    against = "" if reference is None else str(frame.loc[reference, "variant"])
    return [
        (
            "Dice of each case",
            "A dot a lesion case, at the threshold that 5 % of healthy validation pixels exceed. Stroke: mean. "
            + _FLOOR,
            distributions.case_dice(frame, cases, f"{key}-cases"),
        ),
        (
            "Paired differences",
            f"Each case's Dice less that of {against}, the best method, on the same case: up is better. Stroke: mean. "
            "`bench compare` tests such differences.".replace("`", ""),
            distributions.paired_differences(frame, cases, f"{key}-pairs"),
        ),
    ]


def _shifts(section: Section) -> list[tuple[str, str, str | None]]:
    rows = shift_rows(section)
    return [
        (
            f"Histograms under shifted {kind}",
            f"{SHIFTED} {_cases_of(rows[rows['shift'] == kind])}",
            shifts.kld_against_shift(section.frame, rows, kind, f"{section.key}-shift-{place}"),
        )
        for place, kind in enumerate(sorted(set(rows["shift"])))
    ]


def _cases_of(rows: pd.DataFrame) -> str:
    counts = sorted({int(n) for n in rows["n"] if n})
    return f"n = {'–'.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))}." if counts else ""


def _times(section: Section) -> list[tuple[str, str, str | None]]:
    frame, key = section.frame, section.key
    stages = {int(index): times.stages_of(section.cell(int(index))[1].latency) for index in frame.index}
    return [
        (
            "Time by stage",
            "Mean milliseconds an image, and the network's share.",
            times.time_by_stage(frame, stages, f"{key}-stages"),
        ),
        (
            "Time outside the network",
            "The same without the network, on its own scale.",
            times.time_outside_network(frame, stages, f"{key}-rest"),
        ),
    ]
