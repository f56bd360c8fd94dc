"""The curves of a sweep: a list of values is a point of its own, and its name is broken at commas."""

from __future__ import annotations

import re

import pandas as pd

from uadbench.reports.page.sweeps import curves

ROWS = pd.DataFrame(
    {
        "method": "cddpm",
        "arm": "openvino bf16",
        "variant": "cDDPM",
        "kind": "method",
        "t_test": ["100", "200", "900", "250,500,750"],
        "dice_max": [0.4, 0.3, 0.1, 0.2],
    }
)
FLOORS = ROWS.iloc[:0]


def lines_of(svg: str) -> list[int]:
    """How many points each line of a curve joins."""
    paths = re.findall(
        r'<path d="([^"]*)"[^>]*stroke-width: 1\.6|<path d="([^"]*)"[^>]*style="[^"]*1\.6', svg
    )
    return [len(re.findall("[ML]", a or b)) for a, b in paths]


def test_a_list_is_joined_to_no_number_and_broken_at_its_commas() -> None:
    svg = curves(ROWS, ["t_test"], "t_test", "dice_max", "Max Dice, %", FLOORS, "x")
    assert svg is not None
    assert 3 in lines_of(svg)
    assert 4 not in lines_of(svg)
    assert "250,500,750" not in svg
    assert all(f">{text}<" in svg for text in ("250,", "500,", "750"))


def test_numbers_alone_are_joined() -> None:
    svg = curves(ROWS.iloc[:3], ["t_test"], "t_test", "dice_max", "Max Dice, %", FLOORS, "x")
    assert svg is not None
    assert 3 in lines_of(svg)
