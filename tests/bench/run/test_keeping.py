"""What executors yield is on disk within a moment, several results with one wait for the disk, arrays before lines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.cells import SLUG, cell_of, make_dataset, method_cell

from uadbench.bench.run.evaluate import Outcome
from uadbench.bench.run.executors import Evaluated
from uadbench.bench.run.keeping import EVERY_S, keeping
from uadbench.bench.run.tasks import Task, finished
from uadbench.reports.store import RunDirectory

CASES = make_dataset().split("test")


def executor() -> Iterator[Evaluated]:
    """Yields a case at a time and computes nothing."""
    for number, case in enumerate(CASES):
        sample = make_dataset().load(case)
        outcome = Outcome(
            sample, dict.fromkeys(("latency_ms", "stages_ms", "batch_size")), sample.image, sample.image
        )
        yield Evaluated(Task(method_cell(), number, (case,), frozenset({case.case_id})), [outcome], [])


def test_results_within_a_moment_of_a_commit_share_the_next_and_the_end_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, now, run = 0, 0.0, RunDirectory(tmp_path)
    fsync = os.fsync

    def counted(number: int) -> None:
        nonlocal waits
        waits += 1
        fsync(number)

    monkeypatch.setattr(os, "fsync", counted)
    there = []
    with keeping(run) as keeper:
        keeper.clock = lambda: now
        for evaluated in executor():
            assert keeper.keep(evaluated) == 1
            there.append(len(finished(cell_of(tmp_path))))
            now += 0.4 * EVERY_S
    # the first is committed at once, then those at 1.2 and 2.4 moments
    assert there == [1, 1, 1, 4, 4, 4, 7]
    assert waits == 3 * 3  # bytes, their places, the lines
    assert len(finished(cell_of(tmp_path))) == 7


def test_a_slow_executors_results_are_on_disk_before_the_next_is_asked_for(tmp_path: Path) -> None:
    now = 0.0
    with keeping(RunDirectory(tmp_path)) as keeper:
        keeper.clock = lambda: now
        for number, evaluated in enumerate(executor()):
            assert len(finished(cell_of(tmp_path))) == number
            keeper.keep(evaluated)
            now += 2 * EVERY_S


def test_of_many_cells_only_some_are_held_open_and_all_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep of thousands of variants must not run out of file handles."""
    monkeypatch.setattr("uadbench.bench.run.keeping.OPEN", 2)
    cells = [method_cell(seed=seed) for seed in range(4)]
    sample = make_dataset().load(CASES[0])
    timing = dict.fromkeys(("latency_ms", "stages_ms", "batch_size"))
    with keeping(RunDirectory(tmp_path)) as keeper:
        keeper.clock = lambda: 0.0
        for cell in [*cells, cells[0]]:
            outcome = Outcome(sample, timing, sample.image, sample.image)
            task = Task(cell, 0, (sample.case,), frozenset({sample.case.case_id}))
            keeper.keep(Evaluated(task, [outcome], []))
        held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
        assert 0 < sum(name.startswith(str(tmp_path)) for name in held) <= 2
    assert all(finished(cell_of(tmp_path, cell.slug)) == {sample.case.case_id} for cell in cells)


def test_an_error_or_a_stop_keeps_what_came_before_it(tmp_path: Path) -> None:
    def keep_some() -> None:
        with keeping(RunDirectory(tmp_path)) as keeper:
            keeper.clock = lambda: 0.0
            for number, evaluated in enumerate(executor()):
                if number == 5:
                    raise KeyboardInterrupt
                keeper.keep(evaluated)

    with pytest.raises(KeyboardInterrupt):
        keep_some()
    assert len(finished(cell_of(tmp_path))) == 5


def test_a_kill_leaves_whole_results_and_loses_those_in_flight_alone(tmp_path: Path) -> None:
    """The process goes without a word: nothing of what was not committed has a line."""
    child = os.fork()
    if not child:
        with keeping(RunDirectory(tmp_path)) as keeper:
            keeper.clock = lambda: 0.0
            for evaluated in executor():
                keeper.keep(evaluated)
            os._exit(0)
    os.waitpid(child, 0)
    cell = cell_of(tmp_path)
    assert finished(cell) == {CASES[0].case_id}
    grown = (cell.path / "arrays" / "0000.bin").stat().st_size
    cell.repair_cases()
    assert (cell.path / "arrays" / "0000.bin").stat().st_size < grown
    assert finished(cell_of(tmp_path, SLUG)) == {CASES[0].case_id}
    assert np.isfinite(cell_of(tmp_path).read_arrays(CASES[0].case_id)[0]).all()
