"""Opening a run directory for writing: one process at a time, one identity for its whole life."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from uadbench.bench.config import RunConfig, digest
from uadbench.reports.store import MANIFEST, RunError, clear_partial, read_json, repair_cases, write_json

__all__ = ["default_output", "locked", "now", "prepare_run", "run_id"]

LOCK = ".lock"
_OURS = ("cells", "inputs", "previews", MANIFEST, "prior.npz", "parity.json")
_REPORTS = ("leaderboard.csv", "leaderboard.md", "leaderboard.html")


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_id(
    config_hash: str, fingerprint: str, preprocessing: dict[str, object], weights: dict[str, str]
) -> str:
    """sha256 over settings, data, their pre-processing and weights."""
    return digest(
        {"config": config_hash, "data": fingerprint, "preprocessing": preprocessing, "weights": weights}
    )


def default_output(config: RunConfig, identity: str) -> Path:
    """runs/<dataset>-<first 8 of the run id> in the current folder."""
    return Path("runs") / f"{config.dataset}-{identity[:8]}"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Hold the run directory for this process, making it if need be.

    The lock is the operating system's and ends with the process, however it ends, so no stale lock remains.
    Raises RunError when another process holds it, or when the folder is not empty and no run.
    """
    if output.exists():
        if not output.is_dir():
            raise RunError(f"{output}: is a file; give a folder as --output")
        foreign = [entry.name for entry in output.iterdir() if entry.name != LOCK]
        if foreign and not (output / MANIFEST).is_file():
            raise RunError(f"{output}: is not empty and holds no run; give another --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = open(output / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (held until the run ends)
    except OSError as error:
        raise RunError(f"{output}: cannot be written ({error.strerror}); give another --output") from error
    with file:
        if not _try_lock(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise RunError(f"{output}: process {holder} is writing this run; wait, or give another --output")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def prepare_run(output: Path, manifest: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Start a run or take up the one that is there; returns the manifest to go on with. Call it under the lock.

    manifest : for a new run; its "run_id" is the identity
    Raises RunError when the folder holds a run of another identity and ``overwrite`` is not given.
    """
    path = output / MANIFEST
    if path.is_file() and overwrite:
        _clear(output)
    if not path.is_file():
        write_json(path, manifest)
        return manifest
    there = read_json(path)
    if there.get("run_id") != manifest["run_id"]:
        raise RunError(
            f"{output}: holds another run ({_difference(there, manifest)}); "
            "give another --output, or --overwrite to start anew"
        )
    clear_partial(output)
    for slug in there["cells"]:
        repair_cases(output / "cells" / slug)
    return there


def _difference(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs between two manifests, in words."""
    old, new = there.get("config", {}), wanted["config"]
    keys = [key for key in new if old.get(key) != new[key]]
    if keys:
        return "other " + ", ".join(keys)
    if there.get("dataset", {}).get("fingerprint") != wanted["dataset"]["fingerprint"]:
        return "the data set has changed since"
    return "the network's or perceptual net's weights have changed since"


def _clear(output: Path) -> None:
    """Remove what a run consists of, and nothing else that a user may have put there."""
    for name in (*_OURS, *_REPORTS):
        path = output / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _try_lock(file: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
