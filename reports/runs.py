"""A run and its cells as read from their directory, for tables, comparisons and parity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.reports.atomic import RunError, read_json
from uadbench.reports.schema import (
    check_cell,
    check_latency,
    check_manifest,
    check_metrics,
    check_paired,
    check_parity,
)
from uadbench.reports.store import SCHEMA, CellDirectory, RunDirectory

__all__ = ["Cell", "Run", "load_run", "on_validation", "split_of"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Cell:
    """One cell of a run, read.

    info : cell.json
    cases : the last record of each case, in the order in which cases first appeared
    metrics, latency : metrics.json and latency.json, None while the cell is unfinished
    """

    directory: CellDirectory
    info: dict[str, Any]
    cases: list[dict[str, Any]]
    metrics: dict[str, Any] | None
    latency: dict[str, Any] | None

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return self.directory.path.name

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """``cases`` by case id."""
        return {case["case_id"]: case for case in self.cases}

    def arrays(self, case_id: str) -> tuple[Image, Image]:
        """(anomaly [H, W], reconstruction [H, W]) of a case; RunError where they are not those of its record."""
        return self.directory.read_arrays(case_id, self.by_id.get(case_id, {}).get("arrays_sha256"))


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


def load_run(path: Path) -> Run:
    """Read a run directory; RunError with one clear line if it is none."""
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
    return Run(directory, manifest, tuple(map(_load_cell, begun)), parity, paired)


def _load_cell(directory: CellDirectory) -> Cell:
    info, metrics, latency = read_json(directory.path / "cell.json"), directory.metrics, directory.latency
    check_cell(directory.path / "cell.json", info)
    check_metrics(directory.path / "metrics.json", metrics)
    check_latency(directory.path / "latency.json", latency)
    return Cell(directory, info, directory.read_cases(), metrics, latency)
