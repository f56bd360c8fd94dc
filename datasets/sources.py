"""Where public data come from, and how they are found on this machine."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from uadbench.datasets.case import CaseError
from uadbench.datasets.listing import matching

__all__ = [
    "PARTS",
    "ROOT_VARIABLE",
    "SOURCES",
    "Source",
    "content_hash",
    "data_roots",
    "find_root",
    "read_script",
    "steps",
]

ROOT_VARIABLE = "UADBENCH_DATA"


@dataclass(frozen=True)
class Source:
    """One public collection of files.

    name : its folder's name under the data root
    marker : a file or folder that must be inside it, relative
    layout : what the folder holds, in one line
    origin, licence, citation : what a user must know and cite
    how : what a user has to do to get it, a numbered step a line
    sha256 : of its PNG files as the project used them, see ``content_hash``; "" where the project vouches for none
    script : file in ``scripts`` that rebuilds it from public volumes, "" where there is none
    """

    name: str
    marker: str
    layout: str
    origin: str
    licence: str
    citation: str
    how: str
    sha256: str = ""
    script: str = ""


def steps(*lines: str) -> str:
    """Numbered lines, to be printed below a heading."""
    return "".join(f"\n    {number}. {line}" for number, line in enumerate(lines, 1))


SOURCES = {
    source.name: source
    for source in (
        Source(
            name="ixi-midaxial",
            marker="png",
            layout="png/<subject>.png (233 x 197, uint8, MNI152NLin2009cSym, 1 mm, anterior on top)",
            origin="IXI data set (brain-development.org); mid-axial slices and split as the THOR authors publish them",
            licence="CC BY-SA 3.0",
            citation="IXI data set, brain-development.org; slices: Bercea et al. 2024, doi:10.48550/arXiv.2403.08464",
            how=steps(
                "git clone https://github.com/ci-ber/THOR_DDPM (the slices, data/CAPS_IXI/png/, came with its commit "
                "7e2102b: check that out where a newer one lacks them)",
                "mkdir -p ixi-midaxial/png; for f in THOR_DDPM/data/CAPS_IXI/png/*NLin2009cSym_res-1x1x1_T1w.png; do "
                'b=${f##*/}; cp "$f" ixi-midaxial/png/${b%%_*}.png; done',
                "turn them where anterior is not on top; the split, which comes with uadbench "
                "(datasets/splits/ixi-stroke.csv), uses 523 of these subjects, the others change no result, only the "
                "comparison of contents",
                "or from the volumes: download the T1 images of https://brain-development.org/ixi-dataset/, register "
                "each to MNI152NLin2009cSym at 1 mm, keep the skull, save the mid-axial slice (z = +18 mm) as grey PNG",
            ),
            sha256="a7faf7bc0a92a3ad271b14501a2f5d66263cb32258a9846c09e6773230401462",
            script="ixi-midaxial.sh",
        ),
        Source(
            name="stroke-masks",
            marker="index.csv",
            layout="<mask>.png (233 x 197, 0 and 255, the grid of ixi-midaxial) and index.csv (mask,pixels,phase)",
            origin="637 acute masks: Stroke Outcome Optimization Project, OpenNeuro ds004889; "
            "91 chronic masks: LESYMAP sample lesions",
            licence="acute CC0; chronic Apache-2.0",
            citation="Absher et al. 2024, Scientific Data 11:839, doi:10.1038/s41597-024-03667-5; "
            "LESYMAP: Pustina et al. 2018, Neuropsychologia",
            how=steps(
                "acute: make soop-flair first (`bench data fetch soop-flair`); each mask of at least 20 px, padded by "
                "22 rows above and below and 20 columns left and right, is stroke-masks/soop-<case>.png",
                "chronic: git clone https://github.com/dorianps/LESYMAP; of inst/extdata/lesions/Subject_NNN.nii.gz "
                "(already in MNI space) save the axial slice z = +20 mm, on the grid of ixi-midaxial, as "
                "stroke-masks/lesymap-Subject_NNN.png where it holds lesion",
                "write stroke-masks/index.csv with the columns mask,pixels,phase (acute or chronic); "
                "datasets/splits/ixi-stroke.csv says which masks are used",
            ),
            sha256="e5767445286fcd550f1591d64a4b5ab7a9ee9b557a06701206f7a59772f4f4af",
        ),
        Source(
            name="soop-flair",
            marker="index.csv",
            layout="images/<case>.png, masks/<case>.png (189 x 157, uint8, MNI z = +18 mm, skull-stripped), index.csv",
            origin="Stroke Outcome Optimization Project, OpenNeuro ds004889",
            licence="CC0",
            citation="Absher et al. 2024, Scientific Data 11:839, doi:10.1038/s41597-024-03667-5",
            how=steps(
                "download https://openneuro.org/datasets/ds004889 (version 1.1.2): the FLAIR volumes, and the lesion "
                "masks below derivatives/lesion_masks (drawn on DWI)",
                "bring both to MNI space at 1 mm and strip the skull by the authors' scripts, "
                "https://github.com/neurolabusc/StrokeOutcomeOptimizationProjectDemo (acuteNormalize.m, needs SPM12); "
                "their results for FLAIR, wsub-*_FLAIR.nii.gz, are at https://osf.io/yqktj/",
                "save the axial slice z = +18 mm as grey PNG, anterior on top, and the mask's as 0 and 255, both under "
                "the subject's name with four digits: images/sub-0001.png, masks/sub-0001.png",
                "write index.csv with the columns case,lesion_px_in_slice,lesion_vox_in_volume,nonzero_px; the split "
                "comes with uadbench (datasets/splits/soop-flair.csv)",
            ),
            sha256="20df42787621a94dac8b5ff1d594a511e8f9af5fa25410d64329a7c7d5beb7a8",
            script="soop-flair.sh",
        ),
        Source(
            name="grazpedwri",
            marker="dataset.csv",
            layout="dataset.csv, images_part1/ to images_part4/ with <filestem>.png, "
            "folder_structure/pascalvoc/<filestem>.xml or folder_structure/yolov5/labels/<filestem>.txt",
            origin="GRAZPEDWRI-DX, University Hospital Graz, on figshare (doi:10.6084/m9.figshare.14825193)",
            licence="CC BY 4.0, as the paper gives it: read the terms on figshare",
            citation="Nagy et al. 2022, Scientific Data 9:222, doi:10.1038/s41597-022-01328-z",
            how=steps(
                "open https://doi.org/10.6084/m9.figshare.14825193, read the terms, download dataset.csv, "
                "images_part1.zip to images_part4.zip and folder_structure.zip",
                "extract all of them into one folder, grazpedwri; nothing is renamed or converted",
                "bench data check grazpedwri --data-root grazpedwri",
            ),
            sha256="",
        ),
    )
}


def read_script(source: Source) -> str:
    """The text of the script that rebuilds a source; bash."""
    return (resources.files("uadbench.datasets") / "scripts" / source.script).read_text(encoding="utf-8")


def data_roots(root: Path | None) -> list[tuple[str, Path]]:
    """The one place to look in, with what named it: the given root, else UADBENCH_DATA, else the user's data folder."""
    if root is not None:
        return [("--data-root", root)]
    if os.environ.get(ROOT_VARIABLE):
        return [(ROOT_VARIABLE, Path(os.environ[ROOT_VARIABLE]))]
    from platformdirs import user_data_path

    return [("the user data folder", user_data_path("uadbench"))]


def find_root(name: str, root: Path | None) -> Path:
    """The folder of the source ``name`` (a key of SOURCES).

    root : the data set's own folder, or its parent; None = the environment variable UADBENCH_DATA, or else the
        user's data folder. Only the first of these that is given is looked at, so nothing is picked up by surprise.

    Raises CaseError that says where it looked and the remedy.
    """
    source = SOURCES[name]
    tried = []
    for origin, base in data_roots(root):
        try:
            inside = [base / name]
            if base.resolve().name in SOURCES:  # one of the folders itself: the others lie beside it
                inside.append(base.resolve().parent / name)
            found = next((folder for folder in inside if (folder / source.marker).exists()), None)
        except (OSError, RuntimeError, ValueError) as error:  # a name too long, no permission, a loop, a NUL
            reason = getattr(error, "strerror", None) or error
            raise CaseError(
                f"{origin} = {str(base)!r}: cannot be opened ({reason}); name another folder"
            ) from error
        if found is not None:
            return found
        tried.append(f"{origin} = {base}")
    raise CaseError(
        f"data '{name}' not found ({'; '.join(tried)}): no folder {name} with {source.marker} there; give the folder "
        f"that holds {name}/ by --data-root or {ROOT_VARIABLE}; `bench data fetch {name}` says where it comes from"
    )


PARTS = dict.fromkeys(("ixi-stroke", "ixi-stroke-balanced"), ("ixi-midaxial", "stroke-masks"))
"""Data sets made of several sources; the others are one of their own name."""


def content_hash(folder: Path) -> str:
    """sha256 over the names (relative, sorted) and contents of all PNG files below the folder.

    CaseError where one, or a folder, cannot be read.
    """
    digest = hashlib.sha256()
    files = [path for path in matching(folder, "**/*.png") if path.is_file()]
    for path in sorted(files, key=lambda path: path.relative_to(folder).as_posix()):
        digest.update(f"{path.relative_to(folder).as_posix()}\x1f".encode())
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise CaseError(
                f"{path}: cannot be read ({error.strerror or error}); make it readable"
            ) from error
    return digest.hexdigest()
