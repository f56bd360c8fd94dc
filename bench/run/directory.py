"""Opening a run directory for writing: one process at a time, one identity for its whole life."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from uadbench.bench.plan.config import _PLACES, RunConfig, digest
from uadbench.bench.run.timing import Stopwatch
from uadbench.reports.store import (
    MANIFEST,
    PARTIAL,
    RunError,
    clear_partial,
    read_json,
    remove,
    repair_cases,
    write_json,
)

__all__ = ["default_output", "locked", "note_session", "now", "prepare_run", "run_id"]

LOCK = ".lock"
_OURS = ("cells", "inputs", "previews", "prior.npz", "parity.json")
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
        names = {entry.name for entry in output.iterdir()}
        # A lock file says that a run was here. Without one, a folder called "inputs" may be anybody's.
        ours = {LOCK, *_OURS, *_REPORTS} if LOCK in names else set()
        foreign = [name for name in names - ours if not PARTIAL.fullmatch(name)]
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
    Raises RunError when ``overwrite`` is not given and the folder holds a run of another identity, or results of
    which no manifest says what they are.
    """
    path = output / MANIFEST
    if not path.is_file() and not overwrite and (left := [n for n in _OURS if (output / n).exists()]):
        raise RunError(
            f"{output}: holds {', '.join(left)} of a run, but no {MANIFEST}; "
            "give another --output, or --overwrite to start anew"
        )
    clear_partial(output)
    if overwrite or not path.is_file():
        _clear(output)
        # This takes the old one's place, so that a folder which holds anything of a run always has a manifest.
        write_json(path, manifest)
        return manifest
    there = read_json(path)
    if there.get("run_id") != manifest["run_id"]:
        raise RunError(
            f"{output}: holds another run ({_difference(there, manifest)}); "
            "give another --output, or --overwrite to start anew"
        )
    for slug in there["cells"]:
        repair_cases(output / "cells" / slug)
    return there


def _difference(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs between two manifests, in words."""
    old, new = there.get("config", {}), wanted["config"]
    keys = [key for key in new if key not in _PLACES and old.get(key) != new[key]]
    if keys:
        return "other " + ", ".join(keys)
    had, has = there.get("dataset", {}), wanted["dataset"]
    if had.get("fingerprint") != has["fingerprint"]:
        return "the data set has changed since"
    if digest(had.get("preprocessing", {})) != digest(has.get("preprocessing", {})):
        return "the pre-processing of the data has changed since"
    return "the network's or perceptual net's weights have changed since"


def _clear(output: Path) -> None:
    """Remove what a run consists of but its manifest, and nothing else that a user may have put there."""
    for name in (*_OURS, *_REPORTS):
        remove(output / name)


def note_session(
    output: Path,
    manifest: dict[str, Any],
    state: dict[str, Any],
    watch: Stopwatch,
    begun: float,
    finished: bool,
) -> None:
    """Add to the manifest when this process worked, and on what it spent its time.

    state : further fields of the entry
    begun : ``time.perf_counter`` when it began
    """
    total = time.perf_counter() - begun
    seconds = dict(sorted(watch.elapsed.items()))
    own = sum(seconds.get(name, 0.0) for name in ("load", "score", "write", "other"))
    entry = {
        **state,
        "ended": "finished" if finished else "interrupted",
        "seconds": {**seconds, "total": total},
        "harness_fraction": own / total,
    }
    done = {"finished": now()} if finished else {}
    write_json(output / MANIFEST, {**manifest, **done, "sessions": [*manifest["sessions"], entry]})


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
