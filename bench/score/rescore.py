"""``bench rescore``: the maps that a finished run keeps, scored again otherwise; the run itself is only read.

With nothing changed the result is the run's own metrics.json, to the byte.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.plan.config import ConfigError, RunConfig, unknown
from uadbench.bench.run.directory import now
from uadbench.bench.run.machine import uadbench_version
from uadbench.bench.score.cells import cell_metrics, operating_point
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.scorers import SCORERS
from uadbench.engine.post import POSTS
from uadbench.reports.atomic import write_bytes, write_json
from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.runs import Cell, Run
from uadbench.reports.store import refuse_taken

__all__ = ["COLUMNS", "Again", "Rescored", "check_again", "rescore_cell", "write_rescored"]

COLUMNS = ("cell", "label", "of", "measure", "value", "lo", "hi", "run_value", "run_lo", "run_hi")


@dataclass(frozen=True)
class Again:
    """How maps are scored again; None for what the run did.

    measures : names of the vocabulary; post : of ``engine.post.POSTS``, done to maps that have none yet
    """

    measures: tuple[str, ...] | None = None
    n_boot: int | None = None
    seed: int | None = None
    post: str | None = None


@dataclass(frozen=True)
class Rescored:
    """A cell scored again.

    slug, label : what it is now; of : the run's cell that its maps are from; note : for the user, "" for none
    """

    slug: str
    label: str
    of: Cell
    metrics: dict[str, Any]
    note: str = ""


def check_again(again: Again, cells: Iterable[Cell]) -> None:
    """ConfigError on a name that there is none of, and on a cell that is post-processed where that is to be done."""
    for name in again.measures or ():
        if name not in SCORERS:
            raise unknown("measure", name, SCORERS)
    if again.post is None:
        return
    if again.post not in POSTS:
        raise unknown("post-processing", again.post, POSTS)
    for cell in cells:
        if (done := variant_of(cell.info).post) != "none":
            raise ConfigError(
                f"{cell.slug}: its maps are post-processed already ({done}); choose others by --cells"
            )


def rescore_cell(run: Run, cell: Cell, again: Again) -> Rescored:
    """Score one cell that ``check_again`` has let pass; RunError where one of its maps cannot be read."""
    variant, arm = variant_of(cell.info), arm_of(cell.info)
    point, change, note = operating_point(cell.info), None, ""
    if again.post is not None:
        if variant.post != "none":
            raise ConfigError(
                f"{cell.slug}: its maps are post-processed already ({variant.post}); choose others"
            )
        variant, change = replace(variant, post=again.post), _one_by_one(again.post)
        point = _point_of(run, f"{variant.slug}-{arm.slug}")
        if point.threshold is None:
            note = f"{cell.slug}: no threshold of {again.post} was fitted in this run, so no score is taken at one"
    config = run.manifest.get("config") or {}
    metrics = cell_metrics(
        run.directory,
        cell.directory,
        _in_order(cell),
        int(run.manifest.get("seed") or 0) if again.seed is None else again.seed,
        again.n_boot or int(config.get("n_boot") or RunConfig().n_boot),
        point,
        again.measures,
        change,
    )
    slug = f"{variant.slug}-{arm.slug}" if again.post is not None else cell.slug
    return Rescored(slug, f"{variant.label} · {arm.label}", cell, metrics, note)


def _one_by_one(post: str) -> Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    return lambda anomaly, image: POSTS[post].apply(anomaly[None], image[None])[0]


def _point_of(run: Run, slug: str) -> OperatingPoint:
    """That of the run's own cell with this post-processing: the validation maps that it is fitted on are not kept."""
    for cell in run.cells:
        if cell.slug == slug and (point := operating_point(cell.info)) is not None:
            return point
    pixels = (run.manifest.get("config") or {}).get("component_px") or RunConfig().component_px
    return OperatingPoint(None, int(pixels))


def _in_order(cell: Cell) -> list[dict[str, Any]]:
    """The records in the order in which the run scored them: by batch; failed ones as its metrics.json lists them."""
    records = sorted(cell.cases, key=lambda record: record.get("batch") or 0)
    listed = [entry["case_id"] for entry in (cell.metrics or {}).get("failed") or ()]
    place = {case_id: index for index, case_id in enumerate(listed)}
    failed = [record for record in records if record["status"] != "ok"]
    done = [record for record in records if record["status"] == "ok"]
    return done + sorted(failed, key=lambda record: place.get(record["case_id"], len(place)))


def write_rescored(
    run: Run, cells: Iterable[Rescored], again: Again, output: Path, overwrite: bool, command: str
) -> list[Path]:
    """Write metrics/CELL.json as cells come, then scores.csv and rescored.json; the paths of the last two.

    Raises RunError where the folder holds a run, or anything else and ``overwrite`` is not given.
    """
    refuse_taken(output, overwrite)
    rows: list[dict[str, Any]] = []
    there: dict[str, Any] = {}
    for one in cells:
        write_json(output / "metrics" / f"{one.slug}.json", one.metrics)
        rows += _rows(one)
        there[one.slug] = {"of": one.of.slug, "label": one.label}
    write_bytes(output / "scores.csv", _table(rows))
    record = {
        "run": run.path.resolve().name,
        "run_id": run.manifest.get("run_id"),
        "command": command,
        "created": now(),
        "version": uadbench_version(),
        "changed": {key: value for key, value in vars(again).items() if value is not None},
        "cells": there,
    }
    write_json(output / "rescored.json", record)
    return [output / "scores.csv", output / "rescored.json"]


def _rows(one: Rescored) -> list[dict[str, Any]]:
    rows = []
    for name in SCORERS:
        entry, before = one.metrics.get(name), (one.of.metrics or {}).get(name) or {}
        if entry is not None:
            rows.append(
                {"cell": one.slug, "label": one.label, "of": one.of.slug, "measure": name}
                | {key: entry.get(key) for key in ("value", "lo", "hi")}
                | {f"run_{key}": before.get(key) for key in ("value", "lo", "hi")}
            )
    return rows


def _table(rows: Sequence[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
