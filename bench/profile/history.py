"""Figures over commits: one JSON a commit and machine, and a table of what each commit reached on this machine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uadbench.bench.profile.compare import row_key
from uadbench.reports.atomic import RunError, read_json, write_json

__all__ = ["commit_date", "entry_of", "history_table", "keep_entry", "read_history"]

KEPT = ("status", "rounds", "nfe", "flops", "under_load", "load_max", "parity", "stability")


def entry_of(profile: Mapping[str, Any], date: str | None = None) -> dict[str, Any]:
    """What history keeps of a profile. date : of the commit, ISO 8601; that of the profile where there is none."""
    git = profile.get("git") or {}
    commit = str(git["commit"])[:12] if git.get("commit") else f"v{profile['version']}"
    return {
        "kind": "profile-history",
        "schema": 1,
        "name": f"{commit}-dirty" if git.get("dirty") else commit,
        "date": date or profile["created"],
        "measured": profile["created"],
        "version": profile["version"],
        "machine": profile["machine"],
        "threads": profile["threads"],
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
    """Write FOLDER/MACHINE/COMMIT.json; the same commit measured again on the same machine replaces it."""
    name = re.sub(r"[^\w.+-]", "-", str(entry["name"]))
    path = folder / str(entry["machine"]) / f"{name}.json"
    write_json(path, entry)
    return path


def read_history(folder: Path, machine: str) -> list[dict[str, Any]]:
    """The entries of a machine, oldest commit first; RunError on a file that is none."""
    found = []
    for path in sorted((folder / machine).glob("*.json")):
        entry = read_json(path)
        if entry.get("kind") != "profile-history" or not isinstance(entry.get("rows"), list):
            raise RunError(f"{path}: is no entry of a history of profiles; move it elsewhere")
        found.append(entry)
    return sorted(found, key=lambda entry: (str(entry.get("date")), str(entry.get("measured"))))


def history_table(entries: Sequence[Mapping[str, Any]], threads: int) -> tuple[list[str], list[list[str]]]:
    """(heads, lines): a line a row of the profile, a column a commit, milliseconds an image.

    Only entries of that thread count are shown. ``*``: taken under load or not stable, so no figure to trust;
    ``!``: it failed.
    """
    shown = [entry for entry in entries if entry.get("threads") == threads]
    keys = dict.fromkeys(tuple(row["key"]) for entry in shown for row in entry["rows"])
    lines = []
    for key in keys:
        network, method, label, backend, precision, device, batch = key
        what = network if method == "-" else f"{label} ({network})"
        place = "" if device == "cpu" else f" {device}"
        cells = [_figure(entry, key) for entry in shown]
        lines.append([what, f"{backend} {precision}{place}", str(batch), *cells])
    return ["what", "arm", "batch", *(str(entry["name"]) for entry in shown)], lines


def _figure(entry: Mapping[str, Any], key: tuple[Any, ...]) -> str:
    for row in entry["rows"]:
        if tuple(row["key"]) == key:
            if row.get("status") == "failed":
                return "!"
            if row.get("image_ms") is None:
                return "–"
            doubtful = row.get("under_load") or (row.get("stability") or {}).get("verdict") != "stable"
            return f"{row['image_ms']:.4g}{'*' if doubtful else ''}"
    return "–"


def commit_date(commit: str | None) -> str | None:
    """When a commit of this checkout was made, ISO 8601 in UTC; None where git cannot say."""
    if not commit:
        return None
    root = Path(__file__).resolve().parents[2]
    words = [
        "git",
        "-C",
        str(root),
        "show",
        "-s",
        "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        "--format=%cd",
        commit,
    ]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=20, check=True, env={**os.environ, "TZ": "UTC"}
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
