"""Files of JSON lines, a record each: appended one by one, a torn end cut off, the last record of a key counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uadbench.reports.atomic import append_line, write_bytes

__all__ = ["append_record", "mend_end", "read_records"]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record, flushed and fsynced. NaN and infinity raise ValueError, an OSError names the file."""
    append_line(path, json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False))


def mend_end(path: Path) -> None:
    """Cut off a torn last line, so that the next append starts on a line of its own."""
    if path.exists():
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            write_bytes(path, whole)


def read_records(path: Path, further: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The last record of each (case id, further keys), in the order in which these first appeared; [] without a file.

    A line that holds none counts as never written.
    """
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    if not path.exists():
        return []
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
            if isinstance(record["case_id"], str) and isinstance(record["status"], str):
                records[(record["case_id"], *(record[key] for key in further))] = record
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # torn by a kill, or damaged: as if the case had never been done
    return list(records.values())
