"""Shards of a run as ``bench merge`` reads them: whether they belong together, and what is lacking.

Every shard has made the same fits, on the same validation cases, so they must agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from uadbench.bench.plan.config import ADDITIONS, digest
from uadbench.reports.atomic import RunError
from uadbench.reports.store import RunDirectory

__all__ = ["Part", "check_alike", "in_order", "lacking", "read_parts"]

NAMED = 5  # of missing cases


@dataclass(frozen=True)
class Part:
    """A shard's directory. places : id of each of its cases -> its place in the run."""

    run: RunDirectory
    manifest: Mapping[str, Any]
    places: Mapping[str, int]

    @property
    def shard(self) -> Mapping[str, Any]:
        """What its manifest says of it: "label", "index", "count", "whole", "n_cases"."""
        found: Mapping[str, Any] = self.manifest["shard"]
        return found

    @property
    def label(self) -> str:
        """'3/16'."""
        return str(self.shard["label"])

    def records(self, slug: str) -> dict[str, dict[str, Any]]:
        """Case id -> the last record of each of its cases in a cell."""
        found = self.run.cell(slug).read_cases()
        return {one["case_id"]: one for one in found if one["case_id"] in self.places}

    def missing(self) -> list[str]:
        """Ids of its cases that some cell which applies has no record of."""
        lacking: set[str] = set()
        for slug in self.manifest["cells"]:
            if not self.run.cell(slug).info.get("not_applicable"):
                lacking |= self.places.keys() - self.records(slug).keys()
        return sorted(lacking, key=lambda case: self.places[case])


def read_parts(paths: Iterable[Path]) -> list[Part]:
    """The shards by their number; RunError for what is none, one given twice, or shards of different runs."""
    parts = sorted((_read(path) for path in paths), key=lambda part: part.shard["index"])
    first = parts[0]
    for part in parts[1:]:
        for key, what in (("whole", "run (its settings, data or weights differ)"), ("count", "division")):
            if part.shard[key] != first.shard[key]:
                raise RunError(f"{part.run.path}: is of another {what} than {first.run.path}")
        if digest(_extras(part)) != digest(_extras(first)):
            raise RunError(f"{part.run.path}: was run with another --shift than {first.run.path}")
    for one, two in pairwise(parts):
        if one.shard["index"] == two.shard["index"]:
            raise RunError(
                f"{two.run.path}: is shard {two.label}, which {one.run.path} is, too; give one of them"
            )
    return parts


def _read(path: Path) -> Part:
    run = RunDirectory(path)
    if not run.is_run:
        raise RunError(f"{path}: is no run directory; give those that `bench run --shard K/N` made")
    manifest = run.read_manifest()
    shard = manifest.get("shard")
    if not isinstance(shard, dict) or not isinstance(shard.get("places"), dict):
        raise RunError(f"{path}: is a whole run and no shard; give those that `bench run --shard K/N` made")
    return Part(run, manifest, shard["places"])


def _extras(part: Part) -> dict[str, Any]:
    config = part.manifest["config"]
    return {key: config.get(key) for key in ADDITIONS}


def lacking(parts: Sequence[Part]) -> str:
    """Which shards and cases are missing, in words; "" for none."""
    count = parts[0].shard["count"]
    absent = sorted(set(range(1, count + 1)) - {part.shard["index"] for part in parts})
    words = []
    n_there = sum(len(part.places) for part in parts)
    if n_there < parts[0].shard["n_cases"]:
        named = ", ".join(f"{index}/{count}" for index in absent[:NAMED]) + (
            ", .." if len(absent) > NAMED else ""
        )
        words.append(
            f"{parts[0].shard['n_cases'] - n_there} cases are of shards that are not given ({named})"
        )
    for part in parts:
        if missing := part.missing():
            named = ", ".join(missing[:NAMED]) + (", .." if len(missing) > NAMED else "")
            words.append(f"shard {part.label} lacks {len(missing)} of {len(part.places)} cases ({named})")
    return "; ".join(words)


def check_alike(parts: Sequence[Part]) -> None:
    """RunError where shards decided differently on what all must share: the fits, the exact variance, the median."""
    first = parts[0]
    for part in parts[1:]:
        for what, one, two in (
            ("fitted on validation lesions (fitted.json)", first.run.fitted, part.run.fitted),
            ("measured as the exact variance (variance.json)", first.run.variances, part.run.variances),
            ("found as the median of healthy slices (median.npz)", _median(first.run), _median(part.run)),
            *(("recorded of cells (cell.json)", a, b) for a, b in _infos(first, part)),
        ):
            if digest(one) != digest(two):
                raise RunError(
                    f"{part.run.path}: another setting was {what} than in {first.run.path}, so its results are of "
                    "another run; compute one of them again on a machine of the other's kind, with --overwrite"
                )


def _median(run: RunDirectory) -> list[Any]:
    try:
        median, record = run.read_median()
    except RunError:
        return []
    return [np.asarray(median).tobytes().hex(), record]


def _infos(one: Part, two: Part) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    """cell.json of both without what names versions of libraries, of cells that both have begun."""
    for slug in one.manifest["cells"]:
        infos = [{**part.run.cell(slug).info} for part in (one, two)]
        if all(infos):
            yield tuple({k: v for k, v in info.items() if k != "backend_info"} for info in infos)  # type: ignore[misc]


def in_order(parts: Sequence[Part]) -> list[tuple[str, Part]]:
    """The cases with their shard, in the run's order."""
    places = sorted((place, case, n) for n, part in enumerate(parts) for case, place in part.places.items())
    return [(case, parts[n]) for _, case, n in places]
