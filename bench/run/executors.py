"""Where tasks are evaluated. An executor takes tasks and yields what came of them; the caller keeps it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from uadbench.bench.run.evaluate import Bench, Outcome, one_line, run_batch, warm_up
from uadbench.bench.run.inputs import Loader, Reader
from uadbench.bench.run.memory import highest_kib, set_back
from uadbench.bench.run.tasks import Task
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Case, Sample
from uadbench.engine.interfaces import Denoiser

__all__ = ["Evaluated", "Here", "Stream", "gather", "waves"]

Key = TypeVar("Key")
T = TypeVar("T")


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


@dataclass(frozen=True)
class Stream:
    """A thread of its own (``worker``, with one), and networks of its own by cell slug, with a share of the threads."""

    worker: ThreadPoolExecutor
    denoisers: Mapping[str, Denoiser]


@dataclass
class Here:
    """Evaluates in this process, one task after the other, or one on each of several streams at a time.

    denoisers : cell slug -> its network, opened
    n_cases, batch_size : of the run, which tell the batch sizes to come
    used : denoisers that a fit, also that of the exact variance, has called already, whose first call is over
    watch : charged with "load", "warm-up" and "method"
    streams : none, or two or more; tasks of one cell alone run at a time, as others would slow it by chance
    """

    denoisers: Mapping[str, Denoiser]
    loader: Loader | Reader
    bench: Bench
    n_cases: int
    batch_size: int
    watch: Stopwatch
    used: Sequence[Denoiser] = ()
    streams: Sequence[Stream] = ()
    _warm: set[Any] = field(default_factory=set)
    _used: dict[int, str] = field(default_factory=dict)
    team = ""  # who works beside this process, in words

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Evaluated]:
        """Raises Interrupted; every task that was yielded is done, no other was begun."""
        if self.streams:
            for wave in waves(tasks, len(self.streams)):
                yield from self._evaluate_wave(wave)
            return
        for task in tasks:
            yield self._evaluate(task)

    def _read(self, task: Task) -> tuple[list[Sample], list[tuple[Case, str]]]:
        """A task's samples, none where it has no missing case that can be read, and the cases that cannot."""
        with self.watch.stage("load"):
            read = [(case, self.loader.read(case)) for case in task.cases]
        samples = [found for _, found in read if isinstance(found, Sample)]
        wanted = any(sample.case.case_id in task.missing for sample in samples)
        return samples if wanted else [], [(case, found) for case, found in read if isinstance(found, str)]

    def _evaluate(self, task: Task) -> Evaluated:
        samples, unread = self._read(task)
        if not samples:
            return Evaluated(task, [], unread)
        slug = task.cell.slug
        warmed, detail = None, None
        if slug not in self._warm:
            with self.watch.stage("warm-up"):
                warmed, detail = self._warm_up(task, samples, self.denoisers[slug])
        marked = set_back()
        with self.watch.stage("method"):
            found = run_batch(task.cell, self.denoisers[slug], samples, self.bench)
        outcomes = _with(found, _peak(marked))
        if any(outcome.reason is None for outcome in outcomes):  # else the next batch is warmed up for again
            self._warm.add(slug)
        return Evaluated(task, outcomes, unread, warmed, detail)

    def _evaluate_wave(self, wave: Sequence[Task]) -> Iterator[Evaluated]:
        """Tasks of one cell, each on a stream; what comes after begins when all of them have ended."""
        slug, read = wave[0].cell.slug, [self._read(task) for task in wave]
        busy = [n for n, (samples, _) in enumerate(read) if samples]
        cold = [n for n in busy if (slug, n) not in self._warm]
        with self.watch.stage("warm-up"):
            calls = {
                n: self.streams[n].worker.submit(
                    self._warm_up, wave[n], read[n][0], self.streams[n].denoisers[slug]
                )
                for n in cold
            }
            warmed = gather(calls)
        marked, start = set_back(), time.perf_counter()
        with self.watch.stage("method"):
            batches = {
                n: self.streams[n].worker.submit(
                    run_batch, wave[n].cell, self.streams[n].denoisers[slug], read[n][0], self.bench
                )
                for n in busy
            }
            outcomes = gather(batches)
        took = (time.perf_counter() - start) * 1e3
        timing = {"streams": len(self.streams), "wave": len(busy), "wave_ms": took, **_peak(marked)}
        for n, task in enumerate(wave):
            found = _with(outcomes.get(n, []), timing)
            if any(outcome.reason is None for outcome in found):
                self._warm.add((slug, n))
            yield Evaluated(task, found, read[n][1], *warmed.get(n, (None, None)))

    def _warm_up(
        self, task: Task, samples: list[Sample], denoiser: Denoiser
    ) -> tuple[dict[str, Any], str | None]:
        """What raises here is recorded; the batch itself says which cases fail."""
        cell = task.cell
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


def _with(outcomes: Iterable[Outcome], more: Mapping[str, Any]) -> list[Outcome]:
    return [replace(one, timing={**one.timing, **more}) for one in outcomes]


def _peak(marked: bool) -> dict[str, float | None]:
    """The most memory of the process since its mark was set back; None where it was not, for it is another batch's."""
    highest = highest_kib() if marked else None
    return {"peak_memory_mib": None if highest is None else highest / 2**10}


def gather(calls: Mapping[Key, Future[T]]) -> dict[Key, T]:
    """What each call gave, or what one raised, once all have ended: nothing may be closed under one that runs."""
    wait(calls.values())
    return {key: call.result() for key, call in calls.items()}


def waves(tasks: Iterable[Task], count: int) -> Iterator[list[Task]]:
    """Neighbouring tasks of one cell, at most ``count`` at a time."""
    wave: list[Task] = []
    for task in tasks:
        if wave and (len(wave) == count or wave[0].cell.slug != task.cell.slug):
            yield wave
            wave = []
        wave.append(task)
    if wave:
        yield wave
