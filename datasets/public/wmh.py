"""``wmh``: white matter hyperintensities of 170 people from three sites, FLAIR and T1 (Kuijf et al. 2019).

The layout (``Utrecht/0/pre/FLAIR.nii.gz`` and ``T1.nii.gz`` with ``Utrecht/0/wmh.nii.gz``; Amsterdam has a folder for
each scanner; the final release has ``training`` and ``test`` above) was checked against public programs that read it,
and the labels (1 hyperintensity, 2 other pathology, to be ignored) against the challenge's own page, not against the
archive.
"""

from __future__ import annotations

from pathlib import Path

from uadbench.datasets.layouts import Found, Layout, Modality, below
from uadbench.datasets.sources import Source, steps
from uadbench.datasets.volumes import Files

__all__ = ["LAYOUT"]

SITES = ("Utrecht", "Singapore", "Amsterdam")
NAMES = {"flair": "FLAIR.nii.gz", "t1": "T1.nii.gz"}


def find(folder: Path, modality: str) -> list[Found]:
    """Every person with a manual mask; ids are site, scanner where there are several, and number."""
    found = []
    for mask in below(folder.absolute(), "wmh.nii.gz", depth=5):
        parts = mask.parent.parts
        sites = [position for position, part in enumerate(parts) if part in SITES]
        if not sites:
            continue
        person = "-".join(parts[sites[-1] :])
        found.append(Found(person, person, Files(mask.parent / "pre" / NAMES[modality], mask, (1,), (2,))))
    return found


LAYOUT = Layout(
    name="wmh",
    title="WMH challenge 2017, white matter hyperintensities",
    source=Source(
        name="wmh",
        marker="",
        layout="Utrecht/0/pre/FLAIR.nii.gz (T1) and Utrecht/0/wmh.nii.gz, below the sites' names",
        origin="WMH Segmentation Challenge 2017: 60 training and 110 test people, Utrecht, Singapore, Amsterdam",
        licence="terms of the archive; see the address",
        citation="Kuijf et al. 2019, IEEE Transactions on Medical Imaging, doi:10.1109/TMI.2019.2905770",
        how=steps(
            "open https://doi.org/10.34894/AECRSD (DataverseNL), accept the terms, download training and test with "
            "their folders kept",
            "unpack both into a folder wmh",
            "bench data check wmh --data-root wmh",
        ),
    ),
    find=find,
    modalities={"flair": Modality("FLAIR", 1, stripped=True), "t1": Modality("T1w", -1, stripped=False)},
    caveats=(
        "wmh: slices with label 2 (other pathology, which the challenge ignores) are left out; label 1 alone is "
        "lesion.",
        "wmh has no healthy subjects.",
    ),
)
