"""Opening a run directory for writing: one process at a time, one identity for its whole life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from uadbench.bench.plan.config import ADDITIONS, PLACES, RunConfig, digest
from uadbench.bench.plan.shards import Shard
from uadbench.bench.run.timing import Stopwatch
from uadbench.reports.atomic import RunError
from uadbench.reports.store import SCHEMA, RunDirectory

__all__ = ["check_output", "default_output", "locked", "note_session", "now", "prepare_run", "run_id"]


def now() -> str:
    """The time in UTC, to the second, ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def run_id(
    config_hash: str, fingerprint: str, preprocessing: dict[str, object], weights: dict[str, Any]
) -> str:
    """sha256 over settings, data, their pre-processing and weights."""
    return digest(
        {"config": config_hash, "data": fingerprint, "preprocessing": preprocessing, "weights": weights}
    )


def default_output(config: RunConfig, identity: str, shard: Shard | None = None) -> Path:
    """runs/<dataset>-<first 8 of the run id> in the current folder; "brats:t2" is brats-t2 there.

    identity : of the whole run; a shard of it has "-shard3of16" behind
    """
    name = config.dataset.replace(":", "-").replace("%", "pc")
    part = "" if shard is None else f"-shard{shard.index}of{shard.count}"
    return Path("runs") / f"{name}-{identity[:8]}{part}"


def check_output(run: RunDirectory, manifest: dict[str, Any], overwrite: bool) -> None:
    """Raise RunError where ``locked`` and ``prepare_run`` would because of what lies there; nothing is touched."""
    _refuse_foreign(run)
    if not overwrite:
        _refuse_other(run, manifest)


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Hold the run directory for this process, making it if need be.

    The lock is the operating system's and ends with the process, however it ends, so no stale lock remains.
    Raises RunError when another process holds it, or when the folder is not empty and no run; nothing in it is
    touched then.
    """
    output = run.path
    _refuse_foreign(run)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(run.lock_file, timeout=0):
            yield
    except filelock.Timeout as error:
        raise RunError(
            f"{output}: another process is writing this run; wait, or give another --output"
        ) from error
    except PermissionError as error:
        if error.filename and Path(error.filename) not in (output, run.lock_file):
            raise
        raise RunError(f"{output}: cannot be written ({error.strerror}); give another --output") from error


def prepare_run(run: RunDirectory, manifest: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """Start a run or take up the one that is there; returns the manifest to go on with. Call it under the lock.

    manifest : for a new run; its "run_id" is the identity
    Raises RunError when ``overwrite`` is not given and the folder holds a run of another identity, or results of
    which no manifest says what they are.
    """
    if not overwrite:
        _refuse_other(run, manifest)
    if overwrite or not run.has_manifest:
        run.clear_partial()
        run.clear()
        # This takes the old one's place, so that a folder which holds anything of a run always has a manifest.
        run.write_manifest(manifest)
        return manifest
    there = run.read_manifest()
    run.clear_partial()
    # A run of an earlier version lacks the floors that have come since: they are added to it, nothing is lost.
    cells = [*manifest["cells"], *(slug for slug in there["cells"] if slug not in manifest["cells"])]
    if cells != there["cells"]:
        there = {**there, "cells": cells}
        run.write_manifest(there)
    run.repair_inputs()
    for slug in cells:
        run.cell(slug).repair_cases()
    return there


def _refuse_foreign(run: RunDirectory) -> None:
    """Raise RunError where there is something that is no run."""
    if not run.path.exists():
        return
    if not run.path.is_dir():
        raise RunError(f"{run.path}: is a file; give a folder as --output")
    if run.has_manifest and not run.is_run:
        raise RunError(f"{run.path}: its manifest.json is not a run's; give another --output")
    if not run.has_manifest and run.foreign():
        raise RunError(f"{run.path}: is not empty and holds no run; give another --output")


def _refuse_other(run: RunDirectory, manifest: dict[str, Any]) -> None:
    """Raise RunError where there is a run of another identity, or results of which no manifest says what they are."""
    if not run.has_manifest and run.content:
        raise RunError(
            f"{run.path}: holds {', '.join(run.content)} of a run, but no manifest.json; "
            "give another --output, or --overwrite to start anew"
        )
    if not run.has_manifest:
        return
    there = run.read_manifest()
    if (schema := there.get("schema", 1)) != SCHEMA:
        raise RunError(
            f"{run.path}: was begun by another version (schema {schema}, this one writes {SCHEMA}); "
            "give another --output, or --overwrite to start anew"
        )
    if there.get("run_id") != manifest["run_id"]:
        raise RunError(
            f"{run.path}: holds another run ({_difference(there, manifest)}); "
            "give another --output, or --overwrite to start anew"
        )


def _difference(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What differs between two manifests, in words."""
    parts = [(manifest.get("shard") or {}).get("label", "none") for manifest in (there, wanted)]
    if parts[0] != parts[1]:
        return f"its shard is {parts[0]}, and {parts[1]} is wanted"
    old, new = there.get("config", {}), wanted["config"]
    ignored = (*PLACES, *ADDITIONS)
    keys = [key for key in {**new, **old} if key not in ignored and old.get(key) != new.get(key)]
    if keys:
        return "other " + ", ".join(keys)
    had, has = there.get("dataset", {}), wanted["dataset"]
    if had.get("fingerprint") != has["fingerprint"]:
        return "the data set has changed since"
    if digest(had.get("preprocessing", {})) != digest(has.get("preprocessing", {})):
        return "the pre-processing of the data has changed since"
    return "the network's or perceptual net's weights have changed since"


def note_session(
    run: RunDirectory,
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
    run.write_manifest({**manifest, **done, "sessions": [*manifest["sessions"], entry]})
