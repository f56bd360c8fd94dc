"""Batches of workers that die are done again, within bounds, and what no worker survives is said of the case alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.cells import make_dataset, method_cell

from uadbench.bench.run.crew import Crew, WorkerDied
from uadbench.bench.run.evaluate import Outcome
from uadbench.bench.run.executors import Evaluated
from uadbench.bench.run.inputs import Loader, in_batches
from uadbench.bench.run.interrupt import Interrupted
from uadbench.bench.run.tasks import Task
from uadbench.bench.run.worker import Job, Returned
from uadbench.reports.atomic import RunError
from uadbench.reports.store import RunDirectory

DATA = make_dataset()
CELL = method_cell()


class FakePool:
    """Workers in this process, whose answers are made when they are asked for.

    fate : (worker's number, job, None while it opens) -> whether the worker dies of it
    """

    def __init__(self, fate: Callable[[int, Job | None], bool] = lambda worker, job: False) -> None:
        self.fate, self.started, self.dead = fate, 0, set[int]()
        self.asked: list[tuple[int, Job]] = []
        self._tickets = 0
        self._held: dict[int, tuple[int, Job | None]] = {}

    def start(self) -> int:
        self.started += 1
        return self.started

    def open(self, worker: int) -> int:
        return self._ticket(worker, None)

    def submit(self, worker: int, job: Job) -> int:
        self.asked.append((worker, job))
        return self._ticket(worker, job)

    def _ticket(self, worker: int, job: Job | None) -> int:
        self._tickets += 1
        self._held[self._tickets] = (worker, job)
        return self._tickets

    def wait(self, tickets: Sequence[int], seconds: float) -> list[int]:
        return sorted(tickets)[:1] if seconds else sorted(tickets)

    def answer(self, ticket: int) -> Any:
        worker, job = self._held[ticket]
        if worker in self.dead or self.fate(worker, job):
            self.dead.add(worker)
            raise WorkerDied("killed")
        if job is None:
            return f"node{worker}", {"cores": 1}
        samples = [DATA.load(case) for case in job.cases]
        return Returned([Outcome(one, {"nfe": 1}, one.image, one.image) for one in samples], [], None, None)

    def end(self, worker: int) -> None:
        self.dead.add(worker)


def tasks(size: int = 4) -> Iterator[Task]:
    for number, batch in enumerate(in_batches(DATA.split("test"), size)):
        yield Task(CELL, number, batch, frozenset(case.case_id for case in batch))


def crew_of(
    path: Path,
    pool: FakePool,
    size: int = 2,
    stop: Callable[[], None] = lambda: None,
    said: list[str] | None = None,
) -> Crew:
    loader = Loader(RunDirectory(path), DATA)
    return Crew(pool, size, 1, loader, stop, ([] if said is None else said).append)


def done(found: Sequence[Evaluated]) -> list[str]:
    return sorted(one.sample.case.case_id for each in found for one in each.outcomes)


EVERY = [f"case{i}" for i in range(7)]


def test_each_task_comes_back_once_with_where_it_ran_and_its_input_kept(tmp_path: Path) -> None:
    pool = FakePool()
    crew = crew_of(tmp_path, pool)
    found = list(crew(tasks(1)))
    assert done(found) == EVERY
    places = [one.timing["where"] for each in found for one in each.outcomes]
    assert {(place["executor"], place["node"], place["threads"]) for place in places} == {
        ("ray", "node1", 1),
        ("ray", "node2", 1),
    }
    assert crew.record()["nodes"] == {"node1": {"cores": 1}, "node2": {"cores": 1}}
    assert crew.team == " · 2 workers"
    for name in EVERY:
        assert (
            RunDirectory(tmp_path).read_input(name)[0]
            == DATA.load(next(c for c in DATA.cases if c.case_id == name)).image
        ).all()


def test_without_a_task_no_worker_is_started(tmp_path: Path) -> None:
    pool = FakePool()
    assert list(crew_of(tmp_path, pool)(iter(()))) == []
    assert pool.started == 0


def test_the_batches_of_a_dead_worker_are_done_again_by_others(tmp_path: Path) -> None:
    said: list[str] = []
    pool = FakePool(lambda worker, job: worker == 1 and job is not None)
    crew = crew_of(tmp_path, pool, said=said)
    found = list(crew(tasks(1)))
    assert done(found) == EVERY
    assert (pool.started, crew.deaths) == (3, 1)
    assert said == ["worker 1 on node node1 died (killed); 2 batches are done again"]


def test_a_case_that_kills_every_worker_fails_alone_and_is_told_so(tmp_path: Path) -> None:
    def fate(worker: int, job: Job | None) -> bool:
        return job is not None and any(case.case_id == "case2" for case in job.cases)

    pool = FakePool(fate)
    found = list(crew_of(tmp_path, pool)(tasks(4)))
    assert done(found) == [name for name in EVERY if name != "case2"]
    ((case, reason),) = [entry for each in found for entry in each.unread]
    assert case.case_id == "case2"
    assert reason == "2 workers died when they computed it alone: killed"
    assert [len(job.cases) for _, job in pool.asked if fate(0, job)] == [4, 4, 4, 1, 1]
    assert sorted(name for each in found for name in each.task.missing) == EVERY


def test_workers_that_die_while_they_open_are_given_up(tmp_path: Path) -> None:
    pool = FakePool(lambda worker, job: job is None)
    with pytest.raises(RunError, match="all workers died while they opened"):
        list(crew_of(tmp_path, pool)(tasks()))
    assert pool.started == 2 * 3


def test_one_that_cannot_be_opened_does_not_hold_up_the_others(tmp_path: Path) -> None:
    pool = FakePool(lambda worker, job: job is None and worker != 2)
    assert done(list(crew_of(tmp_path, pool)(tasks(1)))) == EVERY


def test_on_ctrl_c_all_that_has_come_back_is_yielded_first(tmp_path: Path) -> None:
    kept: list[Evaluated] = []

    def stop() -> None:
        if kept:
            raise Interrupted

    with pytest.raises(Interrupted):
        kept.extend(crew_of(tmp_path, FakePool(), stop=stop)(tasks(1)))
    assert len(kept) == 1 + 3  # the first, and what both workers had in hand
