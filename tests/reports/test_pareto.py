"""A row is on the front where no other is both better and faster, and only like times are held against each other."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from uadbench.reports.clocks import Clock
from uadbench.reports.pareto import front, front_note, with_front

NAN = math.nan


@pytest.mark.parametrize(
    ("points", "on"),
    [
        pytest.param([(0.5, 10.0)], [True], id="alone"),
        pytest.param([(0.5, 10.0), (0.6, 20.0), (0.4, 5.0)], [True] * 3, id="each better in one"),
        pytest.param([(0.5, 10.0), (0.6, 9.0)], [False, True], id="better in both"),
        pytest.param([(0.5, 10.0), (0.5, 20.0)], [True, False], id="as good but slower"),
        pytest.param([(0.5, 10.0), (0.6, 10.0)], [False, True], id="as fast but better"),
        pytest.param(
            [(0.5, 10.0), (0.5, 10.0), (0.4, 11.0)], [True, True, False], id="equals stand together"
        ),
        pytest.param([(NAN, 1.0), (0.9, NAN), (0.5, 10.0)], [False, False, True], id="missing beats none"),
        pytest.param([], [], id="none"),
    ],
)
def test_the_front_of_a_few_points(points: list[tuple[float, float]], on: list[bool]) -> None:
    assert front(points) == on


def rows(*values: tuple[float, float]) -> pd.DataFrame:
    names = [f"m{place}" for place in range(len(values))]
    frame = pd.DataFrame({"dice_max": [v[0] for v in values], "latency_ms_p50": [v[1] for v in values]})
    return frame.assign(dataset="d", fingerprint="f", variant=names, arm="torch fp32", cell=names)


def test_rows_of_another_machine_do_not_beat_and_a_loaded_one_is_not_judged() -> None:
    clocks = [
        Clock("a"),
        Clock("b"),
        Clock("a", "timed while something else was running (load 9.0)"),
        Clock("a"),
    ]
    found = with_front(rows((0.5, 10.0), (0.6, 1.0), (0.9, 0.5), (0.4, 20.0)), clocks)
    assert list(found["pareto"]) == ["yes", "yes", "", "no"]
    assert list(found["pareto_note"]) == ["", "", clocks[2].fault, ""]


def test_rows_of_other_data_do_not_beat() -> None:
    frame = rows((0.5, 10.0), (0.6, 1.0))
    frame["dataset"] = ["d", "e"]
    assert list(with_front(frame, [Clock("a")] * 2)["pareto"]) == ["yes", "yes"]


def test_a_row_without_score_or_time_is_not_judged_and_the_note_says_so() -> None:
    found = with_front(rows((NAN, 10.0), (0.5, NAN), (0.5, 3.0)), [Clock("a")] * 3)
    assert list(found["pareto"]) == ["", "", "yes"]
    note = front_note(found)
    assert note.startswith("On the Pareto front of Max Dice against ms/image: m2 (torch fp32)")
    assert "not scored or not timed: m0, m1" in note
    assert front_note(found[:2]) == "No Pareto front; not judged, not scored or not timed: all rows"
