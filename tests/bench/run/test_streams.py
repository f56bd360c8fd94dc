"""Batches that run at a time: the same results, each on its own thread, and a number of them that is measured."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from support.cells import (
    BLUR,
    NETWORK,
    SLUG,
    Breaking,
    Recording,
    cell_of,
    compute,
    make_dataset,
    make_work,
    method_cell,
    records,
    results,
)
from torch import Tensor

from uadbench.bench.plan.config import RunConfig
from uadbench.bench.plan.plan import Plan, choose_cases
from uadbench.bench.run import streams as module
from uadbench.bench.run.evaluate import NoNetwork
from uadbench.bench.run.executors import Stream, waves
from uadbench.bench.run.interrupt import Interrupted
from uadbench.bench.run.streams import callers, choose_streams, hold_rates
from uadbench.bench.run.timing import Stopwatch
from uadbench.bench.score.latency import latency_summary
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.store import RunDirectory


class Meeting(Recording):
    """Calls that wait until as many are under way on other streams, and note on which thread they are."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self.barrier, self.threads = barrier, set[int]()

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.threads.add(threading.get_ident())
        if len(x_t) == 4:  # the last batch, of 2, runs alone
            self.barrier.wait(timeout=20)
        return super().denoise(x_t, t, cond)


@pytest.fixture
def streams() -> Iterator[Callable[..., list[Stream]]]:
    """Makes a stream of each network given."""
    with ExitStack() as stack:

        def make(*networks: Any) -> list[Stream]:
            return [
                Stream(stack.enter_context(ThreadPoolExecutor(1)), {SLUG: network, BLUR.slug: NoNetwork()})
                for network in networks
            ]

        yield make


def test_batches_on_two_streams_run_at_a_time_to_the_bytes_of_one(
    tmp_path: Path, streams: Callable[..., list[Stream]]
) -> None:
    compute(tmp_path / "one")
    barrier = threading.Barrier(2)
    networks = [Meeting(barrier) for _ in range(2)]
    compute(tmp_path / "two", streams=streams(*networks))
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert [len(network.threads) for network in networks] == [1, 1]
    assert networks[0].threads.isdisjoint(networks[1].threads)
    found = records(tmp_path / "two")
    assert [(r["streams"], r["wave"]) for r in found.values()] == [(2, 2)] * 8 + [(2, 1)] * 2
    assert len({r["wave_ms"] for r in found.values()}) == 2
    assert all(r["wave_ms"] >= r["latency_ms"] * r["batch_size"] for r in found.values())
    assert "streams" not in next(iter(records(tmp_path / "one").values()))


def test_a_batch_that_fails_on_one_stream_leaves_the_other_alone(
    tmp_path: Path, streams: Callable[..., list[Stream]]
) -> None:
    compute(tmp_path, streams=streams(Recording(), Breaking(float("inf"))))
    status = [r["status"] for r in records(tmp_path).values()]
    assert status == ["ok"] * 4 + ["failed"] * 4 + ["ok"] * 2


def test_stopping_ends_all_streams_and_keeps_what_was_done(
    tmp_path: Path, streams: Callable[..., list[Stream]]
) -> None:
    networks = [Recording(), Breaking(float("inf"), Interrupted())]
    with pytest.raises(Interrupted):
        compute(tmp_path, streams=streams(*networks))
    assert records(tmp_path) == {}
    assert {r["status"] for r in records(tmp_path, BLUR.slug).values()} == {"ok"}
    compute(tmp_path)
    assert {r["status"] for r in records(tmp_path).values()} == {"ok"}


def test_what_one_stream_raises_comes_when_no_other_is_at_work_any_more(
    tmp_path: Path, streams: Callable[..., list[Stream]]
) -> None:
    interrupted, ended = threading.Event(), threading.Event()

    class Stopped(Recording):
        def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            interrupted.set()
            raise Interrupted

    class Working(Recording):
        def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            interrupted.wait(20)
            time.sleep(0.2)
            ended.set()
            raise Interrupted

    with pytest.raises(Interrupted):
        compute(tmp_path, (method_cell(),), streams=streams(Stopped(), Working()))
    assert ended.is_set(), "its network would have been closed while it was called"


def test_networks_are_opened_with_the_threads_that_they_are_called_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int]] = []

    def opened(plan: Plan, stack: ExitStack, watch: Stopwatch, say: Any, threads: int) -> dict[str, Denoiser]:
        asked.append((threads, torch.get_num_threads()))
        return {}

    monkeypatch.setattr(module, "open_denoisers", opened)
    before, dataset = torch.get_num_threads(), make_dataset()
    plan = Plan(RunConfig(streams=2), (BLUR,), dataset, choose_cases(dataset, 16), 7)
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        torch.set_num_threads(7)
        found = module.open_streams(plan, 2, stack, Stopwatch(), lambda line: None)
        assert [stream.worker.submit(torch.get_num_threads).result() for stream in found] == [3, 3]
    assert asked == [(3, 3), (3, 3)]


def test_a_wave_holds_neighbours_of_one_cell_only(tmp_path: Path) -> None:
    work = make_work(tmp_path)
    from uadbench.bench.run.tasks import Task

    blur, ddpm = work.plan.cells
    tasks = [Task(cell, n, (), frozenset()) for n, cell in enumerate((blur, blur, blur, ddpm, blur))]
    assert [[task.number for task in wave] for wave in waves(tasks, 2)] == [[0, 1], [2], [3], [4]]


def test_throughput_is_of_full_waves_and_latencies_beside_fewer_others_are_left_out() -> None:
    def record(batch: int, wave: int, wave_ms: float) -> dict[str, Any]:
        stages = dict.fromkeys(
            ("network", "update", "noise", "perceptual", "morphology", "other"), float(batch)
        )
        one = {"status": "ok", "batch": batch, "batch_size": 4, "latency_ms": 10.0 + batch, "nfe": 3}
        return {
            **one,
            "network_call_ms": 1.0,
            "stages_ms": stages,
            "load": 1.0,
            "peak_memory_mib": 1.0,
            "streams": 2,
            "wave": wave,
            "wave_ms": wave_ms,
        }

    given = [
        record(0, 2, 500.0),
        record(1, 2, 500.0),
        record(2, 2, 300.0),
        record(3, 2, 300.0),
        record(4, 1, 90.0),
    ]
    found = latency_summary(given, {})
    assert (found["n"], found["streams"]) == (4, 2)
    assert found["images_per_s"] == pytest.approx(16 / 0.8)
    alone = latency_summary(given[-1:], {})
    assert (alone["n"], alone["latency_ms"]["p50"], alone["images_per_s"]) == (0, None, None), (
        "half the threads"
    )


class Paced(Recording):
    """Moves a clock that all callers share: a call takes so long for all of them together."""

    def __init__(self, clock: list[float], seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.clock[0] += self.seconds
        return x_t

    def describe(self) -> dict[str, Any]:
        return {"threads": torch.get_num_threads()}


def test_callers_have_their_share_of_torchs_threads_and_leave_this_threads_alone() -> None:
    before = torch.get_num_threads()
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, before)
        wide = callers(stack, 1, 4, lambda: Paced([0.0], 1.0))
        narrow = callers(stack, 2, 2, lambda: Paced([0.0], 1.0))
        assert (wide.threads(), narrow.threads()) == ([4], [2, 2])
        assert torch.get_num_threads() == before


def test_rates_are_images_over_the_time_in_which_all_callers_were_at_work() -> None:
    clock = [0.0]
    x_t = torch.zeros(3, 1, 8, 8)
    with ExitStack() as stack:
        one = callers(stack, 1, 1, lambda: Paced(clock, 0.5))
        two = callers(stack, 2, 1, lambda: Paced(clock, 0.25))
        turns = hold_rates(one, two, (x_t, torch.ones(3, dtype=torch.int64), None), lambda: clock[0], 4)
    assert len(turns) == 3
    assert all(turn == pytest.approx((3 / 0.5, 3 / 0.25)) for turn in turns)


@pytest.mark.parametrize(("gain", "count"), [(1.04, 1), (1.3, 2)])
def test_auto_takes_more_streams_only_where_they_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, gain: float, count: int
) -> None:
    clock, told, asked = [0.0], list[str](), list[int]()

    def opened(arm: Any, path: Path, threads: int, size: int, say: Any, hint: str) -> Denoiser:
        asked.append(threads)
        # 3 threads in one stream; in two of one thread each `gain` times as much; in three as much as in one
        return Paced(clock, 1.0 if threads == 3 or opened.several == 3 else 1.0 / gain)  # type: ignore[attr-defined]

    def held(stack: ExitStack, callers_of: int, threads: int, make: Callable[[], Denoiser]) -> Any:
        opened.several = callers_of  # type: ignore[attr-defined]
        return callers(stack, callers_of, threads, make)

    monkeypatch.setattr(module, "open_denoiser", opened)
    monkeypatch.setattr(module, "callers", held)
    before, dataset = torch.get_num_threads(), make_dataset()
    plan = Plan(
        RunConfig(batch_size=4, streams="auto"), (BLUR, method_cell()), dataset, choose_cases(dataset, 16), 3
    )
    try:
        found = choose_streams(plan, lambda: clock[0], told.append)
    finally:
        torch.set_num_threads(before)
    assert (found["count"], found["threads_each"]) == (count, 3 // count)
    assert [(entry["streams"], entry["network"]) for entry in found["measured"]] == [
        (2, NETWORK.name),
        (3, NETWORK.name),
    ]
    assert found["measured"][0]["ratio"] == pytest.approx(gain)
    assert asked == [3, 1, 1, 1, 1, 1], "the one stream's network is opened once for all candidates"
    assert told[-1].startswith(f"streams: {count} of {3 // count} threads each")


def test_the_warm_up_of_each_stream_is_its_own_and_recorded(
    tmp_path: Path, streams: Callable[..., list[Stream]]
) -> None:
    networks = [Recording(), Recording()]
    compute(tmp_path, (method_cell(),), streams=streams(*networks))
    assert cell_of(tmp_path).warm_up["first_call_ms"] > 0
    assert [r["first_call"] for r in records(tmp_path).values()] == [True] * 8 + [False] * 2


def test_a_run_that_is_taken_up_keeps_the_number_that_was_measured_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[dict[str, Any]] = [{"count": 2, "threads_each": 1}, {"count": 4, "threads_each": 1}]
    monkeypatch.setattr(module, "choose_streams", lambda *arguments: measured.pop(0))
    dataset = make_dataset()
    plan = Plan(RunConfig(streams="auto"), (BLUR,), dataset, choose_cases(dataset, 16), 4)
    run, watch = RunDirectory(tmp_path), Stopwatch()

    def shared(overwrite: bool = False, run_id: str = "this") -> int:
        found = module.shared_streams(plan, {"run_id": run_id}, run, overwrite, watch, lambda line: None)
        run.write_manifest({"run_id": "this", "streams": found})
        return int(found["count"])

    assert [shared(), shared(), shared(overwrite=True)] == [2, 2, 4]


@pytest.mark.parametrize(("wanted", "found"), [(1, {}), (3, {"count": 3, "threads_each": 2, "auto": False})])
def test_a_number_that_is_given_is_taken_and_one_is_nothing_to_record(
    tmp_path: Path, wanted: int, found: dict[str, Any]
) -> None:
    dataset = make_dataset()
    plan = Plan(RunConfig(streams=wanted), (BLUR,), dataset, choose_cases(dataset, 16), 7)
    run, watch = RunDirectory(tmp_path), Stopwatch()
    assert module.shared_streams(plan, {"run_id": "this"}, run, False, watch, lambda line: None) == found
