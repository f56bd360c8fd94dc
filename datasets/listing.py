"""Files below a folder by pattern, where a folder that cannot be read is said: ``Path.glob`` passes it in silence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from uadbench.datasets.case import CaseError

__all__ = ["matching", "unhidden"]

_WILD = frozenset("*?[")


def matching(folder: Path, pattern: str) -> list[Path]:
    """What ``folder.glob(pattern)`` gives, in no order, save what lies in folders that are not ``unhidden``.

    pattern : relative; ``**`` is folders of any depth, links not followed
    Raises CaseError that names a folder on the way which cannot be read: what is in it may be a patient's mask.
    """
    try:
        return list(_below(folder, PurePosixPath(pattern).parts))
    except OSError as error:
        raise CaseError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error}); make it readable, or move it "
            "out of the data set's folder"
        ) from error


def unhidden(name: str) -> bool:
    """Whether a wildcard goes into a folder of that name: not where a system keeps its own, closed to users."""
    return not name.startswith(".") and name != "lost+found"


def _below(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _below(folder, rest) if rest else (folder,)
        for path in _entries(folder):
            if unhidden(path.name) and path.is_dir() and not path.is_symlink():
                yield from _below(path, parts)
        return
    if _WILD.isdisjoint(first):
        found = [folder / first] if _holds(folder, first) else []
    else:
        found = [path for path in _entries(folder) if fnmatch(path.name, first)]
        found = [path for path in found if not rest or unhidden(path.name)]
    for path in found:
        if not rest:
            yield path
        elif path.is_dir():
            yield from _below(path, rest)


def _holds(folder: Path, name: str) -> bool:
    try:
        return (folder / name).exists()
    except PermissionError as error:  # which the system says of the file, and means of its folder
        raise PermissionError(error.errno, error.strerror, str(folder)) from error


def _entries(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries]
