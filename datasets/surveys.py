"""What volumes were measured to be, kept between runs: to plan slices of 1,251 volumes again takes a second, not an
hour.

A measurement is kept in the user's cache folder and used again while name, size and time of change of the files are the
same. It holds numbers only, may be deleted at any time, and nothing but time depends on it. So why a volume cannot be
used is not kept: a share that was away, or a right that was lacking, changes no file when it comes back.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from uadbench.datasets.volumes import VERSION, Files, Measured, measure

__all__ = ["survey"]

SAVE_SECONDS = 30.0  # what a kill may cost
READERS = 4  # volumes at a time, each of which takes a few hundred MB while it is measured


def survey(name: str, folder: Path, volumes: Mapping[str, Files], percentile: float) -> dict[str, Measured]:
    """Volume -> what it is; those not known from an earlier call are read, with a progress bar on a terminal's stderr.

    name : of the data set, for the progress bar and the kept file
    folder : of the data set; percentile : see ``measure``
    """
    place = kept_file(name, folder)
    known = read_kept(place)
    keys = {volume: key(files, percentile) for volume, files in volumes.items()}
    missing = [volume for volume in volumes if keys[volume] not in known]
    saved = time.monotonic()
    try:
        found = measure_all([volumes[volume] for volume in missing], percentile, f"measuring {name}")
        for volume, one in zip(missing, found, strict=True):
            known[keys[volume]] = one
            if time.monotonic() - saved > SAVE_SECONDS:
                write_kept(place, known)
                saved = time.monotonic()
    finally:
        if missing:
            write_kept(place, known)
    return {volume: known[keys[volume]] for volume in volumes}


def measure_all(files: Sequence[Files], percentile: float, title: str) -> Iterator[Measured]:
    """Each volume measured, in order, several at a time; a progress bar where it takes long and somebody may look."""
    from rich.console import Console
    from rich.progress import track

    quiet = len(files) < 8 or not sys.stderr.isatty()
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        found = pool.map(measure, files, [percentile] * len(files))
        try:
            yield from track(found, title, len(files), console=Console(stderr=True), disable=quiet)
        finally:
            pool.shutdown(cancel_futures=True)


def key(files: Files, percentile: float) -> str:
    """Changes with the files and with whatever else decides what is measured."""
    states = []
    for path in (files.image, files.mask):
        try:
            status = path.stat() if path else None
        except (OSError, ValueError):
            status = None
        states.append((str(path), status and (status.st_size, status.st_mtime_ns)))
    return hashlib.sha256(
        repr((VERSION, states, files.lesion, files.ignored, percentile)).encode()
    ).hexdigest()


def kept_file(name: str, folder: Path) -> Path:
    """Where measurements of the data set in that folder are kept."""
    from platformdirs import user_cache_path

    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
    return user_cache_path("uadbench") / "volumes" / f"{name}-{place}.json"


def read_kept(place: Path) -> dict[str, Measured]:
    """What is kept; nothing where there is none or it is damaged."""
    try:
        return _sound(msgspec.json.decode(place.read_bytes(), type=dict[str, Measured]))
    except (OSError, msgspec.MsgspecError):
        return {}


def _sound(known: Mapping[str, Measured]) -> dict[str, Measured]:
    return {volume: one for volume, one in known.items() if not one.fault}


def write_kept(place: Path, known: Mapping[str, Measured]) -> None:
    """Replace what is kept, in one step; where that is not possible, the next call measures again."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=place.parent, prefix=place.stem)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(msgspec.json.encode(_sound(known)))
            os.replace(partial, place)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
