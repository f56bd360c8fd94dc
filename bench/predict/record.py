"""predictions.json and its folder: what is there, with what it was made, and what may be written.

Files are recorded one by one in a journal of JSON lines while they are made, and gathered in predictions.json at the
end or, after a kill, at the next start. A file is announced in the journal before anything of it is written, so that
what a kill left half done is known to be ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from uadbench.bench.plan.config import digest
from uadbench.reports.atomic import PARTIAL, RunError, read_json, write_bytes, write_json
from uadbench.reports.lines import append_records, mend_end, read_records

__all__ = ["SCHEMA", "PredictionDirectory", "refuse_other", "sha256_of"]

SCHEMA = 1  # of predictions.json
RECORD = "predictions.json"
JOURNAL = "predictions.jsonl"
LOCK = ".uadbench.lock"

Entry = dict[str, Any]


def sha256_of(path: Path) -> str | None:
    """Of a file's content; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


@dataclass(frozen=True)
class PredictionDirectory:
    """A folder of predictions."""

    path: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process, making it if need be; RunError where another one holds it."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; give a folder as --output")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(self.path / LOCK, timeout=0):
                yield
        except filelock.Timeout as error:
            raise RunError(
                f"{self.path}: another process is writing here; wait, or give another --output"
            ) from error

    def read(self) -> tuple[dict[str, Any], dict[str, Entry]]:
        """(predictions.json without its files, case id -> the last that is known of a file); ({}, {}) without one."""
        if not (self.path / RECORD).exists():
            return {}, {}
        record = read_json(self.path / RECORD)
        files = record.pop("files", None)
        if record.get("schema") != SCHEMA or not isinstance(files, list):
            raise RunError(f"{self.path / RECORD}: is none that this version wrote; give another --output")
        mend_end(self.path / JOURNAL)
        known = {entry["case_id"]: entry for entry in files}
        return record, known | {entry["case_id"]: entry for entry in read_records(self.path / JOURNAL)}

    def write(self, record: Mapping[str, Any], files: Mapping[str, Entry]) -> None:
        """Gather everything in predictions.json; the journal is over."""
        listed = [files[key] for key in sorted(files)]
        write_json(self.path / RECORD, {**record, "schema": SCHEMA, "files": listed})
        (self.path / JOURNAL).unlink(missing_ok=True)

    def note(self, entry: Entry) -> None:
        """Add to the journal what is known of a file now."""
        append_records(self.path / JOURNAL, [entry])

    def write_file(self, name: str, data: bytes) -> str:
        """Write a result, whole or not at all; its sha256."""
        write_bytes(self.path / name, data)
        return hashlib.sha256(data).hexdigest()

    def holds(self, entry: Entry) -> bool:
        """Whether a file is done and all that was written of it is there, unchanged."""
        if entry.get("status") != "ok":
            return False
        written = entry["outputs"].values()
        return all(sha256_of(self.path / one["file"]) == one["sha256"] for one in written)

    def refuse_foreign(self, wanted: Mapping[str, Sequence[str]], known: Mapping[str, Entry]) -> None:
        """RunError where a name that is to be written is taken by what no entry of ours stands for."""
        for case_id, names in wanted.items():
            taken = [name for name in names if (self.path / name).exists()]
            if taken and case_id not in known:
                raise RunError(
                    f"{self.path / taken[0]}: is there and is none of these predictions; give another --output, or "
                    "--overwrite to replace it"
                )

    def drop(self, files: Mapping[str, Entry]) -> None:
        """Remove what was written of files and has not been changed since, and predictions.json."""
        for entry in files.values():
            for one in entry.get("outputs", {}).values():
                if sha256_of(self.path / one["file"]) == one["sha256"]:
                    (self.path / one["file"]).unlink()
        for name in (RECORD, JOURNAL):
            (self.path / name).unlink(missing_ok=True)

    def clear_partial(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.path.rglob(".*.tmp"):
            if PARTIAL.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)


def refuse_other(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """RunError where the predictions that are there were made otherwise, with what differs.

    there, wanted : as ``setup.asked`` gives them
    """
    keys = [key for key in {**wanted, **there} if digest(there.get(key)) != digest(wanted.get(key))]
    if keys:
        raise RunError(
            f"{path}: holds other predictions (other {', '.join(keys)}); give another --output, or --overwrite to "
            "start anew"
        )
