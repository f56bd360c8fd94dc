"""Files of JSON lines, a record each: appended, a torn end cut off, the last record of a key counts.

Each line ends with a checksum of what stands before it, so damage inside a line is seen, even where it is still JSON.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from uadbench.reports.atomic import append_text

__all__ = ["append_records", "iterate_lines", "mend_end", "read_records", "seal", "unseal"]

_END = len(', "crc": "00000000"}')
_BLOCK = 2**16


def seal(record: Mapping[str, Any]) -> str:
    """A record as a line, its last key "crc" the CRC-32 of the line without it. NaN and infinity raise ValueError."""
    text = json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return f'{text[:-1]}, "crc": "{zlib.crc32(text.encode()):08x}"}}'


def unseal(line: bytes) -> bytes | None:
    """The JSON of a line, None where it is not what was written."""
    text = line[:-_END] + b"}"
    return text if line[-_END:] == b', "crc": "%08x"}' % zlib.crc32(text) else None


def append_records(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records, flushed and fsynced together. NaN and infinity raise ValueError, an OSError names the file."""
    append_text(path, "".join(f"{seal(record)}\n" for record in records))


def mend_end(path: Path) -> None:
    """Cut off a torn last line, so that the next append starts on a line of its own."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        place = end = file.seek(0, os.SEEK_END)
        while place:
            start = max(0, place - _BLOCK)
            file.seek(start)
            found = file.read(place - start).rfind(b"\n")
            place = start + found + 1 if found >= 0 else start
            if found >= 0:
                break
        if place != end:
            file.truncate(place)
            os.fsync(file.fileno())


def iterate_lines(path: Path, size: int | None = None) -> Iterator[bytes]:
    """The JSON of each line that is whole, in the first ``size`` bytes where given; nothing without a file."""
    if not path.exists():
        return
    read = 0
    with open(path, "rb") as file:
        for line in file:
            read += len(line)
            if size is not None and read > size:
                return
            text = unseal(line.rstrip(b"\n"))
            if text is not None:
                yield text


def read_records(path: Path, further: tuple[str, ...] = (), size: int | None = None) -> list[dict[str, Any]]:
    """The last record of each (case id, further keys), in the order in which these first appeared; [] without a file.

    A line that holds none counts as never written. size : as ``iterate_lines``
    """
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in iterate_lines(path, size):
        try:
            record = msgspec.json.decode(line)
            if isinstance(record["case_id"], str) and isinstance(record["status"], str):
                records[(record["case_id"], *(record[key] for key in further))] = record
        except (ValueError, TypeError, KeyError, RecursionError):
            continue  # a line of something else: as if the case had never been done
    return list(records.values())
