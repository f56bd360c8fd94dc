"""Which cells the plots and the case browser show, and how each looks: colour by method, dash and fill by variant."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import pandas as pd

from uadbench.reports.identity import REFERENCE, arm_of
from uadbench.reports.page.svg import MUTED, series_colour
from uadbench.reports.truth import headline_of

__all__ = ["FLOOR", "METHOD_COLOURS", "Look", "best_floor", "colour_of", "looks", "shown_cells"]

METHOD_COLOURS = {
    "anoddpm": 0,
    "autoddpm": 1,
    "cddpm": 2,
    "ddpm": 3,
    "pddpm": 4,
    "thor": 5,
    "reflect": 6,
    "vae": 7,
    "one-step": 8,
    "dae": 9,
    "disyre": 10,
    "mend": 11,
}
"""Numbers of the style sheet's colours: a method looks the same on every page, whatever stands beside it."""
_OTHERS = range(12, 16)  # for plug-ins, by a hash of the name

DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
FILLS = ("full", "none", "left", "bottom", "right", "top")


@dataclass(frozen=True)
class Look:
    """Of a variant in plots: dash (of lines) and fill (of markers) tell variants of one colour apart."""

    colour: str
    dash: Any = "-"
    fill: Any = "full"


FLOOR = Look(MUTED, (0, (5, 3)))
"""Of the best floor, which stands beside the methods for comparison."""


def colour_of(method: str) -> int:
    """The number of a method's colour; depends on its name only."""
    return METHOD_COLOURS.get(method, _OTHERS[zlib.crc32(method.encode()) % len(_OTHERS)])


def looks(frame: pd.DataFrame) -> dict[str, Look]:
    """The look of each method variant of a section, by label; the first of a colour, by name, is solid and filled."""
    methods = frame[frame["kind"] != "floor"].drop_duplicates("variant").sort_values("variant")
    found: dict[str, Look] = {}
    seen: dict[int, int] = {}
    for _, row in methods.iterrows():
        number = colour_of(row["method"])
        place = seen[number] = seen.get(number, -1) + 1
        found[row["variant"]] = Look(
            series_colour(number), DASHES[place % len(DASHES)], FILLS[place % len(FILLS)]
        )
    return found


def shown_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """One cell a variant and run that applies: the reference arm where it is scored, else the best; floors all."""
    part = frame[frame["not_applicable"] == ""]
    order = part.assign(
        _missing=part[headline_of(frame).name].isna(),
        _other=[arm_of(row) != REFERENCE for _, row in part.iterrows()],
    )
    order = order.sort_values(["_missing", "_other"], kind="stable")
    return frame.loc[sorted(order.drop_duplicates(["variant", "run"]).index)]


def best_floor(frame: pd.DataFrame) -> pd.DataFrame:
    """The floor with the best headline score as a frame of one row, empty where no floor is scored."""
    headline = headline_of(frame)
    scored = frame[(frame["kind"] == "floor") & frame[headline.name].notna()]
    return scored.loc[(headline.better * scored[headline.name]).sort_values(ascending=False).index[:1]]
