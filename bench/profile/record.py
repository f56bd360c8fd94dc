"""profile.json: what was measured, and what follows from it, row by row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from uadbench.bench.plan.config import digest
from uadbench.bench.profile.calls import Timed
from uadbench.bench.profile.measure import Group, Key
from uadbench.bench.profile.opened import Opened
from uadbench.bench.profile.stability import judge_stability, ratio_of_medians
from uadbench.bench.run.timing import percentiles
from uadbench.exporters.parity import network_fault
from uadbench.reports.identity import reference_of
from uadbench.reports.vocabulary import LOAD_LIMIT, STAGES

__all__ = ["PROFILE", "SCHEMA", "group_rows", "machine_id"]

PROFILE, SCHEMA = "profile.json", 4


def group_rows(group: Group, threads: int, ceilings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for everything that was timed, or was to be, on an arm that was opened; numbers are None where unknown.

    ceilings : device -> what ``measure_ceilings`` found there
    """
    return [_row(group, key, threads, ceilings.get(key[0].device) or {}) for key in group.keys]


def _row(group: Group, key: Key, threads: int, ceilings: Mapping[str, Any]) -> dict[str, Any]:
    arm, label = key
    opened, taken = group.opened[arm], group.taken.get(key, [])
    cell = group.cells.get(key)
    image = [call.seconds * 1e3 / group.batch for call in taken]
    network = [seconds * 1e3 for call in taken for seconds in (call.network_calls or (call.seconds,))]
    image_ms, stability = percentiles(image), judge_stability(image)
    load = max((call.load for call in taken), default=None)
    row: dict[str, Any] = {
        "network": group.network.name,
        "network_sha256": group.network.card["sha256"],
        "method": cell.variant.method if cell else "-",
        "label": label or "one call",
        "backend": arm.backend,
        "precision": arm.precision,
        "device": arm.device,
        "batch": group.batch,
        "threads": threads,
        "status": "failed" if key in group.failed else "ok" if taken else "unfinished",
        "reason": group.failed.get(key, ""),
        "rounds": len(taken),
        "nfe": (len(taken[0].network_calls) if cell else 1) if taken else None,
        "network_ms": percentiles(network),
        "image_ms": image_ms,
        "images_per_s": None if image_ms["p50"] is None else 1e3 / image_ms["p50"],
        "device_ms": percentiles([call.device_ms for call in taken if call.device_ms is not None]),
        "enqueue_ms": percentiles([call.enqueue * 1e3 for call in taken if call.enqueue is not None]),
        "stages_ms": _stages(taken, group.batch),
        "cpu_use": _cpu_use(taken, threads),
        "load_max": load,
        "under_load": load is not None and load > LOAD_LIMIT * threads,
        "stability": dataclasses.asdict(stability) | {"text": stability.text},
        **_opening(opened),
        **_parity(opened),
    }
    row |= _work(group, row, ceilings)
    row |= _speedup(group, key, row)
    return row | {"raw": [_raw(call) for call in taken]}


def _opening(opened: Opened) -> dict[str, Any]:
    return {
        "build_ms": opened.build_ms,
        "reopen_ms": opened.reopen_ms,
        "first_call_ms": opened.first_call_ms,
        "second_call_ms": opened.second_call_ms,
        "peak_mib": opened.peak.host_mib,
        "device_peak_mib": opened.peak.device_mib,
        "peak_note": opened.peak.note,
        "ran": opened.ran,
    }


def _parity(opened: Opened) -> dict[str, Any]:
    """Verdict, error as a part of the image, gate and, where it was not judged or a probability fails, why."""
    empty = {"parity_error": None, "parity_gate": None, "parity_probability": None}
    if opened.arm == reference_of(opened.arm):
        return {"parity": "reference", "parity_note": "", **empty}
    if not opened.parity:
        note = opened.parity_note or opened.failed or "not judged"
        return {"parity": "not judged", "parity_note": note, **empty}
    error = opened.parity["rel_image"]
    return {
        "parity": "pass" if opened.parity["pass"] else "fail",
        "parity_error": error if math.isfinite(error) else None,
        "parity_gate": opened.parity["gate"],
        "parity_probability": opened.parity["probability"],
        "parity_note": network_fault(opened.parity) if math.isfinite(error) else "the answer is not finite",
    }


def _work(group: Group, row: Mapping[str, Any], ceilings: Mapping[str, Any]) -> dict[str, Any]:
    """FLOPs and bytes of the row's network calls, their rates, and the shares of what the device can do."""
    precision, calls, median = row["precision"], row["nfe"], row["image_ms"]["p50"]
    found = (ceilings.get("precisions") or {}).get(precision) or {}
    ceiling = max(found.values(), default=None)
    if group.count is None or calls is None:
        flops = moved = None
    else:
        one = group.count.bytes(precision)
        flops, moved = group.count.flops * calls, None if one is None else one * calls
    gflops, gb = (n / (median * group.batch * 1e-3) / 1e9 if n and median else None for n in (flops, moved))
    copy = ceilings.get("copy_gb_s")
    return {
        "flops": flops,
        "bytes": moved,
        "intensity": flops / moved if flops and moved else None,
        "count_note": group.count_note,
        "gflops": gflops,
        "ceiling_gflops": ceiling,
        "share_of_ceiling": gflops / ceiling if gflops and ceiling else None,
        "gb_per_s": gb,
        "share_of_copy": gb / copy if gb and copy else None,
    }


def _speedup(group: Group, key: Key, row: Mapping[str, Any]) -> dict[str, Any]:
    """Against eager torch fp32 in the same rounds; none where parity did not pass or something else was running."""
    arm, label = key
    reference = (reference_of(arm), label)
    ours, theirs = ({call.round: call.seconds for call in group.taken.get(k, [])} for k in (key, reference))
    shared = sorted(ours.keys() & theirs.keys())
    note = ""
    if arm == reference[0]:
        note = "the reference"
    elif row["parity"] != "pass":
        note = f"parity: {row['parity_note'] or row['parity']}"
    elif row["under_load"]:
        note = f"taken under load ({row['load_max']:.1f})"
    elif not shared:
        note = "there is no time to compare"
    if note:
        return {"speedup": None, "speedup_note": note}
    ratio = ratio_of_medians([theirs[r] for r in shared], [ours[r] for r in shared], paired=True)
    return {"speedup": dataclasses.asdict(ratio), "speedup_note": ""}


def _stages(taken: Sequence[Timed], batch: int) -> dict[str, float] | None:
    """Mean milliseconds an image by stage; None for a bare call."""
    timed = [call for call in taken if call.stages_ms]
    if not timed:
        return None
    return {stage: sum(call.stages_ms[stage] for call in timed) / len(timed) / batch for stage in STAGES}


def _cpu_use(taken: Sequence[Timed], threads: int) -> float | None:
    """Processor seconds over seconds and threads: well below 1 the threads waited, for work or for the processor."""
    total = sum(call.seconds for call in taken)
    return sum(call.cpu for call in taken) / total / threads if total > 0 else None


def _raw(call: Timed) -> dict[str, Any]:
    return {
        "round": call.round,
        "load": call.load,
        "start_ms": call.start * 1e3,
        "ms": call.seconds * 1e3,
        "enqueue_ms": None if call.enqueue is None else call.enqueue * 1e3,
        "device_ms": call.device_ms,
        "cpu_ms": call.cpu * 1e3,
        **({"network_ms": [seconds * 1e3 for seconds in call.network_calls]} if call.network_calls else {}),
    }


def machine_id(environment: Mapping[str, Any]) -> str:
    """Eight hex digits for a machine: processor, cores, memory in GiB, architecture, GPU. Software does not enter.

    Of the processor: its name, and family, model and instructions, for the name alone may be that of several. A record
    of before they were kept is of another machine.
    """
    parts = {name: environment.get(name) for name in ("cpu", "processor", "cores", "machine")}
    memory = environment.get("memory_mib") or 0
    gpu = (environment.get("torch") or {}).get("cuda_device")
    return digest({**parts, "memory_gib": round(memory / 1024), "gpu": gpu})[:8]
