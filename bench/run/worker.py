"""What computes batches in a process of its own, on whatever machine: it opens all itself, from a plan in words.

Nothing heavy is imported before ``open``, for that sets first what must be set before torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from uadbench.bench.plan.config import RunConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uadbench.bench.run.evaluate import Outcome
    from uadbench.bench.run.executors import Here
    from uadbench.datasets.case import Case

__all__ = ["Job", "Order", "Returned", "Worker"]


@dataclass(frozen=True)
class Order:
    """All that a worker needs to be told: settings, no open objects.

    identity : the whole run's; a worker that finds other data or weights than these refuses to work
    threads : of the network
    decided : cell -> its method as fitted, and its table of the exact variance; cells that do not apply are not there
    healthy : median, mean and spread of healthy slices as ``Tools`` has them, each float32 [1, 1, H, W] or None
    shape : of the images; None where there are none
    """

    config: RunConfig
    identity: str
    threads: int
    decided: Mapping[str, tuple[Any, Mapping[str, Any]]]
    healthy: tuple[NDArray[np.float32] | None, ...]
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Job:
    """A task by name: a batch of a cell."""

    cell: str
    number: int
    cases: tuple[Case, ...]
    missing: frozenset[str]


@dataclass(frozen=True)
class Returned:
    """What came of a job, as in ``Evaluated``."""

    outcomes: list[Outcome]
    unread: list[tuple[Case, str]]
    warm_up: dict[str, Any] | None
    warm_up_detail: str | None


class Worker:
    """Owns networks and a data set, from ``open`` on until the process ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._here: Here | None = None
        self._cells: dict[str, Any] = {}

    def open(self, order: Order) -> dict[str, Any]:
        """Open everything; returns what this machine is. RunError where the run that it finds is another."""
        from uadbench.bench.plan.plugins import connect
        from uadbench.bench.run.machine import environment, prepare_process

        prepare_process()
        connect()
        import torch

        from uadbench.bench.plan.plan import make_plan
        from uadbench.bench.run.evaluate import Bench
        from uadbench.bench.run.executors import Here
        from uadbench.bench.run.inputs import Reader
        from uadbench.bench.run.networks import open_denoisers
        from uadbench.bench.run.session import open_session
        from uadbench.bench.run.timing import Stopwatch
        from uadbench.reports.atomic import RunError

        session = open_session(replace(make_plan(order.config), threads=order.threads), None, "")
        if session.manifest["run_id"] != order.identity:
            raise RunError("finds other data, weights or settings there than the run has; make them the same")
        plan, watch = session.plan, Stopwatch(keep=frozenset())
        self._cells = {
            cell.slug: replace(
                cell, method=order.decided[cell.slug][0], x0_variance=order.decided[cell.slug][1]
            )
            for cell in plan.cells
            if cell.slug in order.decided
        }
        median, mean, spread = (None if one is None else torch.from_numpy(one) for one in order.healthy)
        bench = Bench(
            plan.config.eta,
            session.perceptuals,
            plan.dataset.lesion_sign,
            median,
            lambda: None,
            mean,
            spread,
        )
        self._here = Here(
            open_denoisers(plan, self._stack, watch, lambda line: None),
            Reader(plan.dataset, order.shape),
            bench,
            len(plan.cases),
            plan.config.batch_size,
            watch,
        )
        return environment(order.threads)

    def evaluate(self, job: Job) -> Returned:
        """Compute a batch; cases that cannot be read or fail are in what is returned."""
        from uadbench.bench.run.tasks import Task

        assert self._here is not None, "opened first"
        (found,) = self._here([Task(self._cells[job.cell], job.number, job.cases, job.missing)])
        return Returned(found.outcomes, found.unread, found.warm_up, found.warm_up_detail)
