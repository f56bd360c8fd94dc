"""From a finished cell's records to metrics.json and latency.json; a pure function of the run directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uadbench.bench.score.cases import Scored, Thresholds, head_of
from uadbench.bench.score.latency import latency_summary
from uadbench.bench.score.summary import summarize
from uadbench.reports.store import CellDirectory, RunDirectory

__all__ = ["score_cell", "scored_cases", "thresholds_of"]


def score_cell(run: RunDirectory, slug: str, order: Iterable[str], seed: int, n_boot: int) -> None:
    """Write metrics.json and latency.json of a cell.

    order : case ids; cases are scored in this order, whatever order they were finished in
    """
    cell = run.cell(slug)
    by_id = {record["case_id"]: record for record in cell.read_cases()}
    records = [by_id[case_id] for case_id in order if case_id in by_id]
    test = [record for record in records if record["split"] == "test"]
    unscored = [record for record in test if record["status"] != "ok"]
    metrics = summarize(
        scored_cases(run, cell, test),
        scored_cases(run, cell, (record for record in records if record["split"] == "val")),
        seed,
        n_boot,
        [{"case_id": record["case_id"], "reason": record["reason"]} for record in unscored],
    )
    cell.write_summary(metrics, latency_summary(records, cell.warm_up))


def scored_cases(run: RunDirectory, cell: CellDirectory, records: Iterable[dict]) -> list[Scored]:
    """The cases that have a result, with it; of healthy ones also where the head is."""
    return [_scored(run, cell, record) for record in records if record["status"] == "ok"]


def _scored(run: RunDirectory, cell: CellDirectory, record: dict[str, Any]) -> Scored:
    image, mask = run.read_input(record["case_id"])
    return Scored(
        record["case_id"],
        record["subject"],
        record["lesion"],
        cell.read_arrays(record["case_id"], record.get("arrays_sha256"))[0],
        mask,
        record["metrics"],
        None if record["lesion"] else head_of(image),
    )


def thresholds_of(metrics: Mapping[str, Any]) -> Thresholds:
    """The healthy thresholds in a metrics.json; None where an older one has none."""
    entries = (metrics.get(name) or {} for name in ("dice_healthy_fpr5", "dice_healthy_fpr5_head"))
    return Thresholds(*(entry.get("threshold") for entry in entries))
