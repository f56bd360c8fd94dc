"""One cell's folder in a run directory: its identity, the line and the arrays of each case, its summaries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uadbench.reports.atomic import RunError, append_text, read_json, write_json
from uadbench.reports.blobs import pack, unpack
from uadbench.reports.lines import append_records, mend_end, read_records
from uadbench.reports.shards import Shards

__all__ = ["CellDirectory", "Together", "checked", "optional", "read_arrays"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")

Image = NDArray[np.float32]


@dataclass
class Together:
    """Results of several cases of a cell, made durable together: one wait for the disk instead of one a case.

    path : the cell's folder
    """

    path: Path
    arrays: Shards
    lines: list[Mapping[str, Any]] = field(default_factory=list)

    def write_arrays(self, case_id: str, anomaly: ArrayLike, reconstruction: ArrayLike) -> str:
        """As ``CellDirectory.write_arrays``."""
        anomaly, reconstruction = (np.asarray(a, dtype=np.float32) for a in (anomaly, reconstruction))
        return self.arrays.put(checked(case_id), pack(anomaly=anomaly, reconstruction=reconstruction))

    def append_case(self, record: Mapping[str, Any]) -> None:
        """As ``CellDirectory.append_case``."""
        self.lines.append(record)

    def log_error(self, what: str, detail: str) -> None:
        """As ``CellDirectory.log_error``, at once."""
        CellDirectory(self.path).log_error(what, detail)

    def commit(self) -> None:
        """Arrays on disk first, then the lines that say so."""
        self.arrays.commit()
        if self.lines:
            append_records(self.path / "cases.jsonl", self.lines)
            self.lines.clear()


@dataclass(frozen=True)
class CellDirectory:
    """One cell's folder."""

    path: Path

    @property
    def begun(self) -> bool:
        """Whether it has a readable cell.json."""
        return optional(self.path / "cell.json", "method") is not None

    @property
    def info(self) -> dict[str, Any]:
        """cell.json; {} where it is missing or damaged."""
        return optional(self.path / "cell.json") or {}

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write cell.json."""
        write_json(self.path / "cell.json", info)

    @cached_property
    def _arrays(self) -> Shards:
        return Shards(self.path / "arrays")

    def write_arrays(self, case_id: str, anomaly: ArrayLike, reconstruction: ArrayLike) -> str:
        """Keep a case's result: anomaly float32 [H, W] >= 0, reconstruction float32 [H, W] in [0, 1].

        Returns the hash for the case's record. It is on disk when this returns; for many cases see ``together``.
        """
        with self.together() as results:
            return results.write_arrays(case_id, anomaly, reconstruction)

    def read_arrays(self, case_id: str, sha256: str | None = None) -> tuple[Image, Image]:
        """(anomaly [H, W], reconstruction [H, W]) of a case, those with this hash where one is given."""
        arrays = read_arrays(self._arrays, case_id, ("anomaly", "reconstruction"), sha256)
        return arrays["anomaly"], arrays["reconstruction"]

    def whole_arrays(self) -> dict[str, str]:
        """Case id -> hash of the results that are whole; files that have not changed are not read through again."""
        return self._arrays.whole()

    def note_arrays(self) -> None:
        """Note that the results are whole as they lie here now, since they were just written or read."""
        self._arrays.note()

    def append_case(self, record: Mapping[str, Any]) -> None:
        """Append one line to cases.jsonl; for many see ``together``."""
        append_records(self.path / "cases.jsonl", [record])

    @contextmanager
    def together(self) -> Iterator[Together]:
        """For results of several cases, which are put on disk by ``commit`` and at the end."""
        results = Together(self.path, self._arrays)
        try:
            yield results
            results.commit()
        finally:
            self._arrays.close()

    def read_cases(self) -> list[dict[str, Any]]:
        """The records; the last of a case wins. A line that is none counts as a case that was never done."""
        return read_records(self.path / "cases.jsonl")

    def repair_cases(self) -> None:
        """Cut off what a kill left half written: torn last lines, of shifts.jsonl too, and arrays without a line.

        Arrays that were copied here are read through, once for all who ask what of them is whole.
        """
        for name in ("cases.jsonl", "shifts.jsonl"):
            mend_end(self.path / name)
        self._arrays.mend()
        self._arrays.check()

    def append_shift(self, record: Mapping[str, Any]) -> None:
        """Append one line to shifts.jsonl: a case under a shift of its intensities."""
        append_records(self.path / "shifts.jsonl", [record])

    def read_shifts(self) -> list[dict[str, Any]]:
        """The records; the last of a case, shift and value wins. A line that is none counts as never done."""
        return read_records(self.path / "shifts.jsonl", ("shift", "value"))

    def write_summary(self, metrics: Mapping[str, Any], latency: Mapping[str, Any]) -> None:
        """Write metrics.json and latency.json."""
        write_json(self.path / "metrics.json", metrics)
        write_json(self.path / "latency.json", latency)

    @property
    def metrics(self) -> dict[str, Any] | None:
        """metrics.json; None where it is missing or not whole, so that it is made again."""
        return optional(self.path / "metrics.json", "n_cases")

    @property
    def latency(self) -> dict[str, Any] | None:
        """latency.json; None likewise."""
        return optional(self.path / "latency.json", "n")

    def drop_summary(self) -> None:
        """Remove what was summed up over fewer cases."""
        for name in ("metrics.json", "latency.json"):
            (self.path / name).unlink(missing_ok=True)

    def write_warm_up(self, found: Mapping[str, Any]) -> None:
        """Write warmup.json."""
        write_json(self.path / "warmup.json", found)

    @property
    def warm_up(self) -> dict[str, Any]:
        """warmup.json; {} where there is none."""
        return optional(self.path / "warmup.json") or {}

    def log_error(self, what: str, detail: str) -> None:
        """Append a traceback to errors.log."""
        append_text(self.path / "errors.log", f"{what}\n{detail}\n")


def read_arrays(
    shards: Shards,
    case_id: str,
    names: tuple[str, ...],
    sha256: str | None = None,
    *,
    if_there: tuple[str, ...] = (),
) -> dict[str, NDArray[Any]]:
    """The named arrays of a case, those with this hash where one is given; RunError where they are not there.

    if_there : further arrays, of those that are there
    """
    data = shards.read(checked(case_id), sha256)
    try:
        return unpack(data, names, if_there)
    except ValueError as error:
        raise RunError(
            f"{shards.folder}: {case_id} is damaged ({error}); run the same `bench run` command again"
        ) from error


def optional(path: Path, needed: str | None = None) -> dict[str, Any] | None:
    """A JSON object, or None where it is missing, damaged or lacks a key that is always there."""
    if not path.is_file():
        return None
    try:
        value = read_json(path)
    except RunError:
        return None
    return value if needed is None or needed in value else None


def checked(name: str) -> str:
    """Refuse a name that could lead out of the run directory."""
    if not _NAME.fullmatch(name):
        raise RunError(f"{name[:80]!r} cannot name a file; allowed are letters, digits, '.', '_' and '-'")
    return name
