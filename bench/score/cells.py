"""From a finished cell's records to metrics.json and latency.json; a pure function of the run directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from uadbench.bench.run.timing import STAGES, percentiles
from uadbench.bench.score.summary import Scored, summarize
from uadbench.reports.store import read_arrays, read_cases, read_input, read_json, write_json

__all__ = ["latency_summary", "score_cell", "scored_cases"]


def score_cell(run: Path, slug: str, order: Iterable[str], seed: int, n_boot: int) -> dict[str, Any]:
    """Write metrics.json and latency.json of a cell; returns the metrics.

    order : case ids; cases are scored in this order, whatever order they were finished in
    """
    path = run / "cells" / slug
    by_id = {record["case_id"]: record for record in read_cases(path)}
    records = [by_id[case_id] for case_id in order if case_id in by_id]
    test = [record for record in records if record["split"] == "test"]
    unscored = [record for record in test if record["status"] != "ok"]
    metrics = summarize(
        scored_cases(run, slug, test),
        scored_cases(run, slug, (record for record in records if record["split"] == "val")),
        seed,
        n_boot,
        [{"case_id": record["case_id"], "reason": record["reason"]} for record in unscored],
    )
    write_json(path / "metrics.json", metrics)
    write_json(path / "latency.json", latency_summary(records, _warmup(path)))
    return metrics


def scored_cases(run: Path, slug: str, records: Iterable[dict[str, Any]]) -> list[Scored]:
    """The cases that have a result, with it."""
    return [
        Scored(
            record["case_id"],
            record["subject"],
            record["lesion"],
            read_arrays(run / "cells" / slug, record["case_id"])[0],
            read_input(run, record["case_id"])[1],
            record["metrics"],
        )
        for record in records
        if record["status"] == "ok"
    ]


def latency_summary(records: Iterable[dict[str, Any]], warmup: dict[str, Any]) -> dict[str, Any]:
    """latency.json: milliseconds an image, and an image and network call.

    A batch is one measurement, however many cases share it, so "n" counts batches. Batches smaller than the usual
    size (the last one, or cases run alone after an error) are another quantity and left out.
    """
    done = [record for record in records if record["status"] == "ok"]
    size = max((record["batch_size"] for record in done), default=0)
    batches: dict[tuple[int, float], dict[str, Any]] = {}
    for record in done:
        if record["batch_size"] == size:
            # a batch that was computed again after a kill is a measurement of its own
            batches.setdefault((record["batch"], record["latency_ms"]), record)
    measured = list(batches.values())
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
        "first_call_ms": warmup.get("first_call_ms"),
        "warmup_ms": warmup.get("warmup_ms"),
        "stages_ms": {
            stage: float(np.mean([record["stages_ms"][stage] for record in measured])) if measured else None
            for stage in STAGES
        },
        "peak_memory_mib": max(memory, default=None),
        "load_max": max((record["load"] for record in done), default=None),
        "raw_ms": raw,
    }


def _warmup(path: Path) -> dict[str, Any]:
    file = path / "warmup.json"
    return read_json(file) if file.is_file() else {}
