"""Which files are predicted, which of their slices, and what each case is called."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from uadbench.bench.plan.fields import ConfigError, shown
from uadbench.datasets.case import CaseError
from uadbench.datasets.listing import unhidden
from uadbench.datasets.native import Grid, suffix_of

__all__ = ["Source", "check_slices", "choose_slices", "find_sources", "slice_id"]

_PART = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_UNUSUAL = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Source:
    """A file to be predicted, or a folder that should have been looked through.

    name : its path below the input folder without suffix, with '/'; a file given by itself is in its own folder
    fault : why a folder cannot be looked through; "" for a file
    case_mark, name_mark : what tells its case id, and its results' names, from those of another file; mostly ""
    """

    path: Path
    name: str
    fault: str = ""
    case_mark: str = ""
    name_mark: str = ""

    @property
    def suffix(self) -> str:
        """Of the file, as it is written; "" for a folder."""
        return "" if self.fault else self.path.name[-len(suffix_of(self.path)) :]

    @property
    def case_id(self) -> str:
        """The name as noise is keyed by: what is no letter, digit, '.', '_' or '-' is '_'."""
        return _UNUSUAL.sub("_", self.name) + self.case_mark

    @property
    def written(self) -> str:
        """The name that its results have before _anomaly and so on."""
        return self.name + self.name_mark


def slice_id(source: Source, grid: Grid, index: int) -> str:
    """The case id of a slice: the file's, and for a slice of a volume '-z' with its number in three digits or more."""
    return f"{source.case_id}-z{index:03d}" if grid.volume else source.case_id


def find_sources(given: Path, output: Path, pattern: str | None = None) -> list[Source]:
    """The file, or the images below a folder in the order of their paths, and folders in it that cannot be read.

    What is hidden, or lies below ``output``, is left out; no link to a folder is followed.
    pattern : only files whose name, or path below the folder, matches this shell pattern
    Raises ConfigError where there is none, the folder cannot be read, or the output is the input's folder.
    """
    if given.is_file():
        return [_source(given, given.parent)]
    if not given.is_dir():
        raise ConfigError(f"{given}: no such file or folder; give an image or a folder of images as --input")
    folder, target = given.resolve(), output.resolve()
    if folder == target:
        raise ConfigError(f"{output}: is the input's folder; give another --output")
    found = [
        source
        for source in _walk(given)
        if (source.fault or _matches(source.path, given, pattern))
        and target not in (real := Path(os.path.realpath(source.path)), *real.parents)
    ]
    if not found:
        matching = f" matches {shown(pattern)} and" if pattern is not None else ""
        raise ConfigError(
            f"{given}: no file{matching} is a .png, .npy, .nii or .nii.gz; name another --input"
        )
    return _told_apart(sorted(found, key=lambda source: source.path))


def _walk(folder: Path) -> Iterator[Source]:
    """Images below a folder and folders that cannot be read; ConfigError where the folder itself is one."""
    closed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = filter(unhidden, folders)
        yield from (_source(Path(place, name), folder) for name in names if _is_image(name))
    for error in closed:
        path, reason = Path(error.filename), error.strerror or str(error)
        if path == folder:
            raise ConfigError(f"{folder}: cannot be read ({reason}); make it readable")
        fault = (
            f"the folder cannot be read ({reason}); make it readable, or move it out of the input's folder"
        )
        yield Source(path, f"{path.relative_to(folder).as_posix()}/", fault)


def _matches(path: Path, folder: Path, pattern: str | None) -> bool:
    names = (path.name, path.relative_to(folder).as_posix())
    return pattern is None or any(fnmatchcase(name, pattern) for name in names)


def _is_image(name: str) -> bool:
    try:
        suffix_of(Path(name))
    except CaseError:
        return False
    return not name.startswith(".")


def _source(path: Path, folder: Path) -> Source:
    try:
        suffix = suffix_of(path)
    except CaseError as error:
        raise ConfigError(str(error)) from error
    return Source(path, path.relative_to(folder).as_posix()[: -len(suffix)])


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """Each case with an id of its own, and results that no file system takes for one another's."""
    ids = Counter(source.case_id for source in sources)
    names = Counter(map(_on_any_disk, sources))
    return [
        replace(
            source,
            case_mark=_mark(source) if ids[source.case_id] > 1 else "",
            name_mark=_mark(source) if names[_on_any_disk(source)] > 1 else "",
        )
        for source in sources
    ]


def _on_any_disk(source: Source) -> tuple[str, str]:
    """Equal where results' names are: capitals are small on some disks, and é is one letter or two."""
    kind = source.suffix.lower().removesuffix(".gz")
    return unicodedata.normalize("NFC", source.name).casefold(), kind


def _mark(source: Source) -> str:
    """Hangs on the path below the input folder alone: the same on every machine, whatever else is there."""
    return f"-{hashlib.sha256(os.fsencode(source.name + source.suffix)).hexdigest()[:10]}"


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
