"""Chrome traces of one call: torch's own profiler where torch computes, else the stages that the harness sees."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from uadbench.bench.plan.grid import Cell
from uadbench.bench.profile.calls import Clocks
from uadbench.bench.profile.inputs import Inputs
from uadbench.bench.run.evaluate import Bench, call_method
from uadbench.bench.run.timing import Stopwatch
from uadbench.engine.backends import BACKENDS
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.atomic import write_bytes

__all__ = ["trace_call"]

# Above all that torch's profiler writes to stderr by itself: 5 are lines on its own start and end.
SILENT = "6"

Span = tuple[str, float, float]


def trace_call(
    path: Path, denoiser: Denoiser, inputs: Inputs, cell: Cell | None, bench: Bench, clocks: Clocks
) -> None:
    """Write a trace of one call, of the network or, with a cell, of the method. Its times are the profiler's too.

    A back end that is opened from a checkpoint computes with torch, whose profiler sees its operations; of others
    there are only stages.
    """
    spans: list[Span] = []
    watch = Stopwatch(clocks.wall, told=lambda name, start, end: spans.append((name, start, end)))
    on_device = inputs.on(denoiser.device)

    def call() -> None:
        if cell is not None:
            call_method(cell, denoiser, inputs.samples, bench, watch)
            return
        with watch.stage("network"):
            denoiser.denoise(*on_device)
            denoiser.synchronize()

    if BACKENDS[denoiser.name].source != "checkpoint":
        call()
        write_bytes(path, json.dumps(_chrome_events(spans, denoiser.name)).encode())
        return
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * denoiser.device.startswith("cuda")
    os.environ.setdefault("KINETO_LOG_LEVEL", SILENT)  # read once, when the profiler is first started
    with profile(activities=kinds) as profiler:
        call()
    path.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(path))


def _chrome_events(spans: Sequence[Span], name: str) -> dict[str, Any]:
    """Complete events of the Trace Event Format, microseconds from the first start. spans: (stage, start, end) in s."""
    first = min((start for _, start, _ in spans), default=0.0)
    events = [
        {
            "name": stage,
            "cat": "stage",
            "ph": "X",
            "ts": (start - first) * 1e6,
            "dur": (end - start) * 1e6,
            "pid": 0,
            "tid": 0,
        }
        for stage, start, end in sorted(spans, key=lambda span: (span[1], -span[2]))
    ]
    title = {"name": "process_name", "ph": "M", "pid": 0, "args": {"name": name}}
    return {"traceEvents": [title, *events], "displayTimeUnit": "ms", "torch": torch.__version__}
