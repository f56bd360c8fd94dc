"""Runs the cells of a run: batch by batch, each case kept as soon as its batch is done, only what is missing.

Cells of one method (its back ends and precisions) take turns batch by batch, so that whatever else happens on the
machine hits them all alike.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import torch

from uadbench.bench.plan.grid import CellSpec
from uadbench.bench.run.evaluate import Bench, Outcome, one_line, run_batch, warm_up
from uadbench.bench.run.inputs import Loader, in_batches
from uadbench.bench.run.timing import Stopwatch
from uadbench.bench.score.summary import reconstruction_metrics
from uadbench.datasets.case import Case, Sample
from uadbench.engine.interfaces import Denoiser, to_signed
from uadbench.reports.store import RunError, append_case, read_arrays, read_cases, write_arrays, write_json

__all__ = ["Job", "Progress", "remaining", "run_cells"]


class Progress(Protocol):
    """Told of every case that is done."""

    def advance(self, slug: str, cases: int) -> None: ...


@dataclass(frozen=True)
class Job:
    """All that running the cells takes.

    run : run directory, held by this process
    denoisers : cell slug -> its network, opened
    cases : validation cases, then test cases
    watch : where the harness's own time goes: "method", "warm-up", "load", "score", "write"
    """

    run: Path
    dataset: str
    cells: tuple[CellSpec, ...]
    denoisers: dict[str, Denoiser]
    cases: tuple[Case, ...]
    batch_size: int
    loader: Loader
    bench: Bench
    watch: Stopwatch
    progress: Progress


def run_cells(job: Job) -> None:
    """Compute whatever is missing. Raises Interrupted, with all that was done before kept."""
    batches = in_batches(job.cases, job.batch_size)
    used: dict[int, str] = {}
    for _, group in groupby(job.cells, key=lambda cell: (cell.name, cell.noise, cell.steps)):
        _run_group(job, list(group), batches, used)


def remaining(run: Path, cells: Sequence[CellSpec], cases: Sequence[Case]) -> int:
    """How many (cell, case) pairs are yet to be computed; failed ones are tried again."""
    wanted = {case.case_id for case in cases}
    return sum(len(wanted - _done(run / "cells" / cell.slug)) for cell in cells)


def _run_group(
    job: Job, cells: list[CellSpec], batches: list[tuple[Case, ...]], used: dict[int, str]
) -> None:
    """used : id of a denoiser -> the first cell that called it"""
    done = {cell.slug: _done(job.run / "cells" / cell.slug) for cell in cells}
    warm: set[str] = set()
    for number, batch in enumerate(batches):
        turn = number % len(cells)  # each cell is first equally often
        for cell in cells[turn:] + cells[:turn]:
            missing = [case for case in batch if case.case_id not in done[cell.slug]]
            if missing:
                _run_one(job, cell, number, batch, {case.case_id for case in missing}, warm, used)


def _run_one(
    job: Job,
    cell: CellSpec,
    number: int,
    batch: tuple[Case, ...],
    missing: set[str],
    warm: set[str],
    used: dict[int, str],
) -> None:
    """One batch of one cell. The whole batch is computed even if part of it is done, to the same rounding."""
    path = job.run / "cells" / cell.slug
    with job.watch.stage("load"):
        read = [(case, job.loader.read(case)) for case in batch]
        samples = [sample for _, sample in read if isinstance(sample, Sample)]
    _begin(job, cell, path)
    for case, reason in read:
        if isinstance(reason, str) and case.case_id in missing:
            _record(job, path, case, number, {"status": "failed", "reason": reason})
            job.progress.advance(cell.slug, 1)
    if not any(sample.case.case_id in missing for sample in samples):
        return
    if cell.name == "residual-median" and job.bench.prior is None:
        reason = "the data set has no healthy training or validation slice to take a median of"
        for case in batch:
            _record(job, path, case, number, {"status": "skipped", "reason": reason})
        job.progress.advance(cell.slug, len(missing))
        return
    denoiser = job.denoisers[cell.slug]
    first = cell.slug not in warm
    if first:
        with job.watch.stage("warm-up"):
            _warm(job, cell, samples, path, used)
    with job.watch.stage("method"):
        outcomes = run_batch(cell, denoiser, samples, job.bench)
    if any(outcome.reason is None for outcome in outcomes):  # else the next batch is warmed up for again
        warm.add(cell.slug)
    with job.watch.stage("score"):
        metrics = _metrics(outcomes, job.bench)
    with job.watch.stage("write"):
        for outcome, measured in zip(outcomes, metrics, strict=True):
            case = outcome.sample.case
            if case.case_id in missing:
                _keep(job, path, outcome, number, measured, first)
                job.progress.advance(cell.slug, 1)


def _warm(job: Job, cell: CellSpec, samples: list[Sample], path: Path, used: dict[int, str]) -> None:
    """Warm up and write warmup.json. What raises here is recorded there; the batch itself says which cases fail."""
    denoiser = job.denoisers[cell.slug]
    sizes = sorted({len(samples), min(len(job.cases) % job.batch_size or len(samples), len(samples))})
    found: dict[str, Any]
    try:
        found = dict(warm_up(cell, denoiser, samples, sizes[::-1], job.bench))
    except Exception as error:
        found = {"warmup_ms": None, "first_call_ms": None, "failed": one_line(error)}
        _log(path, "warm-up", traceback.format_exc())
    if not cell.floor:
        before = used.setdefault(id(denoiser), cell.slug)
        if before != cell.slug:  # its first call was another cell's
            found |= {"first_call_ms": None, "warmed_by": before}
    write_json(path / "warmup.json", found)


def _log(path: Path, what: str, detail: str) -> None:
    with open(path / "errors.log", "a", encoding="utf-8") as file:
        file.write(f"{what}\n{detail}\n")


def _begin(job: Job, cell: CellSpec, path: Path) -> None:
    """Make sure that cell.json is there, and that no summary of fewer cases and no verdict on other results is."""
    (job.run / "parity.json").unlink(missing_ok=True)
    if not (path / "cell.json").is_file():
        write_json(path / "cell.json", cell.record(job.dataset, job.denoisers[cell.slug].describe()))
    for name in ("metrics.json", "latency.json"):
        (path / name).unlink(missing_ok=True)


def _metrics(outcomes: list[Outcome], bench: Bench) -> list[dict[str, float | None]]:
    """Reconstruction scores of each healthy case; lesions are meant to differ, so theirs would mean nothing."""
    scored: list[dict[str, float | None]] = []
    for outcome in outcomes:
        if outcome.reconstruction is None or outcome.sample.case.lesion:
            scored.append({})
            continue
        pair = torch.from_numpy(outcome.sample.image), torch.from_numpy(outcome.reconstruction)
        x, x_rec = (to_signed(image[None, None]) for image in pair)
        lpips = float(bench.perceptual.distance(x, x_rec)[0])
        scored.append(
            {**reconstruction_metrics(outcome.sample.image, outcome.reconstruction), "lpips": lpips}
        )
    return scored


def _keep(
    job: Job, path: Path, outcome: Outcome, number: int, metrics: dict[str, float | None], first: bool
) -> None:
    """Arrays first, then the line that says they are there."""
    case = outcome.sample.case
    entry: dict[str, Any] = {
        **outcome.timing,
        "first_call": first,
        "lesion_px": int(outcome.sample.mask.sum()),
        "metrics": metrics,
    }
    if outcome.anomaly is None or outcome.reconstruction is None:
        if outcome.detail:
            _log(path, case.case_id, outcome.detail)
        _record(job, path, case, number, {**entry, "status": "failed", "reason": outcome.reason})
        return
    write_arrays(path, case.case_id, outcome.anomaly, outcome.reconstruction)
    _record(job, path, case, number, {**entry, "status": "ok", "reason": None})


def _record(job: Job, path: Path, case: Case, number: int, entry: dict[str, Any]) -> None:
    """Append a case's line; what does not apply to a case that never ran is null."""
    unmeasured = (
        "latency_ms",
        "network_call_ms",
        "stages_ms",
        "batch_size",
        "load",
        "peak_memory_mib",
        "lesion_px",
    )
    append_case(
        path,
        {
            "case_id": case.case_id,
            "subject": case.subject,
            "split": case.split,
            "lesion": case.lesion,
            "seed": job.bench.seed,
            "batch": number,
            "nfe": 0,
            "first_call": False,
            "metrics": {},
            **dict.fromkeys(unmeasured),
            **entry,
        },
    )


def _done(path: Path) -> set[str]:
    """Cases of a cell that need no more work: a line says so and the arrays that it stands for can be read."""
    return {
        record["case_id"]
        for record in read_cases(path)
        if record["status"] == "skipped" or (record["status"] == "ok" and _readable(path, record["case_id"]))
    }


def _readable(path: Path, case_id: str) -> bool:
    try:
        read_arrays(path, case_id)
    except RunError:
        return False
    return True
