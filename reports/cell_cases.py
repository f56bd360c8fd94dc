"""What cells have of each case, read when it is asked for: of many large cells only those read last are in memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from uadbench.reports.atomic import RunError
from uadbench.reports.cell import CellDirectory
from uadbench.reports.lines import read_records
from uadbench.reports.schema import check_metrics

__all__ = ["HELD_BYTES", "CellCases", "Extent", "Held", "read_cell"]

HELD_BYTES = 300 * 10**6  # of their files, which takes three times as much memory: two cells of 200,000 cases
CASES, METRICS = "cases.jsonl", "metrics.json"


@dataclass(frozen=True)
class Extent:
    """Which part of a cell's files was there when it was opened, so that a run that goes on looks the same later.

    cases : bytes of cases.jsonl, which only grows; metrics : size and time of change of metrics.json, which is replaced
    """

    cases: int
    metrics: tuple[int, int]

    @property
    def size(self) -> int:
        """Bytes of both files."""
        return self.cases + self.metrics[0]


@dataclass(frozen=True)
class CellCases:
    """What a cell has of each case.

    directory : its folder, with the index of its arrays once one was read
    records : the last record of each case, in the order in which cases first appeared
    scores : "per_case" of metrics.json, {} while the cell is unfinished
    """

    directory: CellDirectory
    records: list[dict[str, Any]]
    scores: dict[str, dict[str, Any]]

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """``records`` by case id."""
        return {record["case_id"]: record for record in self.records}


class Held:
    """The cells whose cases were read last, at least one, and more while their files are within a limit in bytes."""

    def __init__(self, limit: int = HELD_BYTES) -> None:
        self._limit = limit
        self._cells: OrderedDict[tuple[Path, Extent], CellCases] = OrderedDict()

    def read(self, path: Path) -> tuple[Extent, dict[str, Any] | None, CellCases]:
        """(extent, metrics.json without its cases, cases) of a cell's folder as it is now."""
        extent = Extent(_state(path / CASES)[0], _state(path / METRICS))
        self._make_room(extent)
        metrics, cases = read_cell(path, extent)
        self._cells[path, extent] = cases
        return extent, metrics, cases

    def again(self, path: Path, extent: Extent) -> CellCases:
        """The cases of a cell that was read before; RunError where its scores were replaced since."""
        key = path, extent
        if key not in self._cells:
            if _state(path / METRICS) != extent.metrics:
                raise RunError(f"{path / METRICS}: was replaced while it was read; run the command again")
            self._make_room(extent)
            self._cells[key] = read_cell(path, extent)[1]
        self._cells.move_to_end(key)
        return self._cells[key]

    def _make_room(self, wanted: Extent) -> None:
        """Before the next is read, so that there is never more in memory than may be."""
        while self._cells and sum(extent.size for _, extent in self._cells) + wanted.size > self._limit:
            self._cells.popitem(last=False)


def read_cell(path: Path, extent: Extent) -> tuple[dict[str, Any] | None, CellCases]:
    """(metrics.json without its cases, cases) of a cell's folder; RunError for a damaged one.

    extent : of which cases.jsonl is read
    """
    directory = CellDirectory(path)
    metrics = directory.metrics
    check_metrics(path / METRICS, metrics)
    scores = metrics.pop("per_case", None) if metrics is not None else None
    return metrics, CellCases(directory, read_records(path / CASES, size=extent.cases), scores or {})


def _state(path: Path) -> tuple[int, int]:
    """(bytes, time of change in ns) of a file; zeros where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
