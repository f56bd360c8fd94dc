"""What a user is told of a run that is over: results that failed, and what speaks against its figures."""

from __future__ import annotations

from uadbench.bench.plan.plan import Plan
from uadbench.reports.store import RunDirectory
from uadbench.reports.vocabulary import LOAD_LIMIT

__all__ = ["failures", "notes"]


def failures(run: RunDirectory, plan: Plan) -> list[tuple[str, str, str]]:
    """(cell, case id, reason) of what failed, under shifts too."""
    failed = []
    for cell in plan.cells:
        directory = run.cell(cell.slug)
        for record in (*directory.read_cases(), *directory.read_shifts()):
            if record["status"] == "failed":
                shift = f" under {record['shift']} {record['value']:g}" if "shift" in record else ""
                failed.append((cell.slug, f"{record['case_id']}{shift}", record["reason"]))
    return failed


def notes(run: RunDirectory, plan: Plan) -> list[str]:
    """Warnings about how the run went."""
    threads = plan.threads
    loads = [(run.cell(cell.slug).latency or {}).get("load_max") for cell in plan.cells]
    highest = max((load for load in loads if load is not None), default=0.0)
    if highest <= LOAD_LIMIT * threads:
        return []
    return [
        f"load average reached {highest:.1f} with {threads} threads in use: something else was running, "
        "so do not trust the latencies"
    ]
