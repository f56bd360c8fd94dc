"""Batches handed out to workers that may die: each comes back once, or is done again.

How workers are started and asked is the pool's business (``bench.run.cluster`` has Ray's), so that this holds for any.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from uadbench.bench.run.executors import Evaluated
from uadbench.bench.run.inputs import Loader
from uadbench.bench.run.interrupt import Interrupted
from uadbench.bench.run.tasks import Task
from uadbench.bench.run.worker import Job, Returned
from uadbench.reports.atomic import RunError

__all__ = ["Crew", "Pool", "WorkerDied"]

AHEAD = 2  # batches that a worker has at a time, so that it need not wait for the next
# Of workers on a batch before its cases are tried alone; on one case before it has failed.
DEATHS, DEATHS_ALONE = 3, 2
OPENINGS = 3  # of a worker that died in succession while it opened its networks
SAY_S, OPENING_S = 60, 1800  # without any worker that is open


class WorkerDied(Exception):
    """Its process or its machine is gone; the message says what is known of it."""


class Pool(Protocol):
    """Where workers live. A ticket stands for an answer to come; tickets and workers are whatever the pool makes."""

    def start(self) -> Any:
        """A new worker."""
        ...

    def open(self, worker: Any) -> Any:
        """The ticket for (node, environment) of a worker that has opened its networks."""
        ...

    def submit(self, worker: Any, job: Job) -> Any:
        """The ticket for what ``Worker.evaluate`` returns."""
        ...

    def wait(self, tickets: Sequence[Any], seconds: float) -> list[Any]:
        """Those that are answered, as soon as one is, none after so many seconds."""
        ...

    def answer(self, ticket: Any) -> Any:
        """Raises WorkerDied, or RunError for what the worker raised."""
        ...

    def end(self, worker: Any) -> None:
        """Kill a worker, if it lives."""
        ...


@dataclass
class _Seat:
    """A worker's place, taken by another where it dies. node : "" until it is open; given : its tasks, oldest first"""

    number: int
    worker: Any = None
    node: str = ""
    failed: int = 0
    given: deque[Task] = field(default_factory=deque)


@dataclass
class Crew:
    """An executor, see ``Here``: hands tasks to workers and yields what comes back, in whatever order.

    loader : keeps the inputs that workers have read
    threads : of each worker, for the record
    name : of the executor, for the record
    """

    pool: Pool
    size: int
    threads: int
    loader: Loader
    stop: Callable[[], None]
    say: Callable[[str], None]
    name: str = "ray"
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    deaths: int = 0
    _seats: list[_Seat] = field(default_factory=list)
    _tickets: dict[Any, tuple[_Seat, Task | None]] = field(default_factory=dict)
    _again: deque[Task] = field(default_factory=deque)
    _died_on: dict[tuple[str, int, tuple[str, ...]], int] = field(default_factory=dict)

    @property
    def team(self) -> str:
        """' · 3 workers', those that are open."""
        count = sum(bool(seat.node) for seat in self._seats)
        return f" · {count} worker{'s' * (count != 1)}"

    def record(self) -> dict[str, Any]:
        """What ran, for the session's entry in the manifest."""
        return {
            "name": self.name,
            "workers": self.size,
            "threads_each": self.threads,
            "deaths": self.deaths,
            "nodes": dict(self.nodes),
        }

    def __call__(self, tasks: Iterable[Task]) -> Iterator[Evaluated]:
        """Raises Interrupted once all that has come back is yielded, RunError where no worker can work."""
        source, since = iter(tasks), time.monotonic()
        told = since
        while True:
            waiting = self._hand_out(source)
            if not waiting and not any(seat.given for seat in self._seats):
                return
            ready = self.pool.wait(list(self._tickets), 0.5)
            for ticket in ready:
                yield from self._take(ticket)
            try:
                self.stop()
            except Interrupted:
                for ticket in self.pool.wait(list(self._tickets), 0):
                    yield from self._take(ticket)
                raise
            now = time.monotonic()
            if any(seat.node for seat in self._seats):
                since = told = now
            if now - since > OPENING_S:
                raise RunError(f"no worker was ready within {OPENING_S // 60} minutes; what is done is kept")
            if now - told > SAY_S:
                told = now
                self.say("no worker is ready yet: the cluster may have no room, or networks are being opened")

    def _hand_out(self, source: Iterator[Task]) -> bool:
        """Give every open worker as much as it may have; whether there is more to do."""
        if not self._seats:
            first = self._next(source)
            if first is None:
                return False
            self._again.append(first)
            self._seats = [_Seat(number) for number in range(1, self.size + 1)]
            for seat in self._seats:
                self._fill(seat)
        for seat in sorted(self._seats, key=lambda seat: len(seat.given)):
            while seat.node and len(seat.given) < AHEAD:
                task = self._next(source)
                if task is None:
                    return False
                job = Job(task.cell.slug, task.number, task.cases, task.missing)
                seat.given.append(task)
                self._tickets[self.pool.submit(seat.worker, job)] = (seat, task)
        return True

    def _next(self, source: Iterator[Task]) -> Task | None:
        return self._again.popleft() if self._again else next(source, None)

    def _fill(self, seat: _Seat) -> None:
        seat.worker, seat.node = self.pool.start(), ""
        self._tickets[self.pool.open(seat.worker)] = (seat, None)

    def _take(self, ticket: Any) -> Iterator[Evaluated]:
        """What an answered ticket gives: nothing, an outcome, or a case that no worker survives."""
        if ticket not in self._tickets:  # of a worker that has died meanwhile
            return
        seat, task = self._tickets.pop(ticket)
        try:
            answer = self.pool.answer(ticket)
        except WorkerDied as error:
            yield from self._bury(seat, task, str(error))
            return
        if task is None:
            seat.node, environment = answer
            seat.failed = 0
            self.nodes[seat.node] = environment
            return
        seat.given.remove(task)
        yield self._evaluated(seat, task, answer)

    def _evaluated(self, seat: _Seat, task: Task, found: Returned) -> Evaluated:
        where = {"executor": self.name, "node": seat.node, "worker": seat.number, "threads": self.threads}
        outcomes = [replace(one, timing={**one.timing, "where": where}) for one in found.outcomes]
        for outcome in outcomes:
            self.loader.take(outcome.sample)
        return Evaluated(task, outcomes, found.unread, found.warm_up, found.warm_up_detail)

    def _bury(self, seat: _Seat, task: Task | None, reason: str) -> Iterator[Evaluated]:
        """Take back what a dead worker had, and put another in its place."""
        self.deaths += 1
        lost, blamed = list(seat.given), seat.given[0] if seat.given else None
        seat.given.clear()
        self._tickets = {key: held for key, held in self._tickets.items() if held[0] is not seat}
        self.pool.end(seat.worker)
        self._again.extendleft(reversed([one for one in lost if one is not blamed]))
        place = f" on node {seat.node}" if seat.node else ""
        self.say(f"worker {seat.number}{place} died ({reason}); {len(lost)} batches are done again")
        if blamed is not None:
            yield from self._retry(blamed, reason)
        seat.failed += task is None
        if seat.failed < OPENINGS:
            self._fill(seat)
            return
        self._seats.remove(seat)
        if not self._seats:
            raise RunError(
                f"all workers died while they opened their networks ({reason}); what is done is kept"
            )

    def _retry(self, task: Task, reason: str) -> Iterator[Evaluated]:
        """Once more, in the end case by case; a case on which workers die even so has failed."""
        key = (task.cell.slug, task.number, tuple(case.case_id for case in task.cases))
        count = self._died_on[key] = self._died_on.get(key, 0) + 1
        if count < (DEATHS if len(task.cases) > 1 else DEATHS_ALONE):
            self._again.appendleft(task)
            return
        wanted = [case for case in task.cases if case.case_id in task.missing]
        if len(task.cases) > 1:
            alone = [replace(task, cases=(case,), missing=frozenset({case.case_id})) for case in wanted]
            self._again.extendleft(reversed(alone))
            return
        for case in wanted:
            yield Evaluated(task, [], [(case, f"{count} workers died when they computed it alone: {reason}")])
