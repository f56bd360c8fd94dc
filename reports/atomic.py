"""Files that are whole or absent, and reading that says in one line what is wrong with a file."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PARTIAL",
    "RunError",
    "append_text",
    "read_json",
    "read_npz",
    "remove",
    "write_bytes",
    "write_json",
    "write_npz",
]

PARTIAL = re.compile(r"\..+\.\d+\.tmp")  # what a file or folder is called while it comes or goes

# All that numpy raises on a damaged archive, found by flipping bytes.
_DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    IndexError,
    TypeError,
    AttributeError,
    SyntaxError,
    NotImplementedError,
    MemoryError,
    OverflowError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
)


class RunError(Exception):
    """A run directory cannot be used; the message says which, why and what to do, in one line."""


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file in one go: readers see the old content or the new one, never a part.

    An OSError names the file.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        _drop(partial)
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    except BaseException:
        _drop(partial)
        raise


def _drop(partial: Path) -> None:
    """Best effort: what remains is cleared at the next start."""
    try:
        partial.unlink(missing_ok=True)
    except OSError:
        return


def append_text(path: Path, text: str) -> None:
    """Append text, flushed and fsynced; an OSError names the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def remove(path: Path) -> None:
    """Remove a file or a folder, in one go: a kill leaves all of it, or none of it under its name."""
    if path.is_dir() and not path.is_symlink():
        leaving = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        os.replace(path, leaving)
        shutil.rmtree(leaving)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: sorted keys, indent 1, trailing newline. NaN and infinity raise ValueError."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; RunError when it is missing, unreadable or not an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: is not JSON ({str(error)[:120]})") from error
    if not isinstance(value, dict):
        raise RunError(f"{path}: holds a {type(value).__name__}, a JSON object is needed")
    return value


def write_npz(path: Path, **arrays: NDArray[Any]) -> None:
    """Write arrays, compressed, in one go."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of a file; RunError where it is missing or damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing; run the same `bench run` command again") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except _DAMAGED as error:
        reason = (str(error).splitlines() or ["-"])[0][:120]
        raise RunError(
            f"{path}: damaged ({type(error).__name__}: {reason}); run the same `bench run` command again"
        ) from error
