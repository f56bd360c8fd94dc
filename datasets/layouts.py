"""Data sets of whole volumes, as they are published: a ``Layout`` says where the files are, all else stands here once.

A layout's file in ``public`` lists subjects, volumes, images and masks. ``slices`` makes cases of them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench.datasets.case import SPLITS, CaseError
from uadbench.datasets.choices import SCALINGS, SEVERAL
from uadbench.datasets.listing import matching
from uadbench.datasets.sources import Source, data_roots
from uadbench.datasets.volumes import Files

__all__ = ["Choice", "Found", "Layout", "Modality", "below", "locate", "order", "parse_options", "split_of"]

ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")


@dataclass(frozen=True)
class Modality:
    """One kind of image of a data set.

    title : as tables show it; lesion_sign : see ``Dataset``
    stripped : whether the shipped networks know it without the skull (FLAIR) or with it (T1w); None: they do not know
        it
    """

    title: str
    lesion_sign: int
    stripped: bool | None = None


@dataclass(frozen=True)
class Found:
    """One volume of a layout.

    subject : the person; several sessions of one person are volumes of one subject
    volume : unique in the data set
    split : train | val | test, where the layout knows; "" for the hash rule
    fault : why it cannot be used, where that shows before a file is opened
    """

    subject: str
    volume: str
    files: Files
    split: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Layout:
    """How one data set is published.

    find : (folder, modality) -> its volumes; raises CaseError where the tree is not this layout's
    modalities : those to choose from, the first is the default
    shares : of subjects in train and val by the hash rule; the others are test
    settings : (folder) -> the user's own settings, which go into the fingerprint; "lesion_sign" is the modality's then
    """

    name: str
    title: str
    source: Source
    find: Callable[[Path, str], list[Found]]
    modalities: Mapping[str, Modality]
    shares: tuple[float, float] = (0.0, 0.1)
    caveats: tuple[str, ...] = ()
    settings: Callable[[Path], Mapping[str, Any]] = field(default=lambda folder: {})

    def where(self, root: Path | None) -> tuple[Path, int]:
        """(folder, how many volumes of the first modality); CaseError where there is none."""
        folder, found = locate(self, next(iter(self.modalities)), root)
        return folder, len(found)

    @property
    def options(self) -> str:
        """What may follow the name, in words."""
        return (
            f"{', '.join(self.modalities)}; mid-axial, {', '.join(SEVERAL)}, 18mm, 50%; {', '.join(SCALINGS)} "
            "(first of each: default)"
        )


@dataclass(frozen=True)
class Choice:
    """What is made of the volumes.

    slices : "mid-axial", a name of ``SEVERAL``, or one height, as "18mm" (of MNI space) or "50%" (of the volume, from
        its lowest slice)
    scaled : a name of ``SCALINGS``
    """

    modality: str
    slices: str = "mid-axial"
    scaled: str = "slice"


def parse_options(layout: Layout, options: Sequence[str]) -> Choice:
    """The words behind the data set's name, in any order; CaseError on one that is none or a second of a kind."""
    found: dict[str, str] = {}
    for word in options:
        if word in layout.modalities:
            kind = "modality"
        elif word in ("mid-axial", *SEVERAL) or re.fullmatch(r"[+-]?\d{1,3}mm|(100|\d\d?)%", word):
            kind = "slices"
        elif word in SCALINGS:
            kind = "scaled"
        else:
            raise CaseError(f"{layout.name}: no option {word!r}; choose from {layout.options}")
        if kind in found:
            raise CaseError(f"{layout.name}: {found[kind]!r} and {word!r} are both given; give one of them")
        found[kind] = word
    return Choice(**{"modality": next(iter(layout.modalities)), **found})


def below(folder: Path, pattern: str, depth: int = 4) -> Iterator[Path]:
    """What matches the pattern in the folder and at most ``depth`` folders further down, each level in order.

    CaseError as ``matching``.
    """
    for level in range(depth + 1):
        found = matching(folder, "*/" * level + pattern)
        yield from sorted(path for path in found if not path.name.startswith("."))  # ._NAME of another system


def locate(layout: Layout, modality: str, root: Path | None) -> tuple[Path, list[Found]]:
    """(folder, volumes): DIR/NAME, or the DIR that was given itself; CaseError that says where was looked."""
    ((origin, base),) = data_roots(root)
    for folder in [base / layout.name, *([base] if root is not None else [])]:
        try:
            found = layout.find(folder, modality) if folder.is_dir() else []
        except OSError as error:
            raise CaseError(
                f"{error.filename or folder}: cannot be read ({error.strerror or error})"
            ) from error
        if found:
            found = [named(item) for item in found]
            check(layout, found)
            return folder, found
    raise CaseError(
        f"data '{layout.name}' not found ({origin} = {base}): no {layout.source.layout} there; name the folder by "
        f"--data-root; `bench data fetch {layout.name}` says where it comes from"
    )


def named(item: Found) -> Found:
    """The volume, or where files cannot be named after it, one of another name with the fault."""
    if ID.fullmatch(item.volume) and ID.fullmatch(item.subject):
        return item
    where = os.fsencode(item.files.image).decode(errors="backslashreplace")
    fault = f"{where}: {item.volume!r} of {item.subject!r} is no name; rename it with letters, digits, . _ -"
    return replace(item, subject=plain(item.subject), volume=plain(item.volume), fault=fault)


def plain(name: str) -> str:
    """The name itself where files can be named after it, else what of it they can, and a mark that is its own."""
    if ID.fullmatch(name):
        return name
    mark = hashlib.sha256(os.fsencode(name)).hexdigest()[:10]
    return f"{re.sub('[^A-Za-z0-9._-]', '_', name).lstrip('.-')[:100]}_{mark}"


def check(layout: Layout, found: Sequence[Found]) -> None:
    """No name twice, no subject in two splits."""
    seen: dict[str, Path] = {}
    splits: dict[str, Found] = {}
    for item in found:
        twice = seen.setdefault(item.volume.lower(), item.files.image)
        if twice != item.files.image:
            raise CaseError(
                f"{item.files.image} and {twice} are both volume {item.volume}; keep one copy, or give the folder "
                "of one by --data-root"
            )
        first = splits.setdefault(item.subject, item)
        if split_of(layout, first) != split_of(layout, item):
            raise CaseError(
                f"{layout.name}: subject {item.subject} is in {split_of(layout, first)} (volume {first.volume}) and in "
                f"{split_of(layout, item)} (volume {item.volume}); keep each subject in one split"
            )


def split_of(layout: Layout, item: Found) -> str:
    """As the layout says, else by the hash rule: sha256("name:subject") as a number from 0 to 1, train first."""
    if item.split in SPLITS:
        return item.split
    if item.split:
        allowed = ", ".join(SPLITS)
        raise CaseError(
            f"{layout.name}: subject {item.subject} has the split {item.split!r}; allowed: {allowed}"
        )
    number, (train, val) = order(layout.name, item.subject), layout.shares
    return "train" if number < train else "val" if number < train + val else "test"


def order(name: str, key: str) -> float:
    """A number in [0, 1) that is the same on every machine and hangs on nothing but the two names."""
    return int.from_bytes(hashlib.sha256(f"{name}:{key}".encode()).digest()[:8], "big") / 2**64
