"""What may be said of rows: which are best, which the intervals do not separate from it, which lose to a floor."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from uadbench.reports.vocabulary import RANKED

__all__ = ["TIES", "Marks", "marks"]

TIES = (
    "Bold: the best value of its column. ≈: the row's 95 % interval overlaps the best row's, so this table does not "
    "separate the two. That is cautious: overlapping intervals do not prove equality, and a paired comparison "
    "(`bench compare`) can still tell them apart."
)


@dataclass(frozen=True)
class Marks:
    """What may be said of rows: (row, score) pairs that are best or tie with the best; rows below the best floor."""

    best: frozenset[tuple[int, str]]
    ties: frozenset[tuple[int, str]]
    below: dict[int, str]


def marks(frame: pd.DataFrame) -> Marks:
    """Best and tied values among one section's rows, floors included, and the methods below the best floor.

    A tie is an interval that overlaps the best row's interval; without intervals only equal values tie. A method is
    below the floor when its pooled max Dice is less than the best floor's, whatever the intervals.
    """
    best: set[tuple[int, str]] = set()
    ties: set[tuple[int, str]] = set()
    for score in RANKED:
        values = frame[score].dropna()
        if len(values) < 2:
            continue
        top = values.idxmax()
        best |= {(index, score) for index in values.index if values[index] == values[top]}
        low = frame.loc[top, f"{score}_lo"]
        high = frame.loc[values.index, f"{score}_hi"]
        ties |= {
            (index, score) for index in values.index if high[index] >= low and (index, score) not in best
        }
    floors = frame[(frame["kind"] == "floor") & frame["dice_max"].notna()]
    if floors.empty:
        return Marks(frozenset(best), frozenset(ties), {})
    floor = floors.loc[floors["dice_max"].idxmax()]
    text = f"below the floor {floor['method']} ({floor['dice_max'] * 100:.1f})"
    lower = frame[(frame["kind"] != "floor") & (frame["dice_max"] < floor["dice_max"])]
    return Marks(frozenset(best), frozenset(ties), dict.fromkeys(lower.index, text))
