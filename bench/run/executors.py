"""Where tasks are evaluated. An executor takes tasks and yields what came of them; the caller keeps it."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uadbench.bench.run.evaluate import Bench, Outcome, one_line, run_batch, warm_up
from uadbench.bench.run.inputs import Loader
from uadbench.bench.run.tasks import Task
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Case, Sample
from uadbench.engine.interfaces import Denoiser

__all__ = ["Evaluated", "Here"]


@dataclass(frozen=True)
class Evaluated:
    """What came of a task.

    outcomes : of the cases that could be read
    unread : (case, reason) of those that could not
    warm_up : warmup.json where the cell was warmed up for this task; warm_up_detail : a traceback, where that failed
    """

    task: Task
    outcomes: list[Outcome]
    unread: list[tuple[Case, str]]
    warm_up: dict[str, Any] | None = None
    warm_up_detail: str | None = None


@dataclass
class Here:
    """Evaluates in this process, one task after the other.

    denoisers : cell slug -> its network, opened
    n_cases, batch_size : of the run, which tell the batch sizes to come
    used : denoisers that a fit, also that of the exact variance, has called already, whose first call is over
    watch : charged with "load", "warm-up" and "method"
    """

    denoisers: Mapping[str, Denoiser]
    loader: Loader
    bench: Bench
    n_cases: int
    batch_size: int
    watch: Stopwatch
    used: Sequence[Denoiser] = ()
    _warm: set[str] = field(default_factory=set)
    _used: dict[int, str] = field(default_factory=dict)

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Evaluated]:
        """Raises Interrupted; every task that was yielded is done, no other was begun."""
        for task in tasks:
            yield self._evaluate(task)

    def _evaluate(self, task: Task) -> Evaluated:
        with self.watch.stage("load"):
            read = [(case, self.loader.read(case)) for case in task.cases]
        samples = [found for _, found in read if isinstance(found, Sample)]
        unread = [(case, found) for case, found in read if isinstance(found, str)]
        if not any(sample.case.case_id in task.missing for sample in samples):
            return Evaluated(task, [], unread)
        slug = task.cell.slug
        warmed, detail = None, None
        if slug not in self._warm:
            with self.watch.stage("warm-up"):
                warmed, detail = self._warm_up(task, samples)
        with self.watch.stage("method"):
            outcomes = run_batch(task.cell, self.denoisers[slug], samples, self.bench)
        if any(outcome.reason is None for outcome in outcomes):  # else the next batch is warmed up for again
            self._warm.add(slug)
        return Evaluated(task, outcomes, unread, warmed, detail)

    def _warm_up(self, task: Task, samples: list[Sample]) -> tuple[dict[str, Any], str | None]:
        """What raises here is recorded; the batch itself says which cases fail."""
        cell, denoiser = task.cell, self.denoisers[task.cell.slug]
        last = self.n_cases % self.batch_size or len(samples)
        sizes = sorted({len(samples), min(last, len(samples))})
        found: dict[str, Any]
        detail = None
        try:
            found = dict(warm_up(cell, denoiser, samples, sizes[::-1], self.bench))
        except Exception as error:
            found = {"warmup_ms": None, "first_call_ms": None, "failed": one_line(error)}
            detail = traceback.format_exc()
        if not cell.variant.floor:
            first = "a fit" if any(denoiser is used for used in self.used) else cell.slug
            before = self._used.setdefault(id(denoiser), first)
            if before != cell.slug:  # its first call was another cell's
                found |= {"first_call_ms": None, "warmed_by": before}
        return found, detail
