"""A profile as one self-contained HTML page: no network, no script, same input same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uadbench.reports import profile as words
from uadbench.reports.page.profile_plots import latency_by_batch, roofline, stage_bars
from uadbench.reports.page.templating import render

__all__ = ["profile_page", "profile_parts"]


def profile_page(profile: Mapping[str, Any]) -> str:
    """The page of a profile.json; everything that comes from it is escaped."""
    return render("profile.html", profile=profile_parts(profile))


def profile_parts(profile: Mapping[str, Any]) -> dict[str, Any]:
    """What templates show of a profile.json, on its own page and on a leaderboard's; nothing escaped yet."""
    plots = (
        (
            "Roofline",
            "GFLOP/s over FLOP a byte, a mark an arm and batch. Lines: what torch reached here, its copy and the "
            "better of its matrix product and convolution. Bytes are counted without fusion, so a back end that "
            "fuses lies further right than drawn.",
            roofline(profile, "roofline"),
        ),
        (
            "Milliseconds an image by batch",
            "Median of one network call over its batch; strokes: 25th to 75th percentile of the calls.",
            latency_by_batch(profile, "batches"),
        ),
        (
            "Time by stage",
            "Mean milliseconds an image of whole methods.",
            stage_bars(profile, "stages"),
        ),
    )
    return {
        "heads": words.HEADS,
        "rows": [
            {"cells": cells, "doubtful": words.doubtful(row)}
            for row, cells in zip(profile["rows"], words.table_rows(profile), strict=True)
        ],
        "notes": words.notes(profile),
        "banner": words.banner(profile),
        "plots": [{"title": title, "note": note, "svg": svg} for title, note, svg in plots if svg],
        "ceilings": words.ceiling_lines(profile),
        "measured": [*words.NOTES, ("Stability", profile["stability_rule"])],
        "machine": words.machine_lines(profile),
        "summary": words.summary(profile),
    }
