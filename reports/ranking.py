"""What may be said of rows: which are best, which the intervals do not separate from it, which lose to a floor."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from uadbench.reports.vocabulary import HEADLINE, MEASURES, RANKED

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
        better = MEASURES[score].better
        values = (better * frame[score]).dropna()
        if len(values) < 2:
            continue
        top = values.idxmax()
        best |= {(index, score) for index in values.index if values[index] == values[top]}
        # Turned so that more is better, each interval's end towards better, and the best row's other end.
        towards = better * frame.loc[values.index, f"{score}_{'hi' if better > 0 else 'lo'}"]
        least = better * frame.loc[top, f"{score}_{'lo' if better > 0 else 'hi'}"]
        ties |= {
            (index, score) for index in values.index if towards[index] >= least and (index, score) not in best
        }
    return Marks(frozenset(best), frozenset(ties), _below(frame))


def _below(frame: pd.DataFrame) -> dict[int, str]:
    """Methods that are worse than the best floor by the headline score, and that floor in words."""
    value = HEADLINE.better * frame[HEADLINE.name]
    floors = value[frame["kind"] == "floor"].dropna()
    if floors.empty:
        return {}
    floor = frame.loc[floors.idxmax()]
    text = f"below the floor {floor['method']} ({HEADLINE.text(floor[HEADLINE.name])})"
    lower = frame[(frame["kind"] != "floor") & (value < floors.max())]
    return dict.fromkeys(lower.index, text)
