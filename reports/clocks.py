"""What may be said of times: under which load they were taken, which may be held against each other, speed-ups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from uadbench.reports.identity import arm_of, reference_of, variant_of
from uadbench.reports.places import short_text
from uadbench.reports.runs import Cell, Run
from uadbench.reports.vocabulary import LOAD_LIMIT

__all__ = ["Clock", "clock", "load_over", "reason_of", "speedup", "streams_of"]


@dataclass(frozen=True)
class Clock:
    """By what a cell was timed.

    machine : times of one machine, with as many threads and batches of one size, may be held against each other
    fault : why its time may be held against none, "" where it may
    """

    machine: str
    fault: str = ""


def clock(run: Run, cell: Cell) -> Clock:
    """By what a cell was timed."""
    found = run.manifest.get("environment") or {}
    parts = [found.get(key) for key in ("cpu", "cores", "threads", "memory_mib", "os")]
    device = (found.get("torch") or {}).get("cuda_device")
    machine = " / ".join(str(part) for part in (*parts, device, f"batches of {cell.batch_size}"))
    if streams_of(cell) > 1:
        return Clock(machine, "several batches ran at a time")
    if any("environment" in session for session in run.manifest.get("sessions") or ()):
        return Clock(machine, "the run was taken up on another machine or with other software")
    if busy := load_over(run, cell):
        return Clock(machine, f"timed while something else was running (load {busy:.1f})")
    return Clock(machine)


def streams_of(cell: Cell) -> int:
    """How many batches ran at a time."""
    return int((cell.latency or {}).get("streams") or 1)


def speedup(run: Run, cell: Cell) -> tuple[float | None, str]:
    """(ratio of median latencies against the same method on torch fp32 in the same run, '') or (None, why not)."""
    variant, arm = variant_of(cell.info), arm_of(cell.info)
    if variant.floor:
        return None, "a floor has no network"
    reference = reference_of(arm)
    if arm == reference:
        return None, "the reference"
    matches = [
        other for other in run.cells if arm_of(other.info) == reference and variant_of(other.info) == variant
    ]
    if not matches:
        return None, "this run has no torch fp32 cell of the method"
    if streams_of(cell) > 1:
        return None, f"{streams_of(cell)} batches ran at a time: images_per_s says what that gave"
    verdict = (run.parity or {}).get(cell.slug) or {}
    if verdict.get("verdict") != "pass":
        if not verdict:
            return None, "parity was not checked"
        return None, f"parity {verdict.get('verdict')}: {reason_of(verdict) or 'no reason given'}"
    if cell.batch_size != matches[0].batch_size:
        return None, "timed at another batch size than torch fp32"
    if any("environment" in session for session in run.manifest.get("sessions") or ()):
        return None, "the run was taken up on another machine or with other software"
    if busy := max(load_over(run, cell) or 0.0, load_over(run, matches[0]) or 0.0):
        return None, f"timed while something else was running (load {busy:.1f})"
    own = ((cell.latency or {}).get("latency_ms") or {}).get("p50")
    slow = ((matches[0].latency or {}).get("latency_ms") or {}).get("p50")
    if not own or not slow:
        return None, "latency was not measured"
    return slow / own, ""


def load_over(run: Run, cell: Cell) -> float | None:
    """The highest load under which a cell was timed, where that is above LOAD_LIMIT times the threads; else None."""
    threads = (run.manifest.get("environment") or {}).get("threads")
    load = (cell.latency or {}).get("load_max")
    if not threads or load is None:
        return None
    return float(load) if load > LOAD_LIMIT * threads else None


def reason_of(verdict: dict[str, Any]) -> str:
    """Why a verdict is as it is, without anybody's folders."""
    return short_text(str(verdict.get("reason") or ""))
