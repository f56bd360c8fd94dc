"""The committed runs in reports/results, in the words that pages quote them in."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from method_tables import paired_lead, read_board

from support.places import ROOT

RESULTS = ROOT / "reports" / "results"
PAPERS = ("thor", "ddpm", "anoddpm", "autoddpm", "pddpm", "cddpm")
SIZES = ("small", "medium", "large")


def board(data: str) -> pd.DataFrame:
    return read_board(RESULTS / data)


def paired(data: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / data / "paired.csv")


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def with_interval(row: pd.Series, score: str = "dice_max") -> str:
    return f"{points(row[score])} [{points(row[f'{score}_lo'])}, {points(row[f'{score}_hi'])}]"


def pair_of(
    data: str, first: str, second: str, measure: str = "dice_max"
) -> tuple[float, float, float, float]:
    """What the first is ahead of the second, its interval and Holm's p; LookupError where they were not tested."""
    found = paired_lead(RESULTS / data, first, second, measure)
    if found is None:
        raise LookupError(f"{data} has no pair {first}, {second}")
    return found


def lead(data: str, first: str, second: str, measure: str = "dice_max") -> str:
    """What the first is ahead of the second, in points, with its interval."""
    difference, low, high, _ = pair_of(data, first, second, measure)
    return f"{points(difference)} [{points(low)}, {points(high)}]"


def holm(data: str, first: str, second: str, measure: str = "dice_max") -> float:
    return pair_of(data, first, second, measure)[3]


def one(data: str, method: str, **settings: Any) -> str:
    """The cell, as paired.csv names it, whose settings differ from the method's own in these and no others."""
    rows = board(data)
    rows = rows[rows["method"] == method]
    (name,) = rows.loc[[json.loads(text) == settings for text in rows["settings"]], "name"]
    return str(name)
