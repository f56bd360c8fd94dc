"""Every moment belongs to one stage, and percentiles need enough samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from uadbench.bench.run.timing import (
    Stopwatch,
    TimedDenoiser,
    percentiles,
    timed_move,
    timed_tools,
    timed_upload,
)
from uadbench.bench.score.latency import latency_summary
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools
from uadbench.reports.vocabulary import STAGES


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_nested_stage_is_taken_off_the_one_around_it() -> None:
    clock = Clock()
    watch = Stopwatch(clock, keep=frozenset({"update"}))
    with watch.stage("other"):
        clock.now += 1
        with watch.stage("update"):
            clock.now += 2
            with watch.stage("noise"):
                clock.now += 4
            clock.now += 8
        clock.now += 16
    assert watch.elapsed == {"other": 17, "update": 10, "noise": 4}
    assert watch.samples == {"update": [14]}
    assert watch.total == clock.now
    assert watch.stages_ms(2)["update"] == 5000
    assert set(watch.stages_ms()) == set(STAGES)


def test_queued_steps_are_waited_for_together_before_anybody_looks_and_share_the_wait() -> None:
    clock, waits = Clock(), list[float]()
    watch = Stopwatch(clock)

    class Stepping:
        """Queues a step in 1 s; each is done 5 s later."""

        name, device, precision, queued = "own", "cuda", "fp32", 0

        def stepper(self, *_: Any) -> Callable[..., tuple[Tensor, Tensor]]:
            def step(x_t: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
                clock.now += 1
                self.queued += 1
                return x_t, x_t

            return step

        def synchronize(self) -> None:
            waits.append(5.0 * self.queued)
            clock.now += waits[-1]
            self.queued = 0

    class Perceptual:
        name = "none"

        def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda x_rec: x_rec

    stops: list[int] = []
    timed = TimedDenoiser(Stepping(), watch, lambda: stops.append(0))  # type: ignore[arg-type]
    tools = timed_tools(
        make_tools(timed, linear_schedule(), lambda t: torch.zeros(1, 1, 4, 4), Perceptual()), timed, watch
    )
    x = torch.zeros(1, 1, 4, 4)
    with watch.stage("other"):
        compare = tools.against(x)
        for t in (9, 8, 7):
            x, _ = tools.reverse(x, t, t - 1)
        assert waits == [0], "once before the first, then the host goes on"
        compare(x)
        tools.reverse(x, 6, 5)
        watch.settle()
        watch.settle()
    assert waits == [0, 15, 0, 5]
    assert watch.samples["network"] == [6, 6, 6, 6]
    assert watch.calls["network"] == len(stops) == 4
    assert watch.elapsed["network"] == watch.total == clock.now == 24


def test_whoever_is_told_hears_of_every_stage_when_it_is_left() -> None:
    ticks, told = iter([0.0, 1.0, 3.0, 6.0]), list[tuple[str, float, float]]()
    watch = Stopwatch(lambda: next(ticks), told=lambda *span: told.append(span))
    with watch.stage("update"), watch.stage("network"):
        pass
    assert told == [("network", 1.0, 3.0), ("update", 0.0, 6.0)]


def test_a_stage_that_raises_is_closed() -> None:
    clock = Clock()
    watch = Stopwatch(clock)

    def fail() -> None:
        clock.now += 1
        raise ZeroDivisionError

    with watch.stage("other"):
        with pytest.raises(ZeroDivisionError):
            watch.wrap("network", fail)()
        clock.now += 2
    assert watch.elapsed == {"other": 2, "network": 1}


class Slow:
    """A denoiser, noise source and perceptual net that each take a known time."""

    name, device, precision = "slow", "cpu", "fp32"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waited = 0

    def spend(self, seconds: float, value: Any) -> Any:
        self.clock.now += seconds
        return value

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.spend(5, torch.zeros_like(x_t))

    def synchronize(self) -> None:
        self.waited += 1

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        return self.spend(3, lambda x_rec: self.spend(2, x - x_rec))


def test_tools_charge_network_noise_and_perceptual_to_their_stages() -> None:
    clock = Clock()
    slow, watch = Slow(clock), Stopwatch(clock)
    asked: list[int] = []
    timed = TimedDenoiser(slow, watch, lambda: asked.append(1))
    noise = watch.wrap("noise", lambda t: slow.spend(1, torch.zeros(1, 1, 4, 4)))
    tools = timed_tools(make_tools(timed, linear_schedule(10), noise, slow), timed, watch)
    x = torch.zeros(1, 1, 4, 4)
    with watch.stage("other"):
        tools.reverse(x, 5, 4)  # calls the network and draws noise inside
        tools.diffuse(x, 4, 5)  # so does this
        compare = tools.against(x)
        compare(x)
        compare(x)
    assert watch.elapsed["network"] == 5
    assert watch.elapsed["noise"] == 2
    assert watch.elapsed["perceptual"] == 3 + 2 * 2
    assert watch.elapsed["update"] == 0
    assert watch.calls["update"] == 2
    assert asked == [1]
    assert slow.waited == 2  # before the clock starts and before it stops


class Moved(Slow):
    """Where "meta" stands for a GPU: each copy to it is queued and takes 7 s, waited for by ``synchronize``."""

    device = "meta"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.queued = 0.0

    def take(self, tensor: Tensor) -> Tensor:
        self.queued += 7
        return tensor

    def synchronize(self) -> None:
        super().synchronize()
        self.clock.now, self.queued = self.clock.now + self.queued, 0.0


def test_a_copy_is_waited_for_and_what_was_queued_before_is_not_charged_to_it() -> None:
    clock = Clock()
    gpu, watch = Moved(clock), Stopwatch(clock)
    move = timed_move(gpu.take, gpu, watch)
    with watch.stage("other"):
        gpu.queued = 100.0
        move(torch.zeros(1))
        move(torch.zeros(1))
    assert watch.elapsed == {"other": 100, "transfers": 14}


def test_a_copy_between_queued_steps_is_not_waited_for() -> None:
    clock = Clock()
    gpu, watch = Moved(clock), Stopwatch(clock)
    with watch.stage("other"):
        with watch.stage("network"):
            gpu.queued = 3.0
        watch.queue("network", gpu.synchronize)
        timed_move(gpu.take, gpu, watch)(torch.zeros(1))
        assert gpu.waited == 0
        watch.settle()
    assert watch.elapsed == {"other": 0, "network": 3 + 7, "transfers": 0}


def test_on_a_cpu_nothing_moves_and_nothing_is_charged() -> None:
    clock = Clock()
    slow, watch = Slow(clock), Stopwatch(clock)
    x = torch.zeros(1, 1, 4, 4)
    assert timed_upload(slow, watch)(x) is x
    tools = timed_tools(make_tools(slow, linear_schedule(10), lambda t: x, slow), slow, watch)
    tools.dilate(tools.close(x, 3), 3)
    assert set(watch.elapsed) == {"morphology"}
    assert watch.stages_ms()["transfers"] == 0


def test_morphology_brings_its_maps_to_the_host_and_back() -> None:
    clock = Clock()
    gpu, watch = Moved(clock), Stopwatch(clock)
    tools = timed_tools(make_tools(gpu, linear_schedule(10), lambda t: torch.zeros(1), gpu), gpu, watch)
    assert tools.close(torch.zeros(1, 1, 4, 4), 3).device.type == "meta"
    assert (watch.calls["transfers"], watch.calls["morphology"]) == (2, 1)


@pytest.mark.parametrize(
    ("n", "given"),
    [
        (0, set()),
        (1, {"p50"}),
        (28, {"p50"}),
        (29, {"p50", "p90"}),
        (58, {"p50", "p90"}),
        (59, {"p50", "p90", "p95"}),
        (298, {"p50", "p90", "p95"}),
        (299, {"p50", "p90", "p95", "p99"}),
    ],
)
def test_a_percentile_is_given_only_where_the_count_allows_it(n: int, given: set[str]) -> None:
    result = percentiles([float(i) for i in range(n)])
    assert {key for key, value in result.items() if value is not None} - {"mean"} == given
    assert (result["mean"] is None) == (n == 0)


def record(batch: int, latency_ms: float, size: int, **more: Any) -> dict[str, Any]:
    return {
        "status": "ok",
        "batch": batch,
        "latency_ms": latency_ms,
        "network_call_ms": latency_ms / 10,
        "stages_ms": dict.fromkeys(STAGES, latency_ms / 6),
        "batch_size": size,
        "nfe": 10,
        "load": 0.5,
        "peak_memory_mib": 100.0 + batch,
        **more,
    }


def test_a_batch_is_one_measurement_and_smaller_batches_are_left_out() -> None:
    records = [record(b, 100.0 + b, 2) for b in range(3) for _ in range(2)]
    records += [record(3, 900.0, 1), {"status": "failed", "latency_ms": None}]
    summary = latency_summary(records, {"warmup_ms": 7.0, "first_call_ms": 3.0})
    assert (summary["n"], summary["n_cases"], summary["batch_size"]) == (3, 7, 2)
    assert summary["raw_ms"] == [100, 101, 102]
    assert summary["latency_ms"]["p50"] == 101
    assert summary["latency_ms"]["p90"] is None
    assert summary["network_ms"]["p50"] == pytest.approx(10.1)
    assert (summary["warmup_ms"], summary["first_call_ms"]) == (7, 3)
    assert summary["peak_memory_mib"] == 103
    assert summary["stages_ms"]["network"] == pytest.approx(101 / 6)


def test_records_of_earlier_versions_know_no_transfers_and_are_summed_up() -> None:
    older = {"network": 8.0, "update": 1.0, "noise": 1.0, "perceptual": 0.0, "morphology": 0.0, "other": 0.0}
    summary = latency_summary([record(0, 10.0, 1) | {"stages_ms": older}], {})
    assert summary["stages_ms"] == older | {"transfers": 0.0}


def test_a_cell_without_any_case_has_no_figures_rather_than_zeros() -> None:
    summary = latency_summary([], {})
    assert summary["latency_ms"] == {"p50": None, "p90": None, "p95": None, "p99": None, "mean": None}
    assert set(summary["stages_ms"].values()) == {None}
    assert summary["nfe"] is None
