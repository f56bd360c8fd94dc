"""What a run will take, from times that `bench profile` measured: no figure for what was not measured."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from uadbench.bench.plan.config import ConfigError, shown
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.reports.identity import Arm, Variant

__all__ = ["Rate", "Row", "Timed", "disk_bytes", "find_row", "read_profile", "time_cells"]

FILE = "profile.csv"
NEEDED = (
    "network",
    "method",
    "label",
    "backend",
    "precision",
    "device",
    "batch",
    "threads",
    "status",
    "image_ms_p50",
)
# Of the two float32 arrays a case and cell (anomaly map, reconstruction) and the input, what compression leaves.
COMPRESSED = 0.6


@dataclass(frozen=True)
class Row:
    """A line of profile.csv whose status is ok. method : "-" for one call of the network; image_ms : median an image"""

    network: str
    method: str
    label: str
    backend: str
    precision: str
    device: str
    batch: int
    threads: int
    image_ms: float
    under_load: bool

    @property
    def words(self) -> str:
        """'unet-gaussian, torch fp32, batch 4, 2 threads, taken under load'."""
        what = self.network if self.method == "-" else self.label
        load = ", taken under load" if self.under_load else ""
        threads = (
            f", {self.threads} thread{'s' * (self.threads != 1)}"
            if self.device == "cpu"
            else f", {self.device}"
        )
        return f"{what}, {self.backend} {self.precision}, batch {self.batch}{threads}{load}"


@dataclass(frozen=True)
class Rate:
    """Milliseconds an image of a variant on an arm, and the row that they follow from."""

    image_ms: float
    row: Row


@dataclass(frozen=True)
class Timed:
    """A cell and its rate, None where its arm or network was not measured."""

    cell: Cell
    rate: Rate | None


def read_profile(path: Path) -> list[Row]:
    """The rows of a profile's folder, or of its profile.csv; ConfigError where it is none."""
    file = path / FILE if path.is_dir() else path
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            if missing := [name for name in NEEDED if name not in (reader.fieldnames or ())]:
                raise ConfigError(f"{file}: has no column {missing[0]!r}; give what `bench profile` wrote")
            rows = [_row(file, line) for line in reader if line["status"] == "ok" and line["image_ms_p50"]]
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read ({error.strerror}); give a folder of `bench profile`"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file}: is no CSV ({error})") from error
    if not rows:
        raise ConfigError(f"{file}: has no row that was measured; run `bench profile` again")
    return rows


def _row(file: Path, line: dict[str, str]) -> Row:
    try:
        number = float(line["image_ms_p50"])
        load = str(line.get("under_load", "")).lower() in ("true", "1")
        if not 0 < number < float("inf"):
            raise ValueError(number)
        return Row(
            line["network"],
            line["method"],
            line["label"],
            line["backend"],
            line["precision"],
            line["device"],
            int(line["batch"]),
            int(line["threads"] or 1),
            number,
            load,
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{file}: a row is not what `bench profile` writes ({shown(str(error))})"
        ) from error


def find_row(
    rows: Iterable[Row], variant: Variant, network: str, nfe: int, arm: Arm, batch_size: int
) -> Rate | None:
    """The row of the whole method with these settings, else that of its network times its calls; None without any.

    Of several batch sizes the largest that is not above the run's, else the smallest.
    """
    device = arm.device.partition(":")[0]
    there = [
        row
        for row in rows
        if (row.backend, row.precision, row.device.partition(":")[0]) == (arm.backend, arm.precision, device)
    ]
    whole = [row for row in there if row.method == variant.method and row.label == variant.label]
    if whole:
        row = _nearest(whole, batch_size)
        return Rate(row.image_ms, row)
    calls = [row for row in there if row.method == "-" and row.network == network]
    if not calls or not nfe:
        return None
    row = _nearest(calls, batch_size)
    return Rate(row.image_ms * nfe, row)


def _nearest(rows: Sequence[Row], batch_size: int) -> Row:
    below = [row for row in rows if row.batch <= batch_size]
    return max(below, key=lambda row: row.batch) if below else min(rows, key=lambda row: row.batch)


def time_cells(plan: Plan, rows: Sequence[Row]) -> list[Timed]:
    """Each cell with its rate."""
    return [
        Timed(
            cell,
            find_row(
                rows,
                cell.variant,
                cell.networks["denoiser"].name if cell.networks else "",
                cell.walk.nfe,
                cell.arm,
                plan.config.batch_size,
            ),
        )
        for cell in plan.cells
    ]


def disk_bytes(n_cases: int, n_cells: int, side: int) -> float:
    """Disk need: the inputs once, and an anomaly map and a reconstruction for each case and cell."""
    return n_cases * (1 + 2 * n_cells) * side * side * 4 * COMPRESSED
