"""``atlas``: ATLAS v2.0, T1w of stroke patients in MNI space with lesion masks (Liew et al. 2022).

The layout (BIDS, ``Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz`` and
the same with ``_label-L_desc-T1lesion_mask``) and the grid (197 x 233 x 189 at 1 mm) were checked against a published
listing of the archive and against several public programs that read it, not against the archive itself.
"""

from __future__ import annotations

from pathlib import Path

from uadbench.datasets.layouts import Found, Layout, Modality, below
from uadbench.datasets.sources import Source, steps
from uadbench.datasets.volumes import Files

__all__ = ["LAYOUT"]

SPACE = "space-MNI152NLin2009aSym"  # it tells the set from other BIDS trees


def find(folder: Path, modality: str) -> list[Found]:
    """The T1w images and their masks; the archive's Testing part, whose masks are withheld, is no part of it."""
    found = []
    for image in below(folder, f"sub-*/ses-*/anat/*_{SPACE}_T1w.nii.gz"):
        if "Testing" in image.parts:
            continue
        mask = image.with_name(image.name.replace("_T1w.nii.gz", "_label-L_desc-T1lesion_mask.nii.gz"))
        subject, session = image.parents[2].name, image.parents[1].name
        found.append(Found(subject, f"{subject}_{session}", Files(image, mask)))
    return found


LAYOUT = Layout(
    name="atlas",
    title="ATLAS v2.0, T1w with stroke lesions",
    source=Source(
        name="atlas",
        marker="",
        layout=f"sub-*/ses-*/anat/*_{SPACE}_T1w.nii.gz with *_label-L_desc-T1lesion_mask.nii.gz beside it",
        origin="Anatomical Tracings of Lesions After Stroke, release 2.0: 655 T1w images with masks (and 300 without)",
        licence="terms of use of the archive, accepted by a form; see the address",
        citation="Liew et al. 2022, Scientific Data 9:320, doi:10.1038/s41597-022-01401-7",
        how=steps(
            "open https://fcon_1000.projects.nitrc.org/indi/retro/atlas.html, accept the terms, fill in the form; the "
            "password comes by mail",
            "download ATLAS R2.0, decrypt it as the page says, unpack it: a folder ATLAS_2 with Training/ and Testing/",
            "bench data check atlas --data-root ATLAS_2",
        ),
    ),
    find=find,
    modalities={"t1": Modality("T1w", -1, stripped=False)},
    caveats=(
        "atlas: a patient with several sessions is one subject; THOR's authors left out 20 slices with dark artefacts "
        "by eye, which are in here.",
    ),
)
