"""The run directory and its one owner: every path in it is known here, and nowhere else.

A run survives a kill at any moment: whole files are replaced atomically, and a line is appended to
``cases.jsonl`` (flushed, fsynced) only after the case's arrays are on disk, so it always stands for work done. The
line holds the hash of the arrays' file, so no other case's file can stand in for it. ``metrics.json`` and
``latency.json`` follow from the rest and are made again where they are missing or damaged.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uadbench.reports.atomic import (
    PARTIAL,
    RunError,
    append_line,
    read_json,
    read_npz,
    remove,
    write_json,
    write_npz,
)
from uadbench.reports.lines import append_record, mend_end, read_records

__all__ = ["SCHEMA", "BoxEntry", "CellDirectory", "RunDirectory"]

SCHEMA = 2  # of the run directory; 1 had no variants
LOCK = ".uadbench.lock"  # named so that it is nobody else's
MANIFEST = "manifest.json"
REPORTS = ("leaderboard.csv", "leaderboard.md", "leaderboard.html", "shifts.csv", "boxes.csv")
CONTENT = ("cells", "inputs", "prior.npz", "variance.json", "fitted.json", "parity.json", "paired.json")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")

Image = NDArray[np.float32]
BoxEntry = tuple[str, int, int, int, int]
"""(label, top, left, bottom, right), rows and columns half open."""


@dataclass(frozen=True)
class CellDirectory:
    """One cell's folder."""

    path: Path

    @property
    def begun(self) -> bool:
        """Whether it has a readable cell.json."""
        return _optional(self.path / "cell.json", "method") is not None

    @property
    def info(self) -> dict[str, Any]:
        """cell.json; {} where it is missing or damaged."""
        return _optional(self.path / "cell.json") or {}

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Write cell.json."""
        write_json(self.path / "cell.json", info)

    def write_arrays(self, case_id: str, anomaly: ArrayLike, reconstruction: ArrayLike) -> str:
        """Keep a case's result: anomaly float32 [H, W] >= 0, reconstruction float32 [H, W] in [0, 1].

        Returns the hash for the case's record.
        """
        return write_npz(
            _case_file(self.path / "arrays", case_id),
            anomaly=np.asarray(anomaly, dtype=np.float32),
            reconstruction=np.asarray(reconstruction, dtype=np.float32),
        )

    def read_arrays(self, case_id: str, sha256: str | None = None) -> tuple[Image, Image]:
        """(anomaly [H, W], reconstruction [H, W]) of a case, those with this hash where one is given."""
        arrays = read_npz(_case_file(self.path / "arrays", case_id), ("anomaly", "reconstruction"), sha256)
        return arrays["anomaly"], arrays["reconstruction"]

    def append_case(self, record: Mapping[str, Any]) -> None:
        """Append one line to cases.jsonl."""
        append_record(self.path / "cases.jsonl", record)

    def read_cases(self) -> list[dict[str, Any]]:
        """The records; the last of a case wins. A line that is none counts as a case that was never done."""
        return read_records(self.path / "cases.jsonl")

    def repair_cases(self) -> None:
        """Cut off a torn last line, of shifts.jsonl too."""
        for name in ("cases.jsonl", "shifts.jsonl"):
            mend_end(self.path / name)

    def append_shift(self, record: Mapping[str, Any]) -> None:
        """Append one line to shifts.jsonl: a case under a shift of its intensities."""
        append_record(self.path / "shifts.jsonl", record)

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
        return _optional(self.path / "metrics.json", "n_cases")

    @property
    def latency(self) -> dict[str, Any] | None:
        """latency.json; None likewise."""
        return _optional(self.path / "latency.json", "n")

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
        return _optional(self.path / "warmup.json") or {}

    def log_error(self, what: str, detail: str) -> None:
        """Append a traceback to errors.log."""
        append_line(self.path / "errors.log", f"{what}\n{detail}")


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder."""

    path: Path

    @property
    def lock_file(self) -> Path:
        """What a process locks while it writes here."""
        return self.path / LOCK

    @property
    def is_run(self) -> bool:
        """Whether its manifest is one of ours: a user's own manifest.json has no run_id."""
        manifest = _optional(self.path / MANIFEST)
        return manifest is not None and isinstance(manifest.get("run_id"), str) and "cells" in manifest

    @property
    def has_manifest(self) -> bool:
        """Whether there is a manifest.json, whoever's."""
        return (self.path / MANIFEST).exists()

    @property
    def content(self) -> list[str]:
        """What of a run's results lies here."""
        return [name for name in CONTENT if (self.path / name).exists()]

    def foreign(self) -> list[str]:
        """Names of what lies here and is not known to be a run's."""
        names = {entry.name for entry in self.path.iterdir()}
        # A lock file says that a run was here. Without one, a folder called "inputs" may be anybody's.
        ours = {LOCK, *CONTENT, *REPORTS} if LOCK in names else set()
        return sorted(name for name in names - ours if not PARTIAL.fullmatch(name))

    def read_manifest(self) -> dict[str, Any]:
        """manifest.json; RunError where it is missing or damaged."""
        return read_json(self.path / MANIFEST)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json, marked with the version of this layout."""
        write_json(self.path / MANIFEST, {"schema": SCHEMA, **manifest})

    def cell(self, slug: str) -> CellDirectory:
        """The folder of a cell; RunError for a name that could lead out of the run."""
        return CellDirectory(self.path / "cells" / _checked(slug))

    def write_input(
        self, case_id: str, image: ArrayLike, mask: ArrayLike, boxes: Sequence[BoxEntry] | None = None
    ) -> None:
        """Keep a case's input once for all cells: image float32 [H, W] in [0, 1], mask bool [H, W], boxes if any."""
        arrays: dict[str, NDArray[Any]] = {
            "image": np.asarray(image, dtype=np.float32),
            "mask": np.asarray(mask, dtype=np.bool_),
        }
        if boxes is not None:
            arrays["box_labels"] = np.array([label for label, *_ in boxes], dtype=np.str_)
            arrays["box_edges"] = np.array([edges for _, *edges in boxes], dtype=np.int64).reshape(-1, 4)
        write_npz(_case_file(self.path / "inputs", case_id), **arrays)

    def read_input(self, case_id: str) -> tuple[Image, NDArray[np.bool_]]:
        """(image [H, W], mask [H, W]) of a case."""
        arrays = read_npz(_case_file(self.path / "inputs", case_id), ("image", "mask"))
        return arrays["image"], arrays["mask"]

    def read_boxes(self, case_id: str) -> list[BoxEntry] | None:
        """A case's boxes, [] when healthy; None where its truth is a mask. RunError where its input is not there."""
        path = _case_file(self.path / "inputs", case_id)
        found = read_npz(path, (), optional=("box_labels", "box_edges"))
        if "box_edges" not in found:
            return None
        pairs = zip(found["box_labels"].tolist(), found["box_edges"].tolist(), strict=True)
        return [(label, top, left, bottom, right) for label, (top, left, bottom, right) in pairs]

    def write_median(self, median: Image, record: Mapping[str, Any]) -> None:
        """Keep the median of healthy slices, float32 [H, W] in [0, 1], and what it was made of."""
        write_npz(self.path / "prior.npz", median=median, record=np.array(json.dumps(record)))

    def read_median(self) -> tuple[Image, dict[str, Any]]:
        """(median, record); RunError where there is none."""
        arrays = read_npz(self.path / "prior.npz", ("median", "record"))
        return arrays["median"], json.loads(str(arrays["record"]))

    def write_fitted(self, fitted: Mapping[str, Any]) -> None:
        """Write fitted.json: variant -> what validation lesions decided for it."""
        write_json(self.path / "fitted.json", fitted)

    @property
    def fitted(self) -> dict[str, Any]:
        """fitted.json; {} where it is missing or damaged."""
        return _optional(self.path / "fitted.json") or {}

    def write_variances(self, variances: Mapping[str, Any]) -> None:
        """Write variance.json: network and kind of noise -> the table of its squared errors by level."""
        write_json(self.path / "variance.json", variances)

    @property
    def variances(self) -> dict[str, Any]:
        """variance.json; {} where it is missing or damaged."""
        return _optional(self.path / "variance.json") or {}

    def write_parity(self, judged: Mapping[str, Any]) -> None:
        """Write parity.json."""
        write_json(self.path / "parity.json", judged)

    @property
    def parity(self) -> dict[str, Any] | None:
        """parity.json; None where it is missing or damaged."""
        return _optional(self.path / "parity.json")

    def write_paired(self, tested: Mapping[str, Any]) -> None:
        """Write paired.json."""
        write_json(self.path / "paired.json", tested)

    @property
    def paired(self) -> dict[str, Any] | None:
        """paired.json; None where it is missing or damaged."""
        return _optional(self.path / "paired.json", "measures")

    def drop_verdicts(self) -> None:
        """Remove the verdicts on other results: parity.json and paired.json."""
        for name in ("parity.json", "paired.json"):
            (self.path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what a run consists of but its manifest, and nothing else that a user may have put there."""
        for name in (*CONTENT, *REPORTS):
            remove(self.path / name)

    def clear_partial(self) -> None:
        """Remove what a killed process left half written or removed; only for the process that owns the run."""
        for partial in [entry for entry in self.path.glob(".*.tmp") if PARTIAL.fullmatch(entry.name)]:
            if partial.is_dir() and not partial.is_symlink():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)
        for folder in (self.path / "inputs", self.path / "cells"):
            for partial in folder.rglob(".*.tmp"):
                partial.unlink(missing_ok=True)


def _optional(path: Path, needed: str | None = None) -> dict[str, Any] | None:
    """A JSON object, or None where it is missing, damaged or lacks a key that is always there."""
    if not path.is_file():
        return None
    try:
        value = read_json(path)
    except RunError:
        return None
    return value if needed is None or needed in value else None


def _checked(name: str) -> str:
    """Refuse a name that could lead out of the run directory."""
    if not _NAME.fullmatch(name):
        raise RunError(f"{name[:80]!r} cannot name a file; allowed are letters, digits, '.', '_' and '-'")
    return name


def _case_file(folder: Path, case_id: str) -> Path:
    return folder / f"{_checked(case_id)}.npz"
