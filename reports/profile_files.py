"""A profile as data for other programs: profile.csv and times.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

__all__ = ["COLUMNS", "csv_text", "timings"]

COLUMNS = (
    *("network", "method", "label", "backend", "precision", "device", "batch", "threads", "rounds", "status"),
    *("network_ms_p50", "image_ms_p50", "image_ms_p90", "image_ms_p99", "images_per_s"),
    *("speedup_vs_eager", "speedup_lo", "speedup_hi", "parity", "parity_error"),
    *("flops", "bytes", "gflops", "share_of_ceiling", "gb_per_s", "share_of_copy"),
    *("first_call_ms", "build_ms", "reopen_ms", "peak_mib", "device_peak_mib", "device_ms_p50"),
    *("stability", "load_max", "under_load", "cpu_use"),
)
"""Of profile.csv."""


def csv_text(profile: Mapping[str, Any]) -> str:
    """profile.csv: numbers at full precision, nothing where there is none."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in profile["rows"]:
        found = {name: row.get(name) for name in COLUMNS}
        speedup = row.get("speedup") or {}
        found |= {
            "network_ms_p50": row["network_ms"]["p50"],
            **{f"image_ms_{p}": row["image_ms"][p] for p in ("p50", "p90", "p99")},
            "device_ms_p50": row["device_ms"]["p50"],
            "stability": row["stability"]["verdict"],
            "speedup_vs_eager": speedup.get("value"),
            "speedup_lo": speedup.get("lo"),
            "speedup_hi": speedup.get("hi"),
        }
        writer.writerow(found)
    return buffer.getvalue()


def timings(profile: Mapping[str, Any]) -> list[dict[str, Any]]:
    """times.json: a record a timed call, in the manner of trtexec's --exportTimes, in the order they were taken.

    startMs and endMs count from the profile's first timed call; enqueueMs is the time until the call returned,
    computeMs that between CUDA events, both null where there is none.
    """
    calls = [(row, call) for row in profile["rows"] for call in row["raw"]]
    first = min((call["start_ms"] for _, call in calls), default=0.0)
    return [
        {
            "network": row["network"],
            "method": row["method"],
            "label": row["label"],
            "backend": row["backend"],
            "precision": row["precision"],
            "device": row["device"],
            "batch": row["batch"],
            "round": call["round"],
            "startMs": call["start_ms"] - first,
            "endMs": call["start_ms"] - first + call["ms"],
            "latencyMs": call["ms"],
            "enqueueMs": call["enqueue_ms"],
            "computeMs": call["device_ms"],
            "load": call["load"],
        }
        for row, call in sorted(calls, key=lambda pair: pair[1]["start_ms"])
    ]
