"""Exported networks kept for the user: made on demand, checked before each use, made again where anything is wrong.

An entry is a folder, named after a hash of all that decides its content, with the network, its manifest and a seal: an
HMAC over both files under a random key that only this user can read. What another user put there, what was altered
(even if its manifest was altered to match) and what is damaged has no valid seal and is replaced.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import inspect
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock
from torch import nn

from uadbench.engine.backends.artifacts import ArtifactError, Form, manifest_path, read_artifact
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.networks.checkpoint import load_denoiser
from uadbench.exporters import graph
from uadbench.exporters import onnx as exporter
from uadbench.exporters import precision as lower

__all__ = ["cache_folder", "cached_artifact"]

ARTIFACT, SEAL = "unet.onnx", "seal"
KEY, KEY_BYTES = "key", 32
LOCK = ".lock"
LOCK_S = 600.0  # an export takes seconds; who waits longer waits for a process that hangs
PARTIAL = ".partial-"
LITTER_S = 24 * 3600.0  # an unfinished export this old is of a process that died


def cached_artifact(checkpoint: Path, cache: Path | None = None, form: Form | None = None) -> Path:
    """A checkpoint's network as ONNX, from the cache, or exported into it now.

    cache : see ``cache_folder``
    form : how it is exported, ``Form()`` where None; each form has an entry of its own

    One file with an open batch size serves ONNX Runtime, which runs it as fast as one of a fixed size, and OpenVINO,
    which fixes the size itself when it compiles. An entry that is damaged, altered or not this user's is exported
    again.
    Raises BackendError (also its kind ExportError) and CheckpointError.
    """
    form = form or Form()
    model, card = load_denoiser(checkpoint)
    folder = cache_folder(cache)
    entry = folder / _entry_name(model, card, form)
    try:
        _clear_litter(folder)
        if not _is_sound(entry):
            with filelock.FileLock(folder / LOCK, timeout=LOCK_S, mode=0o600):
                if not _is_sound(entry):  # else another process made it meanwhile
                    _export_into(entry, model, card, form)
    except filelock.Timeout as error:
        raise BackendError(
            f"{folder}: another process has been exporting into it for {LOCK_S:g} s; wait for it or end it"
        ) from error
    except OSError as error:
        raise _unusable(folder, error) from error
    return entry / ARTIFACT


def cache_folder(given: Path | None = None) -> Path:
    """The cache of exported networks, made if need be, for this user alone (mode 0700).

    given : None = onnx/ in the user's cache folder for uadbench
    Raises BackendError when it belongs to someone else or cannot be made.
    """
    import platformdirs

    folder = given or platformdirs.user_cache_path("uadbench") / "onnx"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if not _is_ours(status):
            raise BackendError(
                f"{folder}: belongs to another user; remove it or set XDG_CACHE_HOME to a folder of yours"
            )
        if not _is_private(status):
            folder.chmod(0o700)
    except OSError as error:
        raise _unusable(folder, error) from error
    return folder


def _unusable(folder: Path, error: OSError) -> BackendError:
    place = error.filename or folder
    return BackendError(
        f"{place}: cannot hold exported networks ({error.strerror or error}); make room or access"
    )


def _entry_name(model: nn.Module, card: Mapping[str, Any], form: Form) -> str:
    """A hash of the weights, what the card says of them, the form, and code and versions of all that export."""
    ours = {type(part) for part in model.modules() if type(part).__module__.startswith("uadbench.")}
    code = {inspect.getfile(kind) for kind in ours} | {
        str(part.__file__) for part in (exporter, graph, lower)
    }
    content = {
        "checkpoint": card["sha256"],
        "card": {name: card.get(name) for name in ("kind", "prediction", "schedule", "network")},
        "opset": graph.opset_of(form),
        "form": dataclasses.asdict(form),
        "code": sorted(hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in code),
        "versions": {package: _version(package) for package in graph.PACKAGES},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _version(package: str) -> str | None:
    """Installed version; None when absent, which matters only if there is something to export."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is_sound(entry: Path) -> bool:
    """Whether an entry is whole, this user's alone, and as this user sealed it."""
    parts = (entry / ARTIFACT, manifest_path(entry / ARTIFACT), entry / SEAL)
    try:
        if not _is_kept(entry, stat.S_ISDIR) or not all(_is_kept(part, stat.S_ISREG) for part in parts):
            return False
        key = _read_key(entry.parent)
        seal = (entry / SEAL).read_text(encoding="ascii")
        if key is None or not hmac.compare_digest(seal, _seal(key, entry.name, entry)):
            return False
        read_artifact(entry / ARTIFACT)
    except (OSError, ArtifactError, ValueError, TypeError):  # not there, not readable, no text
        return False
    return True


def _seal(key: bytes, name: str, folder: Path) -> str:
    """Binds network and manifest to each other, to the entry's name and to this user."""
    path = folder / ARTIFACT
    hashes = [hashlib.sha256(part.read_bytes()).hexdigest() for part in (path, manifest_path(path))]
    return hmac.new(key, json.dumps([name, *hashes]).encode(), "sha256").hexdigest()


def _export_into(entry: Path, model: nn.Module, card: Mapping[str, Any], form: Form) -> None:
    """Export beside the entry, move aside what stood in its place, rename: it is whole or absent. The lock is held."""
    folder = entry.parent
    key = _read_key(folder) or _new_key(folder)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    aside = partial.with_name(
        f"{partial.name}-old"
    )  # beside it: another user's folder cannot change its parent
    try:
        fresh = partial / "new"
        fresh.mkdir(mode=0o700)
        exporter.export_unet(model, card, fresh / ARTIFACT, form)
        (fresh / SEAL).write_text(_seal(key, entry.name, fresh), encoding="ascii")
        for part in fresh.iterdir():
            part.chmod(0o600)
        if os.path.lexists(entry):
            entry.rename(aside)
        fresh.rename(entry)
    finally:
        _remove(partial)
        _remove(aside)


def _read_key(folder: Path) -> bytes | None:
    """The user's key; None where there is none, or one that others could have read or made."""
    path = folder / KEY
    try:
        key = path.read_bytes() if _is_kept(path, stat.S_ISREG) else b""
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _new_key(folder: Path) -> bytes:
    """A new random key, in place as a whole or not at all. The lock is held; entries under another key are void."""
    path = folder / KEY
    if path.is_dir() and not path.is_symlink():
        _remove(path)
    descriptor, name = tempfile.mkstemp(prefix=PARTIAL, dir=folder)  # mode 0600
    try:
        key = secrets.token_bytes(KEY_BYTES)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return key


def _clear_litter(folder: Path) -> None:
    """Remove what exports that were killed have left; those of today may still be at work."""
    for path in folder.glob(f"{PARTIAL}*"):
        try:
            if time.time() - path.lstat().st_mtime > LITTER_S:
                _remove(path)
        except FileNotFoundError:
            continue  # another process was faster


def _remove(path: Path) -> None:
    """Delete a folder or a file; a link is deleted, never followed. What cannot be deleted stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _is_kept(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether it is of that kind itself (no link), this user's, and closed to all others."""
    status = path.lstat()
    return kind(status.st_mode) and _is_ours(status) and _is_private(status)


def _is_ours(status: os.stat_result) -> bool:
    return os.name != "posix" or status.st_uid == os.getuid()


def _is_private(status: os.stat_result) -> bool:
    return os.name != "posix" or not stat.S_IMODE(status.st_mode) & 0o077
