"""Profiles without a back end: a clock that only fakes move, denoisers that take a set time, made records."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadbench.bench.profile.calls import Clocks
from uadbench.bench.profile.measure import Instruments
from uadbench.bench.profile.memory import Peak
from uadbench.bench.profile.stability import judge_stability
from uadbench.bench.run.timing import percentiles


class Clock:
    """Seconds that pass only where somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    @property
    def clocks(self) -> Clocks:
        return Clocks(self, self)


class Slow:
    """Takes so many seconds a call, the first call as many more; answers by a function of x_t."""

    device = "cpu"

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        name: str = "torch",
        precision: str = "fp32",
        answer: Callable[[Tensor], Tensor] = lambda x: 0.5 * x,
        first: float = 0.0,
        threads: int = 1,
    ) -> None:
        self.clock, self.seconds, self.name, self.precision = clock, seconds, name, precision
        self.answer, self.first, self.threads, self.calls, self.closed = answer, first, threads, 0, False
        self.told: dict[str, Any] = {}

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.clock.now += self.seconds + (self.first if self.calls == 0 else 0.0)
        self.calls += 1
        return self.answer(x_t)

    def synchronize(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def describe(self) -> dict[str, Any]:
        return {"provider": "fake", "threads": self.threads, **self.told}


def instruments(clock: Clock, opener: Callable[..., Any], **more: Any) -> Instruments:
    """Everything by the fake clock, no load, no ceilings but made ones."""
    fields: dict[str, Any] = {
        "clocks": clock.clocks,
        "load": lambda: 0.0,
        "opener": opener,
        "at_work": lambda device, work: {"cpu_mhz": 2600},
        "peak": lambda *arguments: Peak(100.0),
        "ceilings": lambda device, precisions, quick: {
            "copy_gb_s": 10.0,
            "sizes": {},
            "precisions": {name: {"matmul_gflops": 100.0, "conv_gflops": 200.0} for name in precisions},
        },
    }
    return Instruments(**{**fields, **more})


def made_row(times_ms: Sequence[float] = (10.0,) * 12, **changes: Any) -> dict[str, Any]:
    """A row of one call on torch fp32 with these times."""
    image = [time / changes.get("batch", 1) for time in times_ms]
    stability = judge_stability(image)
    row: dict[str, Any] = {
        "network": "unet-gaussian",
        "network_sha256": "0" * 64,
        "method": "-",
        "label": "one call",
        "backend": "torch",
        "precision": "fp32",
        "device": "cpu",
        "batch": 1,
        "threads": 2,
        "status": "ok",
        "reason": "",
        "rounds": len(times_ms),
        "nfe": 1,
        "network_ms": percentiles(times_ms),
        "image_ms": percentiles(image),
        "images_per_s": 1e3 / image[0],
        "device_ms": percentiles([]),
        "enqueue_ms": percentiles(times_ms),
        "stages_ms": None,
        "cpu_use": 1.0,
        "load_max": 0.1,
        "under_load": False,
        "stability": {**stability.__dict__, "text": stability.text},
        "build_ms": 100.0,
        "reopen_ms": None,
        "first_call_ms": 20.0,
        "second_call_ms": 10.0,
        "peak_mib": 12.5,
        "device_peak_mib": None,
        "peak_note": "",
        "ran": {},
        "parity": "reference",
        "parity_error": None,
        "parity_gate": None,
        "parity_note": "",
        "flops": 10**9,
        "bytes": 10**7,
        "intensity": 100.0,
        "count_note": "",
        "gflops": 100.0,
        "ceiling_gflops": 200.0,
        "share_of_ceiling": 0.5,
        "gb_per_s": 1.0,
        "share_of_copy": 0.1,
        "speedup": None,
        "speedup_note": "the reference",
    }
    raw = [
        {
            "round": number,
            "load": 0.1,
            "start_ms": 1000.0 + 100 * number,
            "ms": float(time),
            "enqueue_ms": float(time),
            "device_ms": None,
            "cpu_ms": float(time),
        }
        for number, time in enumerate(times_ms)
    ]
    return {**row, "raw": raw, **changes}


def made_profile(rows: Sequence[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A finished profile with these rows."""
    return {
        "schema": 4,
        "kind": "profile",
        "created": "2026-01-02T03:04:05Z",
        "finished": "2026-01-02T03:05:05Z",
        "command": "bench profile --quick",
        "version": "0.1.0",
        "git": {"commit": "a" * 40, "dirty": False},
        "machine": "0123abcd",
        "environment": {"cpu": "Some CPU", "cores": 2, "os": "Linux", "packages": {"torch": "2.13.0"}},
        "at_work": [{"network": "unet-gaussian", "batch": 1, "cpu_mhz": 2600}],
        "hint": "latency",
        "threads": 2,
        "device": "cpu",
        "seed": 0,
        "stability_rule": "a rule",
        "data": "phantom",
        "left_out": {},
        "networks": {"unet-gaussian": {}},
        "ceilings": {
            "cpu": {
                "copy_gb_s": 10.0,
                "precisions": {"fp32": {"matmul_gflops": 150.0, "conv_gflops": 200.0}},
            }
        },
        "streams": [],
        "rows": list([made_row()] if rows is None else rows),
        **changes,
    }


def tiny_network(folder: Path) -> Path:
    """A checkpoint that is quick to load and to count."""
    from support.tiny_network import make_checkpoint

    torch.manual_seed(0)
    return make_checkpoint(folder)


def die(*arguments: Any) -> None:
    """In place of what a process is for: it ends at once, as if it had been killed."""
    os._exit(7)


def sleep_on(*arguments: Any) -> None:
    """Likewise: it does not come to an end."""
    time.sleep(60)
