"""``--shift``: healthy test cases again, their intensities changed as another scanner might, one line a result.

Each variant runs on one arm, eager torch in fp32 where the run has it; variants that differ in post-processing alone
share their reconstructions, so one of them stands for all. The noise of a case is that of its unshifted run, as it
hangs on seed and case alone, so that only the shift differs. The unshifted result is the run's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.bench.plan.shifts import Shift
from uadbench.bench.run.evaluate import Bench, run_batch
from uadbench.bench.run.fitting import fitter
from uadbench.bench.run.inputs import Loader, in_batches
from uadbench.bench.score.cases import histogram_kld
from uadbench.datasets.case import Case, Sample
from uadbench.datasets.shifts import shifted
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.post import head
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import Variant
from uadbench.reports.shifts import KLD
from uadbench.reports.store import CellDirectory, RunDirectory

__all__ = ["UNSHIFTED", "ShiftTask", "cells_to_shift", "plan_shifts", "run_shifts"]

UNSHIFTED = Shift("none", 1.0)
KEYS = {"case_id", "subject", "shift", "value", "status", "reason", "metrics"}


@dataclass(frozen=True)
class ShiftTask:
    """One batch of one cell under one shift; ``missing`` are the cases that are yet to be done."""

    cell: Cell
    shift: Shift
    cases: tuple[Case, ...]
    missing: frozenset[str]


def cells_to_shift(cells: Sequence[Cell]) -> list[Cell]:
    """One cell a reconstruction: variants less their post-processing, each on the arm that also fits."""
    found: dict[Variant, list[Cell]] = {}
    for cell in cells:
        found.setdefault(replace(cell.variant, post="none"), []).append(cell)
    return [fitter(arms) for arms in found.values()]


def plan_shifts(run: RunDirectory, plan: Plan, cells: Sequence[Cell]) -> list[ShiftTask]:
    """Whatever is missing; a failed case is tried again, and a batch with a missing case is computed whole."""
    tasks, mine = [], {case.case_id for case in plan.mine}
    for cell in cells_to_shift(cells):
        done = {
            (record["case_id"], record["shift"], record["value"])
            for record in run.cell(cell.slug).read_shifts()
            if record.keys() >= KEYS and record["status"] == "ok" and KLD in record["metrics"]
        }
        for shift in (UNSHIFTED, *plan.shifts):
            for batch in in_batches(plan.shift_cases, plan.config.batch_size):
                ids = [case.case_id for case in batch if case.case_id in mine]
                missing = frozenset(i for i in ids if (i, shift.kind, shift.value) not in done)
                if missing:
                    tasks.append(ShiftTask(cell, shift, batch, missing))
    return tasks


def run_shifts(
    run: RunDirectory,
    tasks: Sequence[ShiftTask],
    loader: Loader,
    denoisers: Mapping[str, Denoiser],
    bench: Bench,
    progress: Callable[[str, int], None],
) -> None:
    """Compute the tasks and append a line to the cell's shifts.jsonl for each missing case. Raises Interrupted."""
    for task in tasks:
        bench.stop()
        directory = run.cell(task.cell.slug)
        read = [(case, loader.read(case)) for case in task.cases]
        for case, found in read:
            if isinstance(found, str) and case.case_id in task.missing:
                directory.append_shift(_line(task, case, found))
        samples = [found for _, found in read if isinstance(found, Sample)]
        if task.shift == UNSHIFTED:
            records = {record["case_id"]: record for record in directory.read_cases()}
            lines = [_unshifted(task, sample, directory, records) for sample in samples]
        else:
            lines = list(_shifted(task, samples, denoisers[task.cell.slug], bench))
        for line in lines:
            if line["case_id"] in task.missing:
                directory.append_shift(line)
        progress(f"{task.cell.slug}, {task.shift.label}", len(task.missing))


def _shifted(
    task: ShiftTask, samples: Sequence[Sample], denoiser: Denoiser, bench: Bench
) -> Iterator[dict[str, Any]]:
    heads = [
        head(sample.image) for sample in samples
    ]  # of the unshifted images: the same pixels at every value
    changed = [
        replace(sample, image=shifted(sample.image, inside, task.shift.kind, task.shift.value))
        for sample, inside in zip(samples, heads, strict=True)
    ]
    inside_of = {sample.case.case_id: inside for sample, inside in zip(samples, heads, strict=True)}
    for one in run_batch(task.cell, denoiser, changed, bench) if changed else ():
        case = one.sample.case
        if one.reconstruction is None:
            yield _line(task, case, one.reason or "no result")
        else:
            kld = histogram_kld(one.sample.image, one.reconstruction, inside_of[case.case_id])
            yield _line(task, case, None, {**one.metrics, KLD: kld})


def _unshifted(
    task: ShiftTask, sample: Sample, directory: CellDirectory, records: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """From the result that the run holds of the case; no network is called."""
    case = sample.case
    record = records.get(case.case_id)
    if record is None or record["status"] != "ok":
        return _line(task, case, "the run has no result of it" if record is None else record["reason"])
    try:
        reconstruction = directory.read_arrays(case.case_id, record["arrays_sha256"])[1]
    except RunError as error:
        return _line(task, case, str(error))
    kld = histogram_kld(sample.image, reconstruction, head(sample.image))
    return _line(task, case, None, {**record["metrics"], KLD: kld})


def _line(
    task: ShiftTask, case: Case, reason: str | None, metrics: Mapping[str, float | None] | None = None
) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "subject": case.subject,
        "shift": task.shift.kind,
        "value": task.shift.value,
        "status": "ok" if reason is None else "failed",
        "reason": reason,
        "metrics": dict(metrics or {}),
    }
