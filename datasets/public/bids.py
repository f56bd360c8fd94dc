"""``bids``: any BIDS tree with images and lesion masks, as it lies on a lab's disk.

Where names follow the standard nothing need be said: images are ``sub-*/[ses-*/]anat/*_T1w.nii.gz`` (or another
suffix), masks are files called ``*lesion*_mask`` or ``*lesion*_roi``, beside them or below ``derivatives``. What
differs stands in a small file ``uadbench.toml`` in the tree's root.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from uadbench.datasets.case import SPLITS, CaseError
from uadbench.datasets.layouts import Found, Layout, Modality
from uadbench.datasets.listing import matching
from uadbench.datasets.sources import Source, steps
from uadbench.datasets.volumes import Files

__all__ = ["LAYOUT", "SETTINGS"]

SETTINGS = "uadbench.toml"
KEYS = ("image", "mask", "lesions", "without_mask", "split")
SIGNS = {"bright": 1, "dark": -1}
WITHOUT = ("healthy", "leave-out")
SUFFIXES = {"t1w": "T1w", "flair": "FLAIR", "t2w": "T2w", "pdw": "PDw"}
LESION = re.compile(r".*lesion.*(_mask|_roi)\.nii(\.gz)?", re.IGNORECASE)


def read_settings(folder: Path) -> dict[str, Any]:
    """The checked content of ``uadbench.toml``, {} where there is none; CaseError names the key and what is allowed."""
    path = folder / SETTINGS
    if not path.is_file():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CaseError(f"{path}: cannot be read as TOML ({error}); correct it") from error
    wrong = next((key for key in found if key not in KEYS), None)
    if wrong:
        raise CaseError(f"{path}: unknown key {wrong!r}; allowed: {', '.join(KEYS)}")
    for key, choices in (("lesions", tuple(SIGNS)), ("without_mask", WITHOUT)):
        if key in found and found[key] not in choices:
            raise CaseError(f"{path}: {key} is {found[key]!r}; allowed: {', '.join(choices)}")
    for key in ("image", "mask"):
        check_pattern(path, key, found.get(key, "*"))
    check_split(path, found.get("split", {}))
    return found


def check_pattern(path: Path, key: str, pattern: object) -> None:
    """A pattern is relative and stays inside."""
    parts = PurePosixPath(pattern).parts if isinstance(pattern, str) else ()
    if not parts or parts[0] == "/" or ".." in parts:
        raise CaseError(
            f"{path}: {key} is {pattern!r}; give a pattern inside the folder, such as 'sub-*/anat/*_T1w.nii.gz'"
        )


def check_split(path: Path, split: object) -> None:
    """Lists of subjects, each subject in one."""
    lists: dict[str, Any] = split if isinstance(split, dict) else {"": None}
    if any(key not in SPLITS or not isinstance(names, list) for key, names in lists.items()):
        raise CaseError(
            f'{path}: [split] takes lists of subjects, such as val = ["sub-01"]; allowed: {", ".join(SPLITS)}'
        )
    named = [name for names in lists.values() for name in names]
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice:
        raise CaseError(f"{path}: subject {twice} is named twice in [split]; keep each subject in one split")


def find(folder: Path, modality: str) -> list[Found]:
    """All images of one kind with their masks, by subject, session and whatever else both names say."""
    settings, suffix = read_settings(folder), SUFFIXES[modality]
    images = listed(folder, [settings["image"]] if "image" in settings else standard(f"*_{suffix}.nii*"))
    if not images:
        if "image" in settings:
            raise CaseError(
                f"{folder / SETTINGS}: no file matches image = {settings['image']!r}; correct the pattern"
            )
        return other_kinds(folder, modality)
    masks = listed(folder, [settings["mask"]]) if "mask" in settings else lesion_masks(folder)
    split = {name: key for key, names in settings.get("split", {}).items() for name in names}
    found, without = [], []
    for image in images:
        subject, volume = f"sub-{entities(image)['sub']}", image.name.split(".")[0].removesuffix(f"_{suffix}")
        mask = mask_of(image, masks)
        if mask is None:
            without.append(image)
        if mask is not None or settings.get("without_mask") == "healthy":
            found.append(Found(subject, volume, Files(image, mask), split.get(subject, "")))
    if without and "without_mask" not in settings:
        raise CaseError(
            f"{without[0]}: no lesion mask, and so for {len(without)} of {len(images)} images; say what they are in "
            f'{folder / SETTINGS}: without_mask = "healthy" or "leave-out", or where masks are: mask = "PATTERN"'
        )
    lacking = next((name for name in split if name not in {item.subject for item in found}), None)
    if lacking:
        raise CaseError(
            f"{folder / SETTINGS}: [split] names {lacking!r}, of whom there is no {suffix} image; correct it"
        )
    return found


def other_kinds(folder: Path, modality: str) -> list[Found]:
    """Nothing; CaseError where the tree has images of another kind, which the user may mean."""
    there = [key for key, suffix in SUFFIXES.items() if listed(folder, standard(f"*_{suffix}.nii*"))]
    if there:
        raise CaseError(
            f"{folder}: no {SUFFIXES[modality]} image, but others; say which: bids:{' or bids:'.join(there)}"
        )
    return []


def standard(pattern: str) -> list[str]:
    """Where BIDS has an image of a person."""
    return [f"sub-*/anat/{pattern}", f"sub-*/ses-*/anat/{pattern}"]


def lesion_masks(folder: Path) -> list[Path]:
    """Files that their names call lesion masks, in the tree and its derivatives."""
    places = [
        f"{above}{place}"
        for above in ("", "derivatives/", "derivatives/*/")
        for place in ("sub-*/*/*", "sub-*/*/*/*")
    ]
    return [path for path in listed(folder, places) if LESION.fullmatch(path.name)]


def listed(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """NIfTI files of people that match, in order; CaseError where one of the folders cannot be read."""
    found = {path for pattern in patterns for path in matching(folder, pattern)}
    nifti = [
        path for path in found if path.name.endswith((".nii", ".nii.gz")) and not path.name.startswith(".")
    ]
    return sorted(path for path in nifti if "sub" in entities(path))


def entities(path: Path) -> dict[str, str]:
    """ "sub-01_ses-2_T1w.nii.gz" -> {"sub": "01", "ses": "2"}; what the name lacks, its folders may say."""
    words = [
        *(part for part in path.parts[:-1] if part.startswith(("sub-", "ses-"))),
        *path.name.split(".")[0].split("_"),
    ]
    return dict(word.split("-", 1) for word in words if "-" in word)


def mask_of(image: Path, masks: Sequence[Path]) -> Path | None:
    """The one mask of an image: nothing that both names say differs; CaseError on several."""
    here = entities(image)

    def belongs(mask: Path) -> bool:
        there = entities(mask)
        same: Mapping[str, str] = {
            key: there[key] for key in there if key in here and key not in ("desc", "label")
        }
        return all(here[key] == value for key, value in same.items()) and here.get("ses") == there.get("ses")

    mine = [mask for mask in masks if belongs(mask)]
    if len(mine) > 1:
        raise CaseError(
            f"{image}: {len(mine)} masks belong to it, such as {mine[0].name} and {mine[1].name}; say which in "
            f'{SETTINGS}: mask = "PATTERN"'
        )
    return mine[0] if mine else None


def settings(folder: Path) -> dict[str, Any]:
    """What the user says, and which way lesions differ where that is said."""
    found = read_settings(folder)
    return {**found, "lesion_sign": SIGNS[found["lesions"]]} if "lesions" in found else found


LAYOUT = Layout(
    name="bids",
    title="a BIDS tree",
    source=Source(
        name="bids",
        marker="",
        layout="sub-*/[ses-*/]anat/*_T1w.nii.gz (or FLAIR, T2w, PDw)",
        origin="your own",
        licence="not stated (supplied by the user)",
        citation="not stated (supplied by the user)",
        how=steps(
            "lay images where BIDS has them (https://bids-specification.readthedocs.io/), and lesion masks beside "
            "them or below derivatives/, as sub-01_label-lesion_mask.nii.gz",
            f"if names differ, say so in {SETTINGS} in the tree's root; docs/your-data.md goes through it",
            "bench data check bids --data-root DIR",
        ),
    ),
    find=find,
    modalities={
        "t1w": Modality("T1w", -1, stripped=False),
        "flair": Modality("FLAIR", 1, stripped=True),
        "t2w": Modality("T2w", 1),
        "pdw": Modality("PDw", 1),
    },
    shares=(0.0, 0.2),
    settings=settings,
)
