"""``ixi``: the IXI data set, healthy volunteers; training, validation and normal test cases.

The archive (``IXI-T1.tar`` and the like) holds one flat folder of ``IXI002-Guys-0828-T1.nii.gz``, number, hospital, a
number again, kind. This was checked against public programs that read it; the images themselves were seen as
mid-axial slices only.
"""

from __future__ import annotations

import re
from pathlib import Path

from uadbench.datasets.layouts import Found, Layout, Modality, below
from uadbench.datasets.selection import read_split
from uadbench.datasets.sources import Source, steps
from uadbench.datasets.volumes import Files

__all__ = ["LAYOUT"]

NAME = re.compile(r"(IXI\d{3})-(Guys|HH|IOP)-\d+-(\w+)\.nii(\.gz)?")


def find(folder: Path, modality: str) -> list[Found]:
    """The images of one kind; split as the shipped networks' own training data, where the subject is among those."""
    splits = {row["subject"].removeprefix("sub-"): row["split"] for row in read_split("ixi-stroke")}
    found = []
    for image in below(folder, "IXI*.nii*", depth=2):
        match = NAME.fullmatch(image.name)
        if match and match[3].lower() == modality:
            found.append(Found(match[1], f"{match[1]}-{match[3]}", Files(image), splits.get(match[1], "")))
    return found


LAYOUT = Layout(
    name="ixi",
    title="IXI, healthy volunteers",
    source=Source(
        name="ixi",
        marker="",
        layout="IXI*-T1.nii.gz",
        origin="IXI data set: nearly 600 healthy volunteers, T1, T2 and PD volumes, not registered, skull on",
        licence="CC BY-SA 3.0",
        citation="IXI data set, brain-development.org",
        how=steps(
            "open https://brain-development.org/ixi-dataset/ and download the T1 images, IXI-T1.tar (or T2, PD)",
            "mkdir -p ixi && tar -xf IXI-T1.tar -C ixi",
            "bench data check ixi --data-root ixi; it says what to run so that slices are like those of the "
            "shipped networks",
        ),
    ),
    find=find,
    modalities={
        "t1": Modality("T1w", -1, stripped=False),
        "t2": Modality("T2w", 1),
        "pd": Modality("PDw", 1),
    },
    shares=(0.8, 0.1),
    caveats=(
        "ixi is healthy: it gives thresholds, training slices and false positives, no score that needs lesions.",
        "ixi: subjects are split as in datasets/splits/ixi-stroke.csv, on which the shipped networks were trained; "
        "those not in it by the hash rule.",
    ),
)
