"""A run and its cells as read from their directory, for tables, comparisons and parity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.reports.atomic import RunError, read_json
from uadbench.reports.cell_cases import CellCases, Extent, Held
from uadbench.reports.schema import (
    check_cell,
    check_latency,
    check_manifest,
    check_paired,
    check_parity,
)
from uadbench.reports.store import SCHEMA, CellDirectory, RunDirectory

__all__ = ["Cell", "Held", "Run", "load_run", "on_validation", "split_of"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One cell of a run, read. What it has of each case is read again where it is no longer in memory.

    info : cell.json
    metrics, latency : metrics.json, without its cases, and latency.json; None while the cell is unfinished
    n_cases : how many cases it has a record of
    batch_size : the usual one, the largest seen, since only a run's last batch is smaller; None where none is known
    nfe : mean network calls of its cases that are ok, None without any
    """

    directory: CellDirectory
    info: dict[str, Any]
    metrics: dict[str, Any] | None
    latency: dict[str, Any] | None
    n_cases: int
    batch_size: int | None
    nfe: float | None
    extent: Extent = field(repr=False)
    held: Held = field(repr=False)

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return self.directory.path.name

    @property
    def cases(self) -> list[dict[str, Any]]:
        """The last record of each case, in the order in which cases first appeared."""
        return self._each.records

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Case id -> its figures, "per_case" of metrics.json; {} while the cell is unfinished."""
        return self._each.scores

    @property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """``cases`` by case id."""
        return self._each.by_id

    @property
    def _each(self) -> CellCases:
        return self.held.again(self.directory.path, self.extent)

    def arrays(self, case_id: str) -> tuple[Image, Image]:
        """(anomaly [H, W], reconstruction [H, W]) of a case; RunError where they are not those of its record."""
        each = self._each
        return each.directory.read_arrays(case_id, each.by_id.get(case_id, {}).get("arrays_sha256"))


@dataclass(frozen=True)
class Run:
    """A run directory, read. ``parity`` and ``paired`` are parity.json and paired.json or None."""

    directory: RunDirectory
    manifest: dict[str, Any]
    cells: tuple[Cell, ...]
    parity: dict[str, Any] | None
    paired: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.directory.path


def on_validation(run: Run) -> bool:
    """Whether the run scored validation cases in place of test cases."""
    return (run.manifest.get("dataset") or {}).get("split") == "val"


def split_of(run: Run, record: Mapping[str, Any]) -> dict[str, Any]:
    """ "split", that of the data set, and "scored", of a case's record, whose "test" is the role: it is scored."""
    role = record.get("split")
    return {"split": "val" if on_validation(run) else role, "scored": role == "test"}


def load_run(path: Path, held: Held | None = None) -> Run:
    """Read a run directory; RunError with one clear line if it is none.

    held : shared by runs that are used together, so that their cases keep within one limit of memory
    """
    held = Held() if held is None else held
    directory = RunDirectory(Path(path))
    if not directory.path.is_dir():
        raise RunError(f"{path}: no such folder; give a run directory, such as `bench run` makes under runs/")
    if not directory.has_manifest:
        raise RunError(f"{path}: holds no manifest.json, so it is not a run directory")
    manifest = directory.read_manifest()
    if isinstance(shard := manifest.get("shard"), dict):
        raise RunError(
            f"{path}: is shard {shard.get('label')} of a run, which is scored as a whole only; put its shards together "
            "by `bench merge SHARD... --output DIR`"
        )
    listed = manifest.get("cells")
    if not isinstance(listed, list) or not all(isinstance(slug, str) for slug in listed):
        raise RunError(f"{directory.path / 'manifest.json'}: has no list of cells, so it is no run's")
    if (schema := manifest.get("schema", 1)) != SCHEMA:
        raise RunError(
            f"{path}: was written by another version (schema {schema}, this one reads {SCHEMA}); run it again"
        )
    check_manifest(directory.path / "manifest.json", manifest)
    parity = directory.parity
    check_parity(directory.path / "parity.json", parity)
    paired = directory.paired
    check_paired(directory.path / "paired.json", paired)
    begun = [cell for cell in map(directory.cell, listed) if (cell.path / "cell.json").is_file()]
    cells = tuple(_load_cell(cell, held) for cell in begun)
    return Run(directory, manifest, cells, parity, paired)


def _load_cell(directory: CellDirectory, held: Held) -> Cell:
    info, latency = read_json(directory.path / "cell.json"), directory.latency
    check_cell(directory.path / "cell.json", info)
    extent, metrics, each = held.read(directory.path)
    check_latency(directory.path / "latency.json", latency)
    sizes = (case["batch_size"] for case in each.records if case.get("batch_size"))
    calls = [
        case["nfe"] for case in each.records if case.get("status") == "ok" and case.get("nfe") is not None
    ]
    return Cell(
        directory,
        info,
        metrics,
        latency,
        len(each.records),
        max(sizes, default=None),
        sum(calls) / len(calls) if calls else None,
        extent,
        held,
    )
