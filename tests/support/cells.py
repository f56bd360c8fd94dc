"""A run on 24 x 24 pixels: a data set made of arithmetic, cells whose network is a closed form, and their work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from support.closed_form import AbsolutePerceptual, GaussianDenoiser
from support.stored import stored
from uadbench.bench.plan.config import RunConfig
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan, choose_cases
from uadbench.bench.plan.walk import walk
from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.run.evaluate import Bench, NoNetwork
from uadbench.bench.run.executors import Stream
from uadbench.bench.run.inputs import healthy_median
from uadbench.bench.run.run import _applicable, _compute, _score, _Work
from uadbench.bench.run.session import Session
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Case, CaseError, Dataset, Sample
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.methods.floors import Blur, ResidualMedian
from uadbench.engine.schedule import linear_schedule
from uadbench.reports.identity import Arm, Variant
from uadbench.reports.store import CellDirectory, RunDirectory

SIZE = 24
SCHEDULE = linear_schedule()
NETWORK = NetworkFile("unet-gaussian", Path("unet-gaussian.safetensors"), {"sha256": "0" * 64}, SCHEDULE)


class Recording(GaussianDenoiser):
    """The optimal denoiser for pixels that are N(0, 0.25), and a record of the batches it saw."""

    def __init__(self, name: str = "torch", log: list[tuple[str, int]] | None = None) -> None:
        super().__init__(SCHEDULE, 0.0, 0.5)
        self.name = name  # type: ignore[misc]
        self.log: list[tuple[str, int]] = [] if log is None else log

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.log.append((self.name, len(x_t)))
        return super().denoise(x_t, t, cond)


class Breaking(Recording):
    """Raises at its first calls."""

    def __init__(self, calls: float, error: BaseException | None = None) -> None:
        super().__init__()
        self.left, self.error = calls, error or RuntimeError("out of memory\nat line 3")

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return super().denoise(x_t, t)


@dataclasses.dataclass(frozen=True)
class Fault:
    """Answers as asked: a method that raises, or gives what no method may give, for images marked in a corner."""

    kind: str = "raise"

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        marked = x[:, :, :1, :1] > 0.99
        if self.kind == "raise" and bool(marked.any()):
            raise RuntimeError("cannot do this one\nsecond line")
        if self.kind == "shape":
            return Result(x[..., :4], x)
        bad = {"raise": 0.0, "nan": float("nan"), "negative": -1.0}[self.kind]
        return Result(torch.where(marked, torch.full_like(x, bad), x.abs()), x)


def make_dataset(bad: tuple[str, ...] = (), marked: tuple[str, ...] = (), train: int = 3) -> Dataset:
    """7 test cases (4 with a lesion), 3 healthy and 1 lesion validation cases.

    bad : ids of the cases that cannot be read; marked : of those whose corner is white
    """
    cases = [Case(f"train{i}", f"t{i}", "train", False) for i in range(train)]
    cases += [Case(f"val{i}", f"v{i}", "val", i == 3) for i in range(4)]
    cases += [Case(f"case{i}", f"s{i}", "test", i < 4) for i in range(7)]

    def load(case: Case) -> Sample:
        if case.case_id in bad:
            raise CaseError(f"{case.case_id}.png: is empty; copy it again")
        rng = np.random.default_rng([ord(c) for c in case.case_id])
        image = (0.3 + 0.2 * rng.random((SIZE, SIZE))).astype(np.float32)
        mask = np.zeros((SIZE, SIZE), bool)
        if case.lesion:
            mask[5:12, 5:12] = True
            image[mask] += 0.4
        if case.case_id in marked:
            image[0, 0] = 1.0
        return Sample(case, image, mask)

    return Dataset(
        "fake", "Fake", "T1w", 1, tuple(cases), load, lambda case: load(case).image, fingerprint="f"
    )


def method_cell(method: Any = None, arm: Arm = Arm(), **variant: Any) -> Cell:  # noqa: B008
    """DDPM in 3 steps, or another method, as a cell; further arguments change its variant."""
    method = method or DDPM(t_start=100, steps=3)
    fields = {"noise": "gaussian", "steps": "3", **variant}
    return Cell(Variant("ddpm", "DDPM", **fields), arm, method, {"denoiser": NETWORK}, walk(method, SCHEDULE))


def floor_cell(name: str, method: Any, needs_median: bool = False) -> Cell:
    """A floor as a cell."""
    return Cell(Variant(name, name, floor=True), Arm(), method, {}, walk(method, SCHEDULE), needs_median)


BLUR = floor_cell("blur", Blur())
MEDIAN = floor_cell("residual-median", ResidualMedian(), needs_median=True)
SLUG = method_cell().slug


def make_bench(stop: Callable[[], None] = lambda: None, median: Tensor | None = None) -> Bench:
    """What cells share, with the absolute difference as the perceptual net."""
    return Bench(1.0, {"absolute": AbsolutePerceptual()}, 1, median, stop)


def make_work(
    path: Path,
    cells: tuple[Cell, ...] = (BLUR, method_cell()),
    dataset: Dataset | None = None,
    networks: Mapping[str, Any] | None = None,
    stop: Callable[[], None] = lambda: None,
    streams: Sequence[Stream] = (),
) -> _Work:
    """An execution in batches of 4 on the run directory ``path``.

    networks : cell slug -> its denoiser, where it is not the closed form
    streams : that batches are computed on, where not one after the other
    """
    dataset = dataset or make_dataset()
    config = RunConfig(batch_size=4, n_boot=20)
    plan = Plan(config, cells, dataset, choose_cases(dataset, 16), 1)
    run = RunDirectory(path)
    manifest = {"run_id": "fake", "cells": [cell.slug for cell in cells], "sessions": [], "finished": None}
    run.write_manifest(manifest)
    healthy = healthy_median(run, dataset)
    opened = {cell.slug: Recording() if cell.networks else NoNetwork() for cell in cells}
    bench = make_bench(stop, healthy.median)
    session = Session(plan, dict(bench.perceptuals), manifest, path)  # type: ignore[arg-type]
    denoisers = {**opened, **(networks or {})}
    return _Work(session, run, manifest, denoisers, bench, healthy, Stopwatch(keep=frozenset()), streams)


def compute(path: Path, *arguments: Any, **named: Any) -> None:
    """Take up the run directory ``path`` and compute what is missing; arguments as for ``make_work``."""
    work = make_work(path, *arguments, **named)
    for cell in work.plan.cells:
        cell_of(path, cell.slug).repair_cases()
    _compute(work, _applicable(work), lambda slug, cases: None)


def score(path: Path, *arguments: Any, **named: Any) -> None:
    """Write the summaries that are missing."""
    _score(make_work(path, *arguments, **named))


def cell_of(path: Path, slug: str = SLUG) -> CellDirectory:
    """A cell's folder in a run's."""
    return RunDirectory(path).cell(slug)


def records(path: Path, slug: str = SLUG) -> dict[str, dict[str, Any]]:
    """Case id -> its record, in the order in which cases first appeared."""
    return {record["case_id"]: record for record in cell_of(path, slug).read_cases()}


def results(path: Path, slug: str = SLUG) -> dict[str, Any]:
    """All that must not hang on interruptions: bytes of arrays and inputs, records less their times."""
    timed = ("latency_ms", "network_call_ms", "stages_ms", "load", "peak_memory_mib", "first_call")
    timed += ("streams", "wave", "wave_ms")
    kept = [{k: v for k, v in record.items() if k not in timed} for record in records(path, slug).values()]
    return {
        "records": sorted(kept, key=lambda record: record["case_id"]),
        "arrays": stored(path / "cells" / slug / "arrays"),
        "inputs": stored(path / "inputs"),
    }
