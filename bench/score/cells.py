"""From a finished cell's records to metrics.json and latency.json; a pure function of the run directory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.cases import Scored, Thresholds
from uadbench.bench.score.latency import latency_summary
from uadbench.bench.score.measured import Cases, Slice
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.summary import summarize
from uadbench.datasets.case import Box
from uadbench.engine.post import head
from uadbench.reports.store import CellDirectory, RunDirectory
from uadbench.reports.truth import HEALTHY
from uadbench.reports.vocabulary import MEASURES

__all__ = [
    "cell_metrics",
    "has_volumes",
    "incomplete_volumes",
    "operating_point",
    "score_cell",
    "scored",
    "scored_cases",
    "slice_of",
    "thresholds_of",
]

Image = NDArray[np.float32]
Change = Callable[[Image, Image], Image]
"""(map [H, W], image [H, W]) -> the map that is scored."""


def score_cell(run: RunDirectory, slug: str, order: Iterable[str], seed: int, n_boot: int) -> None:
    """Write metrics.json and latency.json of a cell.

    order : case ids; cases are scored in this order, whatever order they were finished in
    """
    cell = run.cell(slug)
    by_id = {record["case_id"]: record for record in cell.read_cases()}
    records = [by_id[case_id] for case_id in order if case_id in by_id]
    metrics = cell_metrics(run, cell, records, seed, n_boot, operating_point(cell.info))
    cell.write_summary(metrics, latency_summary(records, cell.warm_up))


def cell_metrics(
    run: RunDirectory,
    cell: CellDirectory,
    records: Sequence[dict[str, Any]],
    seed: int,
    n_boot: int,
    operating: OperatingPoint | None,
    measures: Collection[str] | None = None,
    change: Change | None = None,
) -> dict[str, Any]:
    """metrics.json of these records of a cell, scored in this order.

    measures : only these, None for all; change : what is made of each map (map, image) before it is scored
    """
    test = [record for record in records if record["split"] == "test"]
    unscored = [record for record in test if record["status"] != "ok"]
    return summarize(
        scored_cases(run, cell, test, change, incomplete_volumes(test)),
        scored_cases(run, cell, (record for record in records if record["split"] == "val"), change),
        seed,
        n_boot,
        [{"case_id": record["case_id"], "reason": record["reason"]} for record in unscored],
        operating,
        measures,
    )


def has_volumes(volumes: Iterable[str]) -> bool:
    """Whether several test cases are of one volume, by each one's name of it, "" for none."""
    return max(Counter(name for name in volumes if name).values(), default=0) > 1


def scored(cell: CellDirectory, volumes: bool = False) -> bool:
    """Whether both summaries are there, metrics.json with every measure and figure that maps like the cell's have.

    volumes : whether the run's test cases are ``has_volumes``
    """
    post = operating_point(cell.info) is not None
    metrics = cell.metrics or {}
    truth = metrics.get("truth", "mask")
    measures = (measure for measure in MEASURES.values() if measure.applies_to(truth))
    wanted = {m.name for m in measures if (post or not m.optional) and (volumes or not m.volumes)}
    each = metrics.get("per_case") or {}
    figures = truth != "mask" or all("false_px" in case for case in each.values())
    return wanted <= set(metrics) and figures and cell.latency is not None


def operating_point(info: Mapping[str, Any]) -> OperatingPoint | None:
    """What cell.json says of it; None for a cell without post-processing."""
    found = info.get("operating")
    return OperatingPoint(found.get("threshold"), int(found["component_px"])) if found else None


def scored_cases(
    run: RunDirectory,
    cell: CellDirectory,
    records: Iterable[dict[str, Any]],
    change: Change | None = None,
    incomplete: frozenset[str] = frozenset(),
) -> Cases:
    """The cases that have a result, to be read with it one by one, changed where asked; of healthy ones also where the
    head is. incomplete : see ``Cases``"""
    done = [record for record in records if record["status"] == "ok"]
    subjects, lesion = [record["subject"] for record in done], [record["lesion"] for record in done]
    slices = [slice_of(record) for record in done]
    return Cases(subjects, lesion, lambda place: _scored(run, cell, done[place], change), slices, incomplete)


def slice_of(record: Mapping[str, Any]) -> Slice | None:
    """Where in its volume a case lies; None for an image of its own."""
    if not record.get("volume"):
        return None
    spacing = record.get("spacing_mm")
    return Slice(str(record["volume"]), int(record["position"]), tuple(spacing) if spacing else None)


def incomplete_volumes(
    records: Iterable[Mapping[str, Any]], shared: Collection[str] | None = None
) -> frozenset[str]:
    """Volumes of several test slices of which one failed, or, where some alone are scored, is not among them."""
    test = [record for record in records if record.get("volume") and record["split"] == "test"]
    counts = Counter(str(record["volume"]) for record in test)
    lost = (
        str(record["volume"])
        for record in test
        if record["status"] != "ok" or (shared is not None and record["case_id"] not in shared)
    )
    return frozenset(name for name in lost if counts[name] > 1)


def _scored(
    run: RunDirectory, cell: CellDirectory, record: dict[str, Any], change: Change | None = None
) -> Scored:
    image, mask, boxes = run.read_sample(record["case_id"])
    anomaly = cell.read_arrays(record["case_id"], record.get("arrays_sha256"))[0]
    return Scored(
        record["case_id"],
        record["subject"],
        record["lesion"],
        change(anomaly, image) if change else anomaly,
        mask,
        record["metrics"],
        None if record["lesion"] else head(image),
        None if boxes is None else tuple(Box(*box) for box in boxes),
    )


def thresholds_of(metrics: Mapping[str, Any]) -> Thresholds:
    """The healthy thresholds in a metrics.json; None where an older one has none."""
    image = HEALTHY[metrics.get("truth") or "mask"]
    entries = (metrics.get(name) or {} for name in (image, "dice_healthy_fpr5_head"))
    return Thresholds(*(entry.get("threshold") for entry in entries))
