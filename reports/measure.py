"""The record of a measure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Measure"]


@dataclass(frozen=True)
class Measure:
    """A score of a cell.

    name : its key in metrics.json, where it stands as {"value", "lo", "hi"}; its column in leaderboard.csv
    title, short : heads of columns, for the page and for a terminal
    about : one sentence that an expert would sign
    better : +1 where higher is better, -1 where lower is
    unit : "%" (a fraction, printed as percent), "dB", "mm" or ""
    digits : printed after the point
    place : "table" (every table), "further" (a second table of the page and the CSV), "volumes" (the table by volume)
    ranked : whether methods are ranked by it
    optional : of cells with post-processing only; left out of files and tables where no cell has it
    truth : what a data set's truth must be for it, "mask" or "boxes"; "any" where it does not matter
    volumes : of whole volumes only; left out of files and tables where no cell has it
    """

    name: str
    title: str
    short: str
    about: str
    better: int = +1
    unit: str = "%"
    digits: int = 1
    place: str = "table"
    ranked: bool = True
    optional: bool = False
    truth: str = "mask"
    volumes: bool = False

    def applies_to(self, truth: str) -> bool:
        """Whether data sets with this truth, "mask" or "boxes", have it."""
        return self.truth in (truth, "any")

    @property
    def factor(self) -> float:
        """From the stored value to the printed one."""
        return 100.0 if self.unit == "%" else 1.0

    def text(self, value: float) -> str:
        """A value as it is printed, without its unit."""
        return f"{value * self.factor:.{self.digits}f}"
