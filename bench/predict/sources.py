"""Which files are predicted, which of their slices, and what each case is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from uadbench.bench.plan.fields import ConfigError, shown
from uadbench.datasets.case import CaseError
from uadbench.datasets.native import Grid, suffix_of

__all__ = ["Source", "check_slices", "choose_slices", "find_sources", "slice_id"]

_PART = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Source:
    """A file to be predicted.

    name : its path below the input folder without suffix, with '/'; a file given by itself is in its own folder
    """

    path: Path
    name: str

    @property
    def case_id(self) -> str:
        """The name as noise is keyed by: what is no letter, digit, '.', '_' or '-' is '_'."""
        return _UNUSUAL.sub("_", self.name)


def slice_id(source: Source, grid: Grid, index: int) -> str:
    """The case id of a slice: the file's, and for a slice of a volume '-z' with its number in three digits or more."""
    return f"{source.case_id}-z{index:03d}" if grid.volume else source.case_id


def find_sources(given: Path, output: Path, pattern: str | None = None) -> list[Source]:
    """The file, or the images below a folder in the order of their names; what lies below ``output`` is left out.

    pattern : only files whose name, or path below the folder, matches this shell pattern
    Raises ConfigError where there is none, two would be written under one name, or the output is the input's folder.
    """
    if given.is_file():
        return [_source(given, given.parent)]
    if not given.is_dir():
        raise ConfigError(f"{given}: no such file or folder; give an image or a folder of images as --input")
    folder, target = given.resolve(), output.resolve()
    if folder == target:
        raise ConfigError(f"{output}: is the input's folder; give another --output")
    paths = [
        path
        for path in sorted(given.rglob("*"))
        if _is_image(path) and _matches(path, given, pattern) and target not in path.resolve().parents
    ]
    if not paths:
        matching = f" matches {shown(pattern)} and" if pattern is not None else ""
        raise ConfigError(
            f"{given}: no file{matching} is a .png, .npy, .nii or .nii.gz; name another --input"
        )
    sources = [_source(path, given) for path in paths]
    _check_names(sources)
    return sources


def _matches(path: Path, folder: Path, pattern: str | None) -> bool:
    names = (path.name, path.relative_to(folder).as_posix())
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


def _is_image(path: Path) -> bool:
    try:
        suffix_of(path)
    except CaseError:
        return False
    return path.is_file() and not path.name.startswith(".")


def _source(path: Path, folder: Path) -> Source:
    try:
        suffix = suffix_of(path)
    except CaseError as error:
        raise ConfigError(str(error)) from error
    return Source(path, path.relative_to(folder).as_posix()[: -len(suffix)])


def _check_names(sources: Sequence[Source]) -> None:
    """What is written must not collide, on no file system, and each case has noise of its own."""
    taken: dict[str, Source] = {}
    for source in sources:
        other = taken.setdefault(source.case_id.lower(), source)
        if other is not source:
            raise ConfigError(
                f"{other.path} and {source.path} would be written under one name; predict them apart"
            )


def check_slices(text: str) -> str:
    """The text of --slices as it is, if it is mid, all, or numbers and ranges such as 60-90,95; else ConfigError."""
    if text not in ("mid", "all"):
        for part in text.split(","):
            found = _PART.fullmatch(part.strip())
            if not found or (found[2] and int(found[2]) < int(found[1])):
                raise ConfigError(
                    f"--slices is {shown(text)}; mid, all, or slice numbers from 0 at the lowest such as 60-90,95 "
                    "are needed"
                )
    return text


def choose_slices(text: str, depth: int) -> list[int]:
    """The slices of a volume of ``depth`` that ``text`` names, rising; CaseError on one that it has not.

    'mid' is the slice in the middle, depth // 2. A file of one slice has that one, whatever is named.
    """
    if depth == 1:
        return [0]
    if text == "mid":
        return [depth // 2]
    if text == "all":
        return list(range(depth))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    if max(found) >= depth:
        raise CaseError(f"slice {max(found)} is outside 0 to {depth - 1}; name others by --slices")
    return sorted(found)
