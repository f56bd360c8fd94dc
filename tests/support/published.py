"""The committed runs in reports/results, in the words that pages quote them in."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from method_tables import read_board

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


def pair_of(data: str, first: str, second: str, measure: str) -> tuple[pd.Series, int]:
    """The row of paired.csv, and -1 where it takes the second less the first, as rows do, else 1."""
    frame = paired(data)
    frame = frame[frame["measure"] == measure]
    for a, b, sign in ((first, second, -1), (second, first, 1)):
        for _, row in frame[(frame["a"] == a) & (frame["b"] == b)].iterrows():
            return row, sign
    raise LookupError(f"{data} has no pair {first}, {second}")


def lead(data: str, first: str, second: str, measure: str = "dice_max") -> str:
    """What the first is ahead of the second, in points, with its interval."""
    row, sign = pair_of(data, first, second, measure)
    low, high = sorted((sign * row["lo"], sign * row["hi"]))
    return f"{points(sign * row['difference'])} [{points(low)}, {points(high)}]"


def holm(data: str, first: str, second: str, measure: str = "dice_max") -> float:
    return float(pair_of(data, first, second, measure)[0]["p_holm"])


def one(data: str, method: str, **settings: Any) -> str:
    """The cell, as paired.csv names it, whose settings differ from the method's own in these and no others."""
    rows = board(data)
    rows = rows[rows["method"] == method]
    (name,) = rows.loc[[json.loads(text) == settings for text in rows["settings"]], "name"]
    return str(name)
