"""The Pareto front of accuracy against time: rows than which no other is both better and faster."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from uadbench.reports.clocks import Clock
from uadbench.reports.truth import headline_of, headline_values

__all__ = ["FRONT", "front", "front_note", "with_front"]

FRONT = (
    "On the Pareto front no other row has the score at least as high in at most as much time and is better in "
    "one of the two; floors count. Held against each other are rows of one machine, with as many threads and batches "
    "of one size, whose times were taken without other load. Intervals are not looked at."
)


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Which (score, ms) no other point beats: at least as high and at most as slow, and not the same in both.

    Equal points are on it together; a point with a value missing (NaN) is not on it and beats none.
    """
    known = [point for point in points if not any(map(math.isnan, point))]

    def beaten(score: float, ms: float) -> bool:
        return any(high >= score and fast <= ms and (high, fast) != (score, ms) for high, fast in known)

    return [not any(map(math.isnan, point)) and not beaten(*point) for point in points]


def with_front(frame: pd.DataFrame, clocks: Sequence[Clock]) -> pd.DataFrame:
    """The frame with "pareto" filled ("yes", "no", "" where it cannot be said) and "pareto_note" with why not.

    clocks : of each row, in the frame's order; rows of other data or another machine have fronts of their own
    """
    scores = headline_values(frame)  # all are better where they are higher
    notes = [
        clock.fault or ("" if score == score and ms == ms else "not scored or not timed")
        for clock, score, ms in zip(clocks, scores, frame["latency_ms_p50"], strict=True)
    ]
    said = pd.Series("", index=frame.index, dtype=object)
    keys = [frame["dataset"], frame["fingerprint"], pd.Series([c.machine for c in clocks], index=frame.index)]
    usable = frame[[not note for note in notes]]
    for _, part in usable.groupby([key[usable.index] for key in keys]):
        points = list(zip(scores[part.index], part["latency_ms_p50"], strict=True))
        said[part.index] = ["yes" if on else "no" for on in front(points)]
    return frame.assign(pareto=said, pareto_note=notes)


def front_note(frame: pd.DataFrame) -> str:
    """Which of a section's rows are on the front, and why others were not judged; no full stop."""
    on = frame[frame["pareto"] == "yes"].sort_values("latency_ms_p50")
    names = ", ".join(f"{row['variant']} ({row['arm']})" for _, row in on.iterrows())
    parts = [
        f"On the Pareto front of {headline_of(frame).title} against ms/image: {names}"
        if names
        else "No Pareto front"
    ]
    for note, rows in frame[frame["pareto_note"] != ""].groupby("pareto_note", sort=True):
        where = "all rows" if len(rows) == len(frame) else ", ".join(rows["cell"])
        parts.append(f"not judged, {note}: {where}")
    return "; ".join(parts)
