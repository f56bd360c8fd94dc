"""Small run directories whose differences are known, for the tests of ``bench compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.runs import Run, load_run
from uadbench.reports.store import RunDirectory

N = 24
SIDE = 40
PIXELS = (60, 200, 700)  # one lesion of each size group
THRESHOLD = 0.5


@dataclass(frozen=True)
class Made:
    """A cell in which case i has dice[i], latency[i] (its batch's share) and a map whose lesion is ``signal`` brighter.

    failed : cases that it did not finish; ids : those that it tried
    """

    method: str = "thor"
    noise: str = "gaussian"
    steps: str = "25"
    backend: str = "torch"
    precision: str = "fp32"
    kind: str = "method"
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    signal: float = 0.2
    dice: Sequence[float | None] | np.ndarray | None = None
    latency: Sequence[float] | np.ndarray | None = None
    batch: int = 1
    load: float = 0.5
    streams: int = 1
    failed: Sequence[int] = ()
    ids: Sequence[int] = range(N)
    not_applicable: str = ""
    post: str = "none"
    operating: dict[str, Any] = field(default_factory=dict)

    @property
    def info(self) -> dict[str, Any]:
        """cell.json."""
        names = (
            "method",
            "noise",
            "steps",
            "backend",
            "precision",
            "kind",
            "seed",
            "settings",
            "not_applicable",
            "post",
            "operating",
        )
        hyperparameters = {"steps": self.steps, "window": 13, **self.settings}
        return {name: getattr(self, name) for name in names} | {
            "title": self.method.upper(),
            "hyperparameters": hyperparameters,
        }

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return f"{variant_of(self.info).slug}-{arm_of(self.info).slug}"


FLOOR = Made("blur", "none", "-", kind="floor", signal=0.05)


def values(seed: int = 0) -> np.ndarray:
    """Dice of the cases."""
    return 0.3 + 0.2 * np.random.default_rng(seed).random(N)


def write_run(path: Path, *cells: Made, **manifest: Any) -> Path:
    """A run with these cells, 2 cases a subject, and one validation case that must stay out."""
    run = RunDirectory(path)
    with patch("os.fsync"):
        for i in range(N):
            run.write_input(f"c{i:02}", np.zeros((SIDE, SIDE), np.float32), _mask(i))
        made = cells or (Made(),)
        usual = {
            "run_id": path.name,
            "cells": [cell.slug for cell in made],
            "dataset": {"name": "phantom", "fingerprint": "f"},
            "environment": {"threads": 1},
        }
        run.write_manifest(usual | manifest)
        for cell in made:
            _write_cell(run, cell)
    return path


def read(*paths: Path) -> list[Run]:
    """The runs."""
    return [load_run(path) for path in paths]


def _mask(i: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask.flat[: PIXELS[i % 3]] = True
    return mask


def _write_cell(run: RunDirectory, cell: Made) -> None:
    folder = run.cell(cell.slug)
    folder.write_info(cell.info)
    if cell.not_applicable:
        return
    dice = values() if cell.dice is None else cell.dice
    latency = 100 + np.random.default_rng(1).random(N) if cell.latency is None else cell.latency
    for i in cell.ids:
        record = _record(i, float(latency[i]), cell)
        if i not in cell.failed:
            noise = np.random.default_rng(i).random((SIDE, SIDE)) * 0.7
            arrays = noise + cell.signal * _mask(i), np.zeros((SIDE, SIDE))
            record["arrays_sha256"] = folder.write_arrays(record["case_id"], *arrays)
        folder.append_case(record)
    folder.append_case(
        {"case_id": "v0", "subject": "v0", "split": "val", "status": "ok", "latency_ms": 9e9, "batch_size": 1}
    )
    per_case = {f"c{i:02}": {"dice": None if dice[i] is None else float(dice[i])} for i in cell.ids}
    metrics = {"n_cases": N, "per_case": per_case, "dice_max": {"value": cell.signal}}
    metrics["dice_healthy_fpr5"] = {"threshold": THRESHOLD}
    folder.write_summary(metrics, {"n": N, "load_max": cell.load})


def _record(i: int, latency: float, cell: Made) -> dict[str, Any]:
    return {
        "case_id": f"c{i:02}",
        "subject": f"s{i // 2}",
        "split": "test",
        "lesion": True,
        "status": "failed" if i in cell.failed else "ok",
        "reason": "out of memory" if i in cell.failed else None,
        "latency_ms": latency,
        "stages_ms": {"network": latency / 2 if cell.kind == "method" else 0.0},
        "batch_size": cell.batch,
        "first_call": False,
        "load": cell.load,
        **({"streams": cell.streams} if cell.streams > 1 else {}),
        "metrics": {},
    }
