"""Figures over commits: a JSON a commit, threads and hint on a machine, and a table of what each commit reached."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uadbench.bench.profile.compare import KEY, row_key, what_was_timed
from uadbench.reports.atomic import RunError, read_json, write_json
from uadbench.reports.profile import arm_text, doubtful

__all__ = ["entry_of", "history_table", "keep_entry", "read_history"]

SCHEMA = 3  # of an entry
KEPT = ("status", "rounds", "nfe", "flops", "under_load", "load_max", "parity", "stability")


def entry_of(profile: Mapping[str, Any], date: str | None = None) -> dict[str, Any]:
    """What history keeps of a profile. date : of the commit, ISO 8601; that of the profile where there is none."""
    git = profile.get("git") or {}
    commit = str(git["commit"])[:12] if git.get("commit") else f"v{profile['version']}"
    return {
        "kind": "profile-history",
        "schema": SCHEMA,
        "name": f"{commit}-dirty" if git.get("dirty") else commit,
        "clean": bool(git.get("commit")) and not git.get("dirty"),
        "date": date or profile["created"],
        "measured": profile["created"],
        "version": profile["version"],
        "machine": profile["machine"],
        "threads": profile["threads"],
        "hint": profile["hint"],
        "packages": (profile.get("environment") or {}).get("packages") or {},
        "rows": [
            {
                "key": list(row_key(row)),
                "image_ms": (row.get("image_ms") or {}).get("p50"),
                **{name: row.get(name) for name in KEPT},
            }
            for row in profile["rows"]
        ],
    }


def keep_entry(folder: Path, entry: Mapping[str, Any]) -> Path:
    """Write FOLDER/MACHINE/COMMIT-THREADS-HINT.json.

    Measured again, rows replace those of the same key, and leave the others where code and packages are the same: those
    of a clean commit.
    """
    name = re.sub(r"[^\w.+-]", "-", f"{entry['name']}-{entry['threads']}-{entry['hint']}")
    path = folder / str(entry["machine"]) / f"{name}.json"
    before = _read(path) if path.exists() else {"rows": [], "packages": None}
    again = {tuple(row["key"]) for row in entry["rows"]}
    same = entry["clean"] and before["packages"] == entry["packages"]
    kept = [row for row in before["rows"] if same and tuple(row["key"]) not in again]
    write_json(path, {**entry, "rows": [*kept, *entry["rows"]]})
    return path


def read_history(folder: Path, machine: str) -> list[dict[str, Any]]:
    """The entries of a machine, oldest commit first; RunError on a file that is none."""
    found = [_read(path) for path in sorted((folder / machine).glob("*.json"))]
    return sorted(found, key=lambda entry: (str(entry.get("date")), str(entry.get("measured"))))


def _read(path: Path) -> dict[str, Any]:
    entry = read_json(path)
    if not _is_entry(entry):
        raise RunError(f"{path}: is no entry of a history of profiles of this version; move it elsewhere")
    return entry


def _is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether an entry can be shown beside others."""
    rows = entry.get("rows")
    known = entry.get("kind") == "profile-history" and entry.get("schema") == SCHEMA
    return known and isinstance(rows, list) and all(isinstance(row, dict) and _is_row(row) for row in rows)


def _is_row(row: Mapping[str, Any]) -> bool:
    key, stability = row.get("key"), row.get("stability")
    keyed = (
        isinstance(key, list) and len(key) == len(KEY) and all(isinstance(part, str | int) for part in key)
    )
    told = {"status", "under_load"} <= row.keys() and isinstance(row.get("image_ms"), int | float | None)
    return keyed and told and isinstance(stability, dict) and "verdict" in stability


def history_table(
    entries: Sequence[Mapping[str, Any]], threads: int, hint: str = "latency"
) -> tuple[list[str], list[list[str]]]:
    """(heads, lines): a line a row of the profile, a column a commit, milliseconds an image.

    Only entries of that thread count and hint are shown. ``*``: taken under load or not stable, so no figure to trust;
    ``!``: it failed.
    """
    shown = [entry for entry in entries if (entry.get("threads"), entry.get("hint")) == (threads, hint)]
    keys = dict.fromkeys(tuple(row["key"]) for entry in shown for row in entry["rows"])
    lines = []
    for key in keys:
        row = dict(zip(KEY, key, strict=True))
        cells = [_figure(entry, key) for entry in shown]
        lines.append([what_was_timed(row), arm_text(row), str(row["batch"]), *cells])
    return ["what", "arm", "batch", *(str(entry["name"]) for entry in shown)], lines


def _figure(entry: Mapping[str, Any], key: tuple[Any, ...]) -> str:
    for row in entry["rows"]:
        if tuple(row["key"]) == key:
            if row["status"] == "failed":
                return "!"
            if row.get("image_ms") is None:
                return "–"
            return f"{row['image_ms']:.4g}{'*' if doubtful(row) else ''}"
    return "–"
