"""Blobs of a store of shards, looked at and damaged from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uadbench.reports.lines import seal
from uadbench.reports.shards import Shards

__all__ = ["change_blob", "change_lines", "drop_blob", "sealed", "stored"]


def stored(folder: Path) -> dict[str, bytes]:
    """Key -> bytes of every blob that can be read."""
    shards = Shards(folder)
    return {key: shards.read(key) for key in sorted(shards.places)}


def change_blob(folder: Path, key: str, change: Callable[[bytes], bytes]) -> None:
    """Write other bytes in a blob's place: as many as there were, longer ones cut off, shorter ones filled up."""
    place = Shards(folder).places[key]
    path = folder / f"{place.shard:04d}.bin"
    data = path.read_bytes()
    end = place.offset + place.length
    new = change(data[place.offset : end])[: place.length].ljust(place.length, b"\0")
    path.write_bytes(data[: place.offset] + new + data[end:])


def drop_blob(folder: Path, key: str) -> None:
    """Take a blob's lines out of the index, as if it had never been kept."""
    change_lines(folder / "index.jsonl", lambda record: None if record["key"] == key else record)


def change_lines(path: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Write a file of lines again with each record changed, or left out where it becomes None."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    changed = [change({key: value for key, value in record.items() if key != "crc"}) for record in records]
    path.write_text("".join(seal(record) + "\n" for record in changed if record is not None))


def sealed(text: bytes) -> bytes:
    """A line with the checksum of its own, whatever it holds."""
    return (seal(json.loads(text)) + "\n").encode()
