"""What is missing of a run, in which order it is computed, and how it is kept, each case as soon as it is done.

Cells of one variant (its arms) take turns batch by batch, so that whatever else happens on the machine hits them all
alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from uadbench.bench.plan.config import digest
from uadbench.bench.plan.grid import Cell
from uadbench.bench.run.evaluate import Outcome
from uadbench.datasets.case import Case
from uadbench.reports.atomic import RunError
from uadbench.reports.cell import Together
from uadbench.reports.store import CellDirectory, RunDirectory

__all__ = ["Task", "begin_cell", "finished", "keep", "keep_unread", "mend_cell", "plan_tasks"]

UNMEASURED = (
    "latency_ms",
    "network_call_ms",
    "stages_ms",
    "batch_size",
    "load",
    "peak_memory_mib",
    "lesion_px",
    "arrays_sha256",
)
KEYS = {"case_id", "subject", "split", "lesion", "seed", "batch", "nfe", "first_call", "metrics"}.union(
    ("status", "reason"), UNMEASURED
)
"""What every line of cases.jsonl holds; one that lacks any of it was damaged."""

Results = CellDirectory | Together
"""What keeps results: one by one, or several together."""


@dataclass(frozen=True)
class Task:
    """One batch of one cell.

    number : of the batch
    missing : ids of the cases that are yet to be done; the whole batch is computed even if part of it is done, to
        the same rounding
    """

    cell: Cell
    number: int
    cases: tuple[Case, ...]
    missing: frozenset[str]


def plan_tasks(
    run: RunDirectory,
    cells: Sequence[Cell],
    batches: Sequence[tuple[Case, ...]],
    streams: int = 1,
    wanted: frozenset[str] | None = None,
) -> Iterator[Task]:
    """Whatever is missing, in the order in which it is to be computed; failed cases are tried again.

    streams : batches of one cell in succession, which are computed at a time
    wanted : ids of the cases that are to be kept, None for all
    """
    for _, group in groupby(cells, key=lambda cell: cell.variant):
        arms = list(group)
        done = {cell.slug: finished(run.cell(cell.slug)) for cell in arms}
        for start in range(0, len(batches), streams):
            turn = start // streams % len(arms)  # each arm is first equally often
            for cell in arms[turn:] + arms[:turn]:
                for number, batch in enumerate(batches[start : start + streams], start):
                    ids = frozenset(case.case_id for case in batch)
                    missing = (ids if wanted is None else ids & wanted) - done[cell.slug]
                    if missing:
                        yield Task(cell, number, batch, missing)


def finished(directory: CellDirectory) -> set[str]:
    """Cases of a cell that need no more work: a whole line says so and the arrays that it stands for are whole."""
    whole = directory.whole_arrays()
    return {
        record["case_id"]
        for record in directory.read_cases()
        if record.keys() >= KEYS
        and record["status"] == "ok"
        and isinstance(record["arrays_sha256"], str)
        and whole.get(record["case_id"]) == record["arrays_sha256"]
    }


def begin_cell(run: RunDirectory, cell: Cell, dataset: str, backend_info: dict[str, Any]) -> None:
    """Make sure that cell.json is there, and that no summary of fewer cases and no verdict on other results is."""
    run.drop_verdicts()
    directory = run.cell(cell.slug)
    if not directory.begun or "not_applicable" in directory.info:
        directory.write_info(cell.record(dataset, backend_info))
    directory.drop_summary()


def mend_cell(run: RunDirectory, cell: Cell, dataset: str, backend_info: dict[str, Any]) -> None:
    """Write cell.json again where it is not whole although the cell has results.

    Where validation lesions have decided on another threshold of post-processed maps, that is noted and the cell scored
    again. Raises RunError where the results are of another setting, as after a fit that came out otherwise.
    """
    directory, record = run.cell(cell.slug), cell.record(dataset, backend_info)
    if not directory.begun and directory.read_cases():
        directory.write_info(record)
    info = directory.info
    if info and digest(info.get("x0_variance") or {}) != digest(dict(cell.x0_variance)):
        raise RunError(
            f"{directory.path}: its results are of another exact variance than was measured now; "
            "--overwrite starts anew"
        )
    before, now = info.get("hyperparameters"), record["hyperparameters"]
    if before is not None and digest(_completed(before, cell.method)) != digest(now):
        raise RunError(
            f"{directory.path}: its results are of other settings ({before}, not {now}); --overwrite starts anew"
        )
    if info and digest(info.get("operating")) != digest(record.get("operating")):
        directory.write_info(
            {**info, "operating": record["operating"]}
        )  # the maps stand, their scores do not
        directory.drop_summary()


def _completed(before: Mapping[str, Any], method: Any) -> dict[str, Any]:
    """Recorded settings with the fields that the method has got since, which were then as they are by default."""
    since = {
        field.name: field.default
        for field in dataclasses.fields(method)
        if field.name not in before and field.default is not dataclasses.MISSING
    }
    return {**since, **before}


def keep(directory: Results, task: Task, outcome: Outcome, first: bool) -> None:
    """Keep one case: its arrays first, then the line that says they are there.

    first : whether the cell had just been warmed up for this batch
    """
    case = outcome.sample.case
    entry: dict[str, Any] = {
        **outcome.timing,
        "first_call": first,
        "lesion_px": int(outcome.sample.mask.sum()),
        "metrics": dict(outcome.metrics),
    }
    if outcome.anomaly is None or outcome.reconstruction is None:
        if outcome.detail:
            directory.log_error(case.case_id, outcome.detail)
        entry |= {"status": "failed", "reason": outcome.reason}
    else:
        sha256 = directory.write_arrays(case.case_id, outcome.anomaly, outcome.reconstruction)
        entry |= {"status": "ok", "reason": None, "arrays_sha256": sha256}
    directory.append_case(_record(task, case, entry))


def keep_unread(directory: Results, task: Task, case: Case, reason: str) -> None:
    """Keep that a case cannot be read, and why."""
    directory.append_case(_record(task, case, {"status": "failed", "reason": reason}))


def _record(task: Task, case: Case, entry: dict[str, Any]) -> dict[str, Any]:
    """A case's line; what does not apply to a case that never ran is null."""
    return {
        "case_id": case.case_id,
        "subject": case.subject,
        "split": case.split,
        "lesion": case.lesion,
        **({"volume": case.volume, "position": case.position} if case.volume else {}),
        **({"spacing_mm": list(case.spacing)} if case.spacing else {}),
        "seed": task.cell.variant.seed,
        "batch": task.number,
        "nfe": 0,
        "first_call": False,
        "metrics": {},
        **dict.fromkeys(UNMEASURED),
        **entry,
    }
