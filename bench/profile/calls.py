"""One timed call, of a network or of a whole method, and rounds in which all arms take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from uadbench.bench.plan.grid import Cell
from uadbench.bench.run.evaluate import Bench, call_method, one_line
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Sample
from uadbench.engine.interfaces import Denoiser

__all__ = ["Clocks", "Timed", "call_in_turn", "call_network", "interleave", "time_method", "turns"]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Clocks:
    """Where the time comes from: seconds of the host, and processor seconds of this process."""

    wall: Callable[[], float] = time.perf_counter
    cpu: Callable[[], float] = time.process_time


HOST = Clocks()


@dataclass(frozen=True)
class Timed:
    """One timed call.

    start, seconds : by the host's clock, all queued work done before and after
    cpu : processor seconds of the process meanwhile
    enqueue : seconds until the call returned, before its work was waited for; None for a method
    device_ms : between CUDA events around it on torch's stream; None off a GPU and for a method
    stages_ms : by stage, and
    network_calls : seconds of each network call, of a method
    round, load : when it was taken, and the load average before that round
    """

    start: float
    seconds: float
    cpu: float
    enqueue: float | None = None
    device_ms: float | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    network_calls: tuple[float, ...] = ()
    round: int = 0
    load: float = 0.0


def call_network(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, cond: Tensor | None = None, clocks: Clocks = HOST
) -> Timed:
    """One call on images [B, 1, H, W] that lie on the denoiser's device."""
    denoiser.synchronize()
    events = _Events(denoiser.device)
    cpu, start = clocks.cpu(), clocks.wall()
    events.begin()
    denoiser.denoise(x_t, t, cond)
    events.end()
    returned = clocks.wall()
    denoiser.synchronize()
    end = clocks.wall()
    return Timed(start, end - start, clocks.cpu() - cpu, returned - start, events.milliseconds())


def call_in_turn(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, cond: Tensor | None = None, clocks: Clocks = HOST
) -> Timed:
    """The second of two calls in succession, as in a chain.

    The first pays for whose turn it was before: caches with the other's weights, and threads of the other's library
    that hold a core for some milliseconds while they wait for more work.
    """
    denoiser.denoise(x_t, t, cond)
    return call_network(denoiser, x_t, t, cond, clocks)


def time_method(
    cell: Cell, denoiser: Denoiser, samples: Sequence[Sample], bench: Bench, clocks: Clocks = HOST
) -> Timed:
    """One call of a method on a batch of cases, with its stages, by the code of ``bench run``."""
    watch = Stopwatch(clocks.wall)
    denoiser.synchronize()
    cpu, start = clocks.cpu(), clocks.wall()
    call_method(cell, denoiser, samples, bench, watch)
    return Timed(
        start,
        watch.total,
        clocks.cpu() - cpu,
        stages_ms=watch.stages_ms(),
        network_calls=tuple(watch.samples.get("network", ())),
    )


def turns(keys: Sequence[Key], number: int) -> list[Key]:
    """The order of a round: rotated by one each round, and backwards in every other.

    Nobody has two turns in succession. From three on, each follows now one and now another; two can only alternate.
    """
    start = number % len(keys) if keys else 0
    order = [*keys[start:], *keys[:start]]
    return order[::-1] if number % 2 else order


def interleave(
    calls: Mapping[Key, Callable[[], Timed]],
    rounds: int,
    load: Callable[[], float],
    stop: Callable[[], None],
    taken: dict[Key, list[Timed]],
    failed: dict[Key, str],
) -> None:
    """One turn of every key in each round.

    taken : key -> its calls, filled as they come, so that what was measured outlives an interruption
    failed : key -> why it gives no more times; filled likewise
    stop : may raise to stop before a call
    """
    keys = list(calls)
    for number in range(rounds):
        before = load()
        for key in turns(keys, number):
            if key in failed:
                continue
            stop()
            try:
                found = calls[key]()
            except Exception as error:  # a back end may raise anything; the others go on
                failed[key] = one_line(error)
                continue
            taken.setdefault(key, []).append(replace(found, round=number, load=before))


class _Events:
    """CUDA events on torch's current stream; nothing off a GPU."""

    def __init__(self, device: str) -> None:
        self.stream: Any = torch.cuda.current_stream(device) if device.startswith("cuda") else None
        if self.stream is not None:
            self.pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def begin(self) -> None:
        if self.stream is not None:
            self.pair[0].record(self.stream)

    def end(self) -> None:
        if self.stream is not None:
            self.pair[1].record(self.stream)

    def milliseconds(self) -> float | None:
        """Call after the work was waited for."""
        if self.stream is None:
            return None
        self.pair[1].synchronize()
        return float(self.pair[0].elapsed_time(self.pair[1]))
