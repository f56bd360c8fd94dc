"""``bench export-maps``: what a finished run keeps, as files that other tools open."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.maps.nnunet import Compared, compare, summary_bytes
from uadbench.bench.plan.config import unknown
from uadbench.bench.predict.outputs import call_pixels
from uadbench.bench.predict.setup import Called, called_of
from uadbench.datasets.writers import npy_bytes, plain_nifti_bytes, png_bytes, to_grey16
from uadbench.reports.atomic import RunError, write_bytes
from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.places import short_text
from uadbench.reports.runs import Cell, Run
from uadbench.reports.store import RunDirectory

__all__ = ["COLUMNS", "FORMATS", "Exported", "choose_cells", "export_maps"]

FORMATS = {"nifti": ".nii.gz", "png": ".png", "npy": ".npy"}
COLUMNS = (
    *("cell", "label", "case_id", "subject", "split", "lesion", "status", "reason"),
    *("image", "truth", "anomaly", "reconstruction", "mask"),
    *("threshold", "component_px", "rule", "white"),
)
MASKS = ("truth", "mask")


@dataclass(frozen=True)
class Exported:
    """files : how many were written; failed : (cell, case, reason) of what the run has and that cannot be read."""

    index: Path
    files: int
    failed: list[tuple[str, str, str]]


def choose_cells(run: Run, names: Sequence[str]) -> list[Cell]:
    """The cells that were run, or those whose names, or patterns such as 'thor*', are given; ConfigError on none."""
    ready = [cell for cell in run.cells if cell.cases]
    if not ready:
        raise RunError(f"{run.path}: no cell has a result yet; run the same `bench run` command again")
    for name in names:
        if not any(fnmatchcase(cell.slug, name) for cell in ready):
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
    Raises RunError where the folder is not empty and ``overwrite`` is not given.
    """
    if output.exists() and not output.is_dir():
        raise RunError(f"{output}: is a file; give a folder as --output")
    if RunDirectory(output).has_manifest:
        raise RunError(f"{output}: holds a manifest.json, as a run does; give another --output")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise RunError(
            f"{output}: is not empty; give another --output, or --overwrite to replace what is there"
        )
    writer = _Writer(output, form, white)
    rows: list[dict[str, Any]] = []
    failed: list[tuple[str, str, str]] = []
    for cell in cells:
        called = called_of(cell)
        if called.threshold is None:
            say(f"{cell.slug}: no masks and no summary.json; its threshold is {called.rule}")
        compared = []
        for record in cell.cases:
            row, one = _export_case(run, cell, called, record, writer)
            rows.append(row)
            compared += [one] if one is not None and record.get("split") == "test" else []
            if row["status"] == "unreadable":
                failed.append((cell.slug, record["case_id"], row["reason"]))
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

    def write(self, folder: str, case_id: str, kind: str, image: NDArray[Any]) -> str:
        """The name of the file below the output folder."""
        name = f"{folder}/{case_id}{FORMATS[self.form]}"
        if name not in self.done:
            write_bytes(self.output / name, self._encode(kind, image))
            self.done.add(name)
        return name

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


def _export_case(
    run: Run, cell: Cell, called: Called, record: dict[str, Any], writer: _Writer
) -> tuple[dict[str, Any], Compared | None]:
    """(the case's row of index.csv, its counts where it has a mask); the row says what went wrong."""
    case_id = record["case_id"]
    label = f"{variant_of(cell.info).label} · {arm_of(cell.info).label}"
    row: dict[str, Any] = {
        "cell": cell.slug,
        "label": label,
        "threshold": called.threshold,
        "rule": called.rule,
    }
    row |= {"component_px": called.component_px if called.threshold is not None else None}
    row |= {key: record.get(key) for key in ("case_id", "subject", "split", "lesion", "status", "reason")}
    if record["status"] != "ok":
        return row, None
    try:
        image, truth = run.directory.read_input(case_id)[:2]
        anomaly, reconstruction = cell.arrays(case_id)
    except RunError as error:
        return row | {"status": "unreadable", "reason": short_text(str(error))}, None
    row["image"] = writer.write("images", case_id, "image", image)
    row["truth"] = writer.write("truths", case_id, "truth", truth)
    row["anomaly"] = writer.write(f"{cell.slug}/anomaly", case_id, "anomaly", anomaly)
    row["reconstruction"] = writer.write(
        f"{cell.slug}/reconstruction", case_id, "reconstruction", reconstruction
    )
    row["white"] = writer.top(anomaly) if writer.form == "png" else None
    if called.threshold is None:
        return row, None
    mask = call_pixels(anomaly, called)
    row["mask"] = writer.write(f"{cell.slug}/mask", case_id, "mask", mask)
    return row, compare(mask, truth, row["mask"], row["truth"])


def _table(rows: Sequence[dict[str, Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()
