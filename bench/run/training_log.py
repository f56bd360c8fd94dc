"""What a training tells while it runs, its records in three forms: JSON lines, a table, TensorBoard's events."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uadbench.reports.atomic import write_bytes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["Events", "flat", "read_log", "write_log"]

Record = Mapping[str, Any]


def read_log(log: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl file; none where there is no file, and a torn last line is left out."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def write_log(log: Path, records: Sequence[Record]) -> None:
    """All records as LOG.jsonl and, one row each, as LOG.csv; columns that a record lacks stay empty."""
    write_bytes(log, "".join(json.dumps(record) + "\n" for record in records).encode())
    rows = [flat(record) for record in records]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(log.with_suffix(".csv"), table.getvalue().encode())


def flat(record: Record) -> dict[str, float]:
    """Its numbers by name, such as "clean_error/phantom/250"; what is None is left out."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in flat(value).items()}
        elif value is not None:
            found[name] = value
    return found


class Events:
    """TensorBoard's event file of one session, opened at its first validation.

    grid : step -> the picture of that validation
    tell : gets one line where tensorboard is not installed; then nothing is written
    Files of sessions before are replaced, for they may go beyond the records, and no step is to be told twice.
    """

    def __init__(self, folder: Path, grid: Callable[[int], Path], tell: Callable[[str], None]) -> None:
        self._folder, self._grid, self._tell = folder, grid, tell
        self._writer: SummaryWriter | None = None
        self._opened, self._written = False, 0

    def add(self, records: Sequence[Record]) -> None:
        """Write those that this session has not written yet."""
        if not self._opened:
            self._opened, self._writer = True, self._open()
        if self._writer is not None:
            for record in records[self._written :]:
                self._add(self._writer, record)
            self._writer.flush()
        self._written = len(records)

    def _open(self) -> SummaryWriter | None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._tell(
                "tensorboard is not installed, so it gets no files; `pip install 'uadbench[train]'` to have them"
            )
            return None
        for old in self._folder.glob("events.out.tfevents.*"):
            old.unlink(missing_ok=True)
        return SummaryWriter(str(self._folder))  # type: ignore[no-untyped-call]

    def _add(self, writer: Any, record: Record) -> None:
        from PIL import Image

        step, grid = record["step"], self._grid(record["step"])
        for name, number in flat(record).items():
            if name != "step":
                writer.add_scalar(name, number, step)
        if grid.is_file():
            with Image.open(grid) as picture:
                writer.add_image("grid", np.asarray(picture.convert("L")), step, dataformats="HW")

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()  # type: ignore[no-untyped-call]
