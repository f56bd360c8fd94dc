"""latency.json: milliseconds an image, and an image and network call, from the records of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from uadbench.bench.run.timing import percentiles
from uadbench.reports.vocabulary import STAGES

__all__ = ["latency_summary", "place_of"]


def latency_summary(records: Iterable[dict[str, Any]], warm_up: Mapping[str, Any]) -> dict[str, Any]:
    """Percentiles, stages, first call and load.

    A batch is one measurement, however many cases share it, so "n" counts batches. Batches smaller than the usual
    size (the last one, or cases run alone after an error) are another quantity and left out, and so are batches that
    left a stream idle, where there were several; "images_per_s" is then of all streams, None where none was ever full.

    Times of several machines, or of workers beside each other, are never mixed: where a shard or a worker computed a
    case, nothing is measured for the cell, and "places" has the summary of each place.
    """
    records = list(records)
    places: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        places.setdefault(place_of(record), []).append(record)
    if set(places) <= {""}:
        return _summary(records, warm_up)
    nothing = _summary([], {})
    sizes = [record["batch_size"] for record in records if record["status"] == "ok"]
    there = {name or "the process itself": _summary(found, {}) for name, found in sorted(places.items())}
    kept = ("n", "n_cases", "batch_size", "latency_ms", "network_ms", "load_max", "peak_memory_mib")
    return {
        **nothing,
        "n_cases": len(sizes),
        "batch_size": max(sizes, default=0),
        "nfe": next((one["nfe"] for one in there.values() if one["nfe"] is not None), None),
        "places": {name: {key: one[key] for key in kept} for name, one in there.items()},
    }


def place_of(record: Mapping[str, Any]) -> str:
    """Where a case was computed: 'shard 3/16', 'ray node 1a2b3c4d', '' for the process that owns the run."""
    where = record.get("where") or {}
    shard = f"shard {where['shard']}" if "shard" in where else ""
    worker = f"{where['executor']} node {where['node']}" if "executor" in where else ""
    return " ".join(part for part in (shard, worker) if part)


def _summary(records: Iterable[dict[str, Any]], warm_up: Mapping[str, Any]) -> dict[str, Any]:
    done = [record for record in records if record["status"] == "ok"]
    size = max((record["batch_size"] for record in done), default=0)
    streams = max((record.get("streams", 1) for record in done), default=1)
    measured = [record for record in _batches(done, size) if record.get("wave", 1) == streams]
    raw = [record["latency_ms"] for record in measured]
    calls = [record["network_call_ms"] for record in measured if record["network_call_ms"] is not None]
    memory = [record["peak_memory_mib"] for record in done if record["peak_memory_mib"] is not None]
    return {
        "n": len(measured),
        "n_cases": len(done),
        "batch_size": size,
        "latency_ms": percentiles(raw),
        "network_ms": percentiles(calls),
        "nfe": int(np.median([record["nfe"] for record in done])) if done else None,
        "first_call_ms": warm_up.get("first_call_ms"),
        "warmup_ms": warm_up.get("warmup_ms"),
        "stages_ms": {
            # transfers are not in records of earlier versions, whose stages they were part of
            stage: float(np.mean([record["stages_ms"].get(stage, 0.0) for record in measured]))
            if measured
            else None
            for stage in STAGES
        },
        "peak_memory_mib": max(memory, default=None),
        "load_max": max((record["load"] for record in done), default=None),
        "raw_ms": raw,
        **({"streams": streams, "images_per_s": _rate(measured)} if streams > 1 else {}),
    }


def _rate(measured: Iterable[dict[str, Any]]) -> float | None:
    """Images a second of all streams: those of the batches over their shares of the time in which they ran."""
    images, seconds = 0, 0.0
    for record in measured:
        images += record["batch_size"]
        seconds += record["wave_ms"] / 1e3 / record["wave"]
    return images / seconds if seconds else None


def _batches(done: Iterable[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """One record of each batch of that size."""
    batches: dict[tuple[int, float], dict[str, Any]] = {}
    for record in done:
        if record["batch_size"] == size:
            # a batch that was computed again after a kill is a measurement of its own
            batches.setdefault((record["batch"], record["latency_ms"]), record)
    return list(batches.values())
