"""Files kept for the user alone: made on demand, checked before each use, made again where anything is wrong.

An entry is a folder, named after a hash of all that decides its content, with its parts and a seal: an HMAC over the
parts under a random key that only this user can read. What another user put there, what was altered (even if a manifest
within was altered to match) and what is damaged has no valid seal and is replaced.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from uadbench.engine.backends.errors import BackendError

__all__ = [
    "LITTER_S",
    "PARTIAL",
    "Store",
    "entry_name",
    "kept",
    "open_store",
    "read_entry",
    "read_key",
    "seal",
    "write_entry",
]

SEAL = "seal"
KEY, KEY_BYTES = "key", 32
LOCK = ".lock"
PARTIAL = ".partial-"
LITTER_S = 24 * 3600.0  # unfinished work this old is of a process that died


@dataclass(frozen=True)
class Store:
    """A folder of entries.

    what : is kept there, as a message says it: "exported networks"
    patience_s : how long to wait for another process that is making an entry
    """

    folder: Path
    what: str
    patience_s: float


def open_store(name: str, what: str, patience_s: float, given: Path | None = None) -> Store:
    """A store whose folder is made if need be, for this user alone (mode 0700).

    given : its folder; None = NAME in the user's cache folder for uadbench
    Raises BackendError when it belongs to someone else or cannot be made.
    """
    import platformdirs

    folder = given or platformdirs.user_cache_path("uadbench") / name
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
        raise _unusable(folder, what, error) from error
    return Store(folder, what, patience_s)


def entry_name(key: Mapping[str, Any]) -> str:
    """Of the entry with this content, given all that decides it, as JSON takes it."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def kept(
    store: Store,
    name: str,
    parts: tuple[str, ...],
    make: Callable[[Path], object],
    accept: Callable[[Path], object] = lambda entry: None,
    anew: bool = False,
    say: Callable[[str], None] | None = None,
) -> dict[str, bytes]:
    """The parts of an entry as they were checked; made now unless it is there and sound.

    make : writes the parts into the empty folder that it is given; held by a lock of the store, so one at a time
    accept : looks at an entry whose seal holds; what it raises (BackendError, OSError, ValueError, TypeError) voids it
    anew : make it even so
    say : is told where another process has to be waited for
    Raises BackendError where the folder cannot be used or another process holds it for too long.
    """
    entry = store.folder / name
    try:
        _clear_litter(store.folder)
        found = None if anew else _sound(entry, parts, accept)
        if found is None:
            with _locked(store, say):
                # Another process may have made it meanwhile.
                found = None if anew else _sound(entry, parts, accept)
                if found is None:
                    found = write_entry(entry, parts, make)
    except filelock.Timeout as error:
        raise BackendError(
            f"{store.folder}: another process has been making {store.what} for {store.patience_s:g} s; "
            "wait for it or end it"
        ) from error
    except OSError as error:
        raise _unusable(store.folder, store.what, error) from error
    return found


@contextmanager
def _locked(store: Store, say: Callable[[str], None] | None) -> Iterator[None]:
    """Hold the store's lock; raises filelock.Timeout where another process holds it for too long."""
    lock = filelock.FileLock(store.folder / LOCK, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        if say is not None:
            say(f"another process is making {store.what} in {store.folder}; waiting for it")
        lock.acquire(timeout=store.patience_s)
    try:
        yield
    finally:
        lock.release()


def read_entry(entry: Path, parts: tuple[str, ...]) -> dict[str, bytes] | None:
    """The very bytes that were checked, of an entry that is whole, this user's alone and as sealed; else None."""
    try:
        if not _is_kept(entry, stat.S_ISDIR):
            return None
        if not all(_is_kept(entry / part, stat.S_ISREG) for part in (*parts, SEAL)):
            return None
        key = read_key(entry.parent)
        content = {part: (entry / part).read_bytes() for part in parts}
        sealed = (entry / SEAL).read_text(encoding="ascii")
        if key is None or not hmac.compare_digest(sealed, seal(key, entry.name, content)):
            return None
    except (OSError, ValueError, TypeError):  # not there, not readable, no text
        return None
    return content


def write_entry(entry: Path, parts: tuple[str, ...], make: Callable[[Path], object]) -> dict[str, bytes]:
    """Make it beside the entry, move aside what stood in its place, rename: it is whole or absent. The lock is held."""
    folder = entry.parent
    key = read_key(folder) or _new_key(folder)
    partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    # Beside it: another user's folder cannot change its parent.
    aside = partial.with_name(f"{partial.name}-old")
    try:
        fresh = partial / "new"
        fresh.mkdir(mode=0o700)
        make(fresh)
        content = {part: (fresh / part).read_bytes() for part in parts}
        (fresh / SEAL).write_text(seal(key, entry.name, content), encoding="ascii")
        for part in fresh.iterdir():
            part.chmod(0o600)
        if os.path.lexists(entry):
            entry.rename(aside)
        fresh.rename(entry)
    finally:
        _remove(partial)
        _remove(aside)
    return content


def seal(key: bytes, name: str, content: Mapping[str, bytes]) -> str:
    """Binds the parts to each other, to the entry's name and to this user."""
    hashes = [hashlib.sha256(data).hexdigest() for data in content.values()]
    return hmac.new(key, json.dumps([name, *hashes]).encode(), "sha256").hexdigest()


def read_key(folder: Path) -> bytes | None:
    """The user's key; None where there is none, or one that others could have read or made."""
    path = folder / KEY
    try:
        key = path.read_bytes() if _is_kept(path, stat.S_ISREG) else b""
    except OSError:
        return None
    return key if len(key) == KEY_BYTES else None


def _sound(entry: Path, parts: tuple[str, ...], accept: Callable[[Path], object]) -> dict[str, bytes] | None:
    content = read_entry(entry, parts)
    if content is None:
        return None
    try:
        accept(entry)
    except (OSError, BackendError, ValueError, TypeError):
        return None
    return content


def _unusable(folder: Path, what: str, error: OSError) -> BackendError:
    place = error.filename or folder
    return BackendError(f"{place}: cannot hold {what} ({error.strerror or error}); make room or access")


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
    """Remove what processes that were killed have left; that of today may still be at work."""
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
