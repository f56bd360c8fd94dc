"""Time by stage, measured from outside: methods never know that they are timed.

Every moment of a batch belongs to exactly one stage, the innermost one open. What no wrapped callable accounts
for is "other". The host clock is read only after the denoiser has finished its queued work.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from uadbench.engine.interfaces import Denoiser, Tools
from uadbench.engine.rng import to_device
from uadbench.engine.schedule import Schedule
from uadbench.engine.tools import stepper_of
from uadbench.reports.vocabulary import STAGES

__all__ = [
    "PERCENTILES",
    "Stopwatch",
    "TimedDenoiser",
    "load_average",
    "percentiles",
    "timed_move",
    "timed_tools",
    "timed_upload",
]

# The least count for which a percentile is not just the maximum by another name: 95 % sure to be exceeded
# by at least one sample.
PERCENTILES = {50: 1, 90: 29, 95: 59, 99: 299}

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


@dataclass
class Stopwatch:
    """Exclusive times of nested stages.

    elapsed : stage -> seconds
    calls : stage -> how often it was entered
    samples : stage -> seconds of each entry, nested stages included, for the stages named in ``keep``; entries that
        were queued share what was waited for them
    told : is given (stage, start, end) by the clock when a stage is left
    """

    clock: Callable[[], float] = time.perf_counter
    keep: frozenset[str] = frozenset({"network"})
    elapsed: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    told: Callable[[str, float, float], None] | None = None
    _open: list[str] = field(default_factory=list)
    _since: float = 0.0
    _queued: list[tuple[str, Callable[[], None]]] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge the time until exit to ``name``, less that of stages opened within."""
        start = self._charge()
        self._open.append(name)
        self.calls[name] = self.calls.get(name, 0) + 1
        try:
            yield
        finally:
            end = self._charge()
            self._open.pop()
            if name in self.keep:
                self.samples.setdefault(name, []).append(end - start)
            if self.told is not None:
                self.told(name, start, end)

    def queue(self, name: str, finish: Callable[[], None]) -> None:
        """The last entry of a stage has queued work that is not done yet; ``finish`` waits for all that is queued."""
        self._queued.append((name, finish))

    @property
    def queued(self) -> bool:
        """Whether work is queued that ``settle`` would wait for."""
        return bool(self._queued)

    def settle(self) -> None:
        """Wait for what is queued; the wait is charged to the stage that queued it, and shared among its entries."""
        if not self._queued:
            return
        (name, finish), count = self._queued[-1], len(self._queued)
        self._queued.clear()
        start = self._charge()
        self._open.append(name)
        try:
            finish()
        finally:
            end = self._charge()
            self._open.pop()
            if name in self.keep:
                share = (end - start) / count
                self.samples[name][-count:] = [seconds + share for seconds in self.samples[name][-count:]]
            if self.told is not None:
                self.told(name, start, end)

    def wrap(self, name: str, function: Wrapped) -> Wrapped:
        """The same function, its time charged to ``name``."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed  # type: ignore[return-value]

    @property
    def total(self) -> float:
        """Seconds in all stages together."""
        return sum(self.elapsed.values())

    def stages_ms(self, share: int = 1) -> dict[str, float]:
        """Milliseconds of every one of ``STAGES``, divided by ``share``, the number of images."""
        return {name: self.elapsed.get(name, 0.0) * 1e3 / share for name in STAGES}

    def _charge(self) -> float:
        now = self.clock()
        if self._open:
            top = self._open[-1]
            self.elapsed[top] = self.elapsed.get(top, 0.0) + now - self._since
        self._since = now
        return now


@dataclass
class TimedDenoiser:
    """A denoiser whose calls are counted and timed; ``before_call`` may raise to stop between two calls."""

    inner: Denoiser
    watch: Stopwatch
    before_call: Callable[[], None]

    def __post_init__(self) -> None:
        self.name, self.device, self.precision = self.inner.name, self.inner.device, self.inner.precision

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.before_call()
        self.watch.settle()
        self.inner.synchronize()
        with self.watch.stage("network"):
            eps = self.inner.denoise(x_t, t, cond)
            self.inner.synchronize()
        return eps

    def stepper(
        self, schedule: Schedule, eta: float = 1.0, x0_variance: Callable[[int], float] | None = None
    ) -> Callable[..., tuple[Tensor, Tensor]] | None:
        """The inner one's whole steps, counted and timed as calls of the network, which they contain.

        Steps that follow each other are queued and waited for together, see ``Stopwatch.settle``: to wait for each
        would leave a GPU idle while the host prepares the next.
        """
        inner = stepper_of(self.inner, schedule, eta, x0_variance)
        if inner is None:
            return None

        def step(
            x_t: Tensor, t: int, t_prev: int, noise: Tensor | None, cond: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            self.before_call()
            if not self.watch.queued:
                self.inner.synchronize()
            with self.watch.stage("network"):
                found = inner(x_t, t, t_prev, noise, cond)
            self.watch.queue("network", self.inner.synchronize)
            return found

        return step

    def synchronize(self) -> None:
        self.inner.synchronize()

    def close(self) -> None:
        self.inner.close()

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()


def timed_move(
    move: Callable[[Tensor], Tensor], denoiser: Denoiser, watch: Stopwatch
) -> Callable[[Tensor], Tensor]:
    """The same move between the host and the denoiser's device, its time charged to "transfers"; nothing on a CPU.

    What was queued before is waited for first, and the copy before it ends. Only while steps of a chain are queued,
    which nobody waits for, it is charged as long as the host takes to queue the copy.
    """
    if denoiser.device == "cpu":
        return move

    def wait() -> None:
        if not watch.queued:
            denoiser.synchronize()

    def timed(tensor: Tensor) -> Tensor:
        wait()
        with watch.stage("transfers"):
            moved = move(tensor)
            wait()
        return moved

    return timed


def timed_upload(denoiser: Denoiser, watch: Stopwatch) -> Callable[[Tensor], Tensor]:
    """What brings a tensor of the host to the denoiser's device, see ``timed_move``."""
    return timed_move(lambda tensor: to_device(tensor, denoiser.device), denoiser, watch)


def timed_tools(tools: Tools, denoiser: Denoiser, watch: Stopwatch) -> Tools:
    """Tools whose callables are charged to their stages.

    The denoiser and the noise source are to be wrapped before the tools are made of them, so that the network
    and the noise that a step calls inside are charged to "network" and "noise" and not to "update". What looks at
    images first waits for queued steps, so that their time is not charged to it. Morphology is computed on the host:
    its maps are brought there and back, which are transfers.
    """

    def settled(name: str, function: Wrapped) -> Wrapped:
        timed = watch.wrap(name, function)

        def waiting(*args: Any, **kwargs: Any) -> Any:
            watch.settle()
            return timed(*args, **kwargs)

        return waiting  # type: ignore[return-value]

    upload = timed_upload(denoiser, watch)
    download = timed_move(lambda tensor: tensor.cpu(), denoiser, watch)

    def on_host(name: str, function: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], Tensor]:
        timed = watch.wrap(name, function)

        def moved(map: Tensor, size: int) -> Tensor:
            watch.settle()
            return upload(timed(download(map), size))

        return moved

    def against(x: Tensor) -> Callable[[Tensor], Tensor]:
        watch.settle()
        with watch.stage("perceptual"):
            return settled("perceptual", tools.against(x))

    return replace(
        tools,
        predict_x0=watch.wrap("update", tools.predict_x0),
        reverse=watch.wrap("update", tools.reverse),
        add_noise=watch.wrap("update", tools.add_noise),
        diffuse=watch.wrap("update", tools.diffuse),
        against=against,
        close=on_host("morphology", tools.close),
        dilate=on_host("morphology", tools.dilate),
    )


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p90, p95, p99 and mean; None where the count does not allow a percentile (``PERCENTILES``)."""
    n = len(values)
    result: dict[str, float | None] = {
        f"p{p}": float(np.percentile(values, p)) if n >= least else None for p, least in PERCENTILES.items()
    }
    return {**result, "mean": float(np.mean(values)) if n else None}


def load_average() -> float:
    """The machine's load over the last minute; 0 where the system keeps none."""
    try:
        return os.getloadavg()[0]
    except OSError:
        return 0.0
