"""The run directory: every file of it is written and read here, and nowhere else.

A run survives a kill at any moment: whole files are replaced atomically, and a line is appended to
``cases.jsonl`` (flushed, fsynced) only after the case's arrays are on disk, so it always stands for work done.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CASES",
    "MANIFEST",
    "PARTIAL",
    "Cell",
    "Run",
    "RunError",
    "append_case",
    "clear_partial",
    "load_run",
    "read_arrays",
    "read_cases",
    "read_input",
    "read_json",
    "remove",
    "repair_cases",
    "write_arrays",
    "write_bytes",
    "write_input",
    "write_json",
]

MANIFEST = "manifest.json"
CASES = "cases.jsonl"
PARTIAL = re.compile(r"\..+\.\d+\.tmp")  # what a file or folder of the run is called while it comes or goes
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")

Image = NDArray[np.float32]


class RunError(Exception):
    """A run directory cannot be used; the message says which, why and what to do, in one line."""


@dataclass(frozen=True)
class Cell:
    """One cell of a run: a method with one noise, back end and precision.

    info : cell.json
    cases : the last record of each case, in the order in which cases first appeared
    metrics, latency : metrics.json and latency.json, None while the cell is unfinished
    """

    path: Path
    slug: str
    info: dict[str, Any]
    cases: list[dict[str, Any]]
    metrics: dict[str, Any] | None
    latency: dict[str, Any] | None


@dataclass(frozen=True)
class Run:
    """A run directory, read. ``parity`` is parity.json or None."""

    path: Path
    manifest: dict[str, Any]
    cells: tuple[Cell, ...]
    parity: dict[str, Any] | None


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one go: readers see the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def remove(path: Path) -> None:
    """Remove a file or a folder, in one go: a kill leaves all of it, or none of it under its name."""
    if path.is_dir() and not path.is_symlink():
        leaving = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        os.replace(path, leaving)
        shutil.rmtree(leaving)
    else:
        path.unlink(missing_ok=True)


def clear_partial(run: Path) -> None:
    """Remove what a killed process left half written or removed; only for the process that owns the run."""
    for partial in [entry for entry in run.glob(".*.tmp") if PARTIAL.fullmatch(entry.name)]:
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)
    for folder in (run / "inputs", run / "cells"):
        for partial in folder.rglob(".*.tmp"):
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, indent 1, trailing newline. NaN and infinity raise ValueError."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; RunError when it is missing, unreadable or not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise RunError(f"{path}: is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: holds a {type(value).__name__}, a JSON object is needed")
    return value


def write_arrays(cell: Path, case_id: str, anomaly: ArrayLike, reconstruction: ArrayLike) -> None:
    """Keep a case's result: anomaly float32 [H, W] >= 0, reconstruction float32 [H, W] in [0, 1]."""
    _write_npz(
        _case_file(cell / "arrays", case_id),
        anomaly=np.asarray(anomaly, dtype=np.float32),
        reconstruction=np.asarray(reconstruction, dtype=np.float32),
    )


def read_arrays(cell: Path, case_id: str) -> tuple[Image, Image]:
    """(anomaly [H, W], reconstruction [H, W]) of a case."""
    arrays = _read_npz(_case_file(cell / "arrays", case_id), ("anomaly", "reconstruction"))
    return arrays["anomaly"], arrays["reconstruction"]


def write_input(run: Path, case_id: str, image: ArrayLike, mask: ArrayLike) -> None:
    """Keep a case's input once for all cells: image float32 [H, W] in [0, 1], mask bool [H, W]."""
    path = _case_file(run / "inputs", case_id)
    _write_npz(path, image=np.asarray(image, dtype=np.float32), mask=np.asarray(mask, dtype=np.bool_))


def read_input(run: Path, case_id: str) -> tuple[Image, NDArray[np.bool_]]:
    """(image [H, W], mask [H, W]) of a case."""
    arrays = _read_npz(_case_file(run / "inputs", case_id), ("image", "mask"))
    return arrays["image"], arrays["mask"]


def append_case(cell: Path, record: dict[str, Any]) -> None:
    """Append one line to the cell's cases.jsonl, flushed and fsynced."""
    line = json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False)
    cell.mkdir(parents=True, exist_ok=True)
    with open(cell / CASES, "a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_cases(cell: Path) -> list[dict[str, Any]]:
    """The cell's records, [] without a file; the last of a case wins, a torn last line is ignored."""
    path = cell / CASES
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    records: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            records[record["case_id"]] = record
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines):  # no newline after it: the process died while writing
                continue
            raise RunError(f"{path}: line {number} is not a case record ({error})") from error
    return list(records.values())


def repair_cases(cell: Path) -> None:
    """Cut off a torn last line, so that the next append starts on a line of its own."""
    path = cell / CASES
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        write_bytes(path, whole)


def load_run(path: Path) -> Run:
    """Read a run directory; RunError with one clear line if it is none."""
    path = Path(path)
    if not path.is_dir():
        raise RunError(f"{path}: no such folder; give a run directory, such as `bench run` makes under runs/")
    if not (path / MANIFEST).is_file():
        raise RunError(f"{path}: holds no {MANIFEST}, so it is not a run directory")
    manifest = read_json(path / MANIFEST)
    listed = manifest.get("cells")
    if not isinstance(listed, list) or not all(isinstance(slug, str) for slug in listed):
        raise RunError(f"{path / MANIFEST}: has no list of cells")
    cells = tuple(_load_cell(path / "cells" / _checked(slug)) for slug in _present(path, listed))
    return Run(path, manifest, cells, _optional(path / "parity.json"))


def _present(path: Path, slugs: Iterable[str]) -> list[str]:
    """The cells that were begun; the others have nothing to show yet."""
    return [slug for slug in slugs if (path / "cells" / _checked(slug) / "cell.json").is_file()]


def _load_cell(path: Path) -> Cell:
    return Cell(
        path=path,
        slug=path.name,
        info=read_json(path / "cell.json"),
        cases=read_cases(path),
        metrics=_optional(path / "metrics.json"),
        latency=_optional(path / "latency.json"),
    )


def _optional(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _checked(name: str) -> str:
    """Refuse a name that could lead out of the run directory."""
    if not _NAME.fullmatch(name):
        raise RunError(f"{name!r} cannot name a file; allowed are letters, digits, '.', '_' and '-'")
    return name


def _case_file(folder: Path, case_id: str) -> Path:
    return folder / f"{_checked(case_id)}.npz"


def _write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def _read_npz(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing; run the same `bench run` command again") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: cannot be read ({error}); delete it and run again") from error
