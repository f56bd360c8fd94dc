"""``bench export-maps``: what a finished run keeps, as files that other tools open."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.maps.nnunet import Compared, compare, summary_bytes
from uadbench.bench.maps.units import Unit, make_units
from uadbench.bench.plan.config import ConfigError, unknown
from uadbench.bench.predict.outputs import call_pixels
from uadbench.bench.predict.setup import Called, called_of
from uadbench.datasets.writers import npy_bytes, plain_nifti_bytes, png_bytes, to_grey16
from uadbench.reports.atomic import RunError, write_bytes
from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.places import short_text
from uadbench.reports.runs import Cell, Run, split_of
from uadbench.reports.store import refuse_taken

__all__ = ["COLUMNS", "FORMATS", "Exported", "choose_cells", "export_maps"]

FORMATS = {"nifti": ".nii.gz", "png": ".png", "npy": ".npy"}
COLUMNS = (
    *("cell", "label", "case_id", "subject", "split", "scored", "lesion", "status", "reason"),
    *("image", "truth", "boxes", "anomaly", "reconstruction", "mask", "slice"),
    *("threshold", "component_px", "rule", "white"),
)
MASKS = ("truth", "mask")
STACKED = ("nifti", "npy")  # forms that hold the slices of a volume in one file


@dataclass(frozen=True)
class Exported:
    """files : how many were written; failed : (cell, case, reason) of what the run has and that cannot be read."""

    index: Path
    files: int
    failed: list[tuple[str, str, str]]


def choose_cells(run: Run, names: Sequence[str]) -> list[Cell]:
    """The cells that were run, or those whose names, or patterns such as 'thor*', are given; ConfigError on none."""
    ready = [cell for cell in run.cells if cell.n_cases]
    if not ready:
        raise RunError(f"{run.path}: no cell has a result yet; run the same `bench run` command again")
    for name in names:
        if not any(fnmatchcase(cell.slug, name) for cell in ready):
            if any(cell.slug.startswith(name) for cell in ready):
                raise ConfigError(f"{name!r} is the beginning of a cell's name; give '{name}*'")
            raise unknown("cell", name, [cell.slug for cell in ready])
    return [cell for cell in ready if not names or any(fnmatchcase(cell.slug, name) for name in names)]


def export_maps(
    run: Run,
    cells: Sequence[Cell],
    output: Path,
    form: str,
    white: float | None,
    overwrite: bool,
    progress: Callable[[str], None],
    say: Callable[[str], None],
) -> Exported:
    """Write images/, truths/, CELL/anomaly/ and so on, CELL/summary.json and, last, index.csv.

    form : of ``FORMATS``; white : the map's value that is white in a PNG, None for each map's own largest
    progress : is told the name of a cell for each of its cases; say : lines for the user
    Where the truth is boxes these stand in the index, and there is no truths/ and no summary.json.
    Raises RunError where the folder is not empty and ``overwrite`` is not given.
    """
    refuse_taken(output, overwrite)
    writer = _Writer(output, form, white)
    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str, str]] = []
    if (run.manifest.get("dataset") or {}).get("truth") == "boxes":
        say(
            "the truth is boxes, which stand in index.csv; a box is no mask, so no truths/ and no summary.json"
        )
    for cell in cells:
        called = called_of(cell)
        if called.threshold is None:
            say(f"{cell.slug}: no masks and no summary.json; its threshold is {called.rule}")
        compared = []
        for unit in make_units(cell.cases, form in STACKED):
            found, one = _export_unit(run, cell, called, unit, writer)
            rows += found
            compared += [one] if one is not None and found[0]["scored"] else []
            for row in found:
                if row["status"] == "unreadable":
                    failed.append((cell.slug, row["case_id"], row["reason"]))
                progress(cell.slug)
        if compared:
            write_bytes(output / cell.slug / "summary.json", summary_bytes(compared))
    write_bytes(output / "index.csv", _table(rows))
    return Exported(output / "index.csv", len(writer.done), failed)


class _Writer:
    """Writes each file once; inputs are shared by the cells."""

    def __init__(self, output: Path, form: str, white: float | None) -> None:
        self.output, self.form, self.white = output, form, white
        self.done: set[str] = set()

    def write(self, folder: str, name: str, kind: str, image: NDArray[Any]) -> str:
        """The name of the file below the output folder."""
        file = f"{folder}/{name}{FORMATS[self.form]}"
        if file not in self.done:
            write_bytes(self.output / file, self._encode(kind, image))
            self.done.add(file)
        return file

    def top(self, anomaly: NDArray[np.float32]) -> float:
        """The value of a map that is white."""
        return self.white or float(anomaly.max()) or 1.0

    def _encode(self, kind: str, image: NDArray[Any]) -> bytes:
        stored: NDArray[Any] = image.astype(np.uint8 if kind in MASKS else np.float32)
        if self.form == "npy":
            return npy_bytes(stored)
        if self.form == "nifti":
            return plain_nifti_bytes(stored, f"uadbench {kind}")
        if kind in MASKS:
            return png_bytes(stored * np.uint8(255))
        white = self.top(stored) if kind == "anomaly" else 1.0
        return png_bytes(to_grey16(stored, white), {"uadbench:white": f"{white:.9g}"})


def _export_unit(
    run: Run, cell: Cell, called: Called, unit: Unit, writer: _Writer
) -> tuple[list[dict[str, Any]], Compared | None]:
    """(rows of index.csv, one a case; the counts of the file where it has a mask); rows say what went wrong."""
    rows = [_row(run, cell, called, record) for record in unit.records]
    images: dict[str, dict[int, NDArray[Any]]] = {}
    for record, row in zip(unit.records, rows, strict=True):
        for kind, image in _read(run, cell, called, row).items():
            images.setdefault(kind, {})[unit.place(record)] = image
    if "anomaly" not in images:
        return rows, None
    arrays = {kind: unit.array(found) for kind, found in images.items()}
    files = {
        kind: writer.write(_folder(cell, kind), unit.name, kind, array) for kind, array in arrays.items()
    }
    for record, row in zip(unit.records, rows, strict=True):
        if row["status"] == "ok":
            row |= {**files, "slice": unit.place(record) if unit.volume else None}
            row["white"] = writer.top(arrays["anomaly"]) if writer.form == "png" else None
    if called.threshold is None or "truth" not in arrays:
        return rows, None
    return rows, compare(arrays["mask"], arrays["truth"], files["mask"], files["truth"])


def _row(run: Run, cell: Cell, called: Called, record: Mapping[str, Any]) -> dict[str, Any]:
    """What index.csv says of a case but its files."""
    keys = ("case_id", "subject", "lesion", "status", "reason")
    return {
        "cell": cell.slug,
        "label": f"{variant_of(cell.info).label} · {arm_of(cell.info).label}",
        **{key: record.get(key) for key in keys},
        **split_of(run, record),
        "threshold": called.threshold,
        "component_px": called.component_px if called.threshold is not None else None,
        "rule": called.rule,
    }


def _read(run: Run, cell: Cell, called: Called, row: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Kind -> image of a case; of one that failed its input, if there is one. The row takes the boxes of a case whose
    truth they are, and what cannot be read."""
    found: dict[str, NDArray[Any]] = {}
    try:
        found["image"], truth = run.directory.read_input(row["case_id"])
        boxes = run.directory.read_boxes(row["case_id"])
        if boxes is None:
            found["truth"] = truth
        else:
            row["boxes"] = json.dumps(boxes)
        if row["status"] == "ok":
            anomaly, reconstruction = cell.arrays(row["case_id"])
            found |= {"anomaly": anomaly, "reconstruction": reconstruction}
    except RunError as error:
        if row["status"] == "ok":
            row |= {"status": "unreadable", "reason": short_text(str(error))}
    if called.threshold is not None and "anomaly" in found:
        found["mask"] = call_pixels(found["anomaly"], called)
    return found


def _folder(cell: Cell, kind: str) -> str:
    return {"image": "images", "truth": "truths"}.get(kind, f"{cell.slug}/{kind}")


def _table(rows: Sequence[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
