"""What may be said of rows: best, tied, below a floor."""

from __future__ import annotations

import pandas as pd

from uadbench.reports.ranking import marks
from uadbench.reports.vocabulary import RANKED


def small_frame(entries: list[tuple[str, float, float, float]]) -> pd.DataFrame:
    """(kind, value, low, high) rows with the same figures for every score."""
    frame = pd.DataFrame(
        [{"kind": kind, "method": f"m{number}"} for number, (kind, *_) in enumerate(entries)]
    )
    for score in RANKED:
        for place, suffix in enumerate(("", "_lo", "_hi")):
            frame[f"{score}{suffix}"] = [entry[1 + place] for entry in entries]
    return frame


def test_ties_are_rows_whose_interval_reaches_the_best_rows() -> None:
    """Best 0.50 [0.45, 0.55]: an interval up to 0.45 ties, one up to 0.449 does not, the best is no tie."""
    frame = small_frame(
        [("method", 0.50, 0.45, 0.55), ("method", 0.4, 0.35, 0.45), ("method", 0.4, 0.35, 0.449)]
    )
    found = marks(frame)
    assert {index for index, score in found.best if score == "auprc"} == {0}
    assert {index for index, score in found.ties if score == "auprc"} == {1}


def test_without_intervals_only_equal_values_share_the_first_place() -> None:
    """Missing intervals make no ties."""
    nan = float("nan")
    found = marks(
        small_frame([("method", 0.5, nan, nan), ("method", 0.5, nan, nan), ("method", 0.49, nan, nan)])
    )
    assert {index for index, score in found.best if score == "dice_max"} == {0, 1}
    assert not found.ties


def test_a_method_under_the_best_floor_is_marked_even_when_intervals_overlap() -> None:
    """Only methods are marked, and against the best floor, not any floor."""
    entries = [
        ("method", 0.31, 0.2, 0.4),
        ("method", 0.29, 0.2, 0.4),
        ("floor", 0.30, 0.0, 1.0),
        ("floor", 0.1, 0.0, 1.0),
    ]
    found = marks(small_frame(entries))
    assert found.below == {1: "below the floor m2 (30.0)"}


def test_without_a_floor_that_ran_nothing_is_said_of_floors() -> None:
    """A floor without scores (it was not applicable, or every case failed) is not below any method."""
    nan = float("nan")
    found = marks(small_frame([("method", 0.31, 0.2, 0.4), ("floor", nan, nan, nan)]))
    assert found.below == {}
    assert marks(small_frame([("method", 0.31, 0.2, 0.4)])).below == {}
