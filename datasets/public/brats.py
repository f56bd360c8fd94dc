"""``brats``: BraTS 2021, gliomas in FLAIR, T1, T1 with contrast and T2, skull-stripped, on the SRI24 grid at 1 mm.

The layout (``BraTS2021_00000/BraTS2021_00000_{flair,t1,t1ce,t2,seg}.nii.gz``, 240 x 240 x 155, labels 1, 2 and 4) was
checked against public programs that read it, not against the archive itself.
"""

from __future__ import annotations

from pathlib import Path

from uadbench.datasets.layouts import Found, Layout, Modality, below
from uadbench.datasets.sources import Source, steps
from uadbench.datasets.volumes import Files

__all__ = ["LAYOUT"]


def find(folder: Path, modality: str) -> list[Found]:
    """Every patient's folder; a patient without the image or the segmentation is a case that fails and says so."""
    return [
        Found(
            patient.name,
            patient.name,
            Files(patient / f"{patient.name}_{modality}.nii.gz", patient / f"{patient.name}_seg.nii.gz"),
        )
        for patient in below(folder, "BraTS2021_*", depth=2)
        if patient.is_dir() and patient.name.removeprefix("BraTS2021_").isdigit()
    ]


LAYOUT = Layout(
    name="brats",
    title="BraTS 2021, gliomas",
    source=Source(
        name="brats",
        marker="",
        layout="BraTS2021_00000/BraTS2021_00000_flair.nii.gz, ..._t1, ..._t1ce, ..._t2, ..._seg",
        origin="RSNA-ASNR-MICCAI Brain Tumor Segmentation Challenge 2021, the 1251 training patients",
        licence="terms of the archive; see the address",
        citation="Baid et al. 2021, doi:10.48550/arXiv.2107.02314; Menze et al. 2015, doi:10.1109/TMI.2014.2377694; "
        "Bakas et al. 2017, doi:10.1038/sdata.2017.117",
        how=steps(
            "open https://www.synapse.org/brats2021 (an account is needed), accept the terms, "
            "download the training data of task 1, BraTS2021_Training_Data.tar",
            "mkdir -p brats && tar -xf BraTS2021_Training_Data.tar -C brats",
            "bench data check brats --data-root brats",
        ),
    ),
    find=find,
    modalities={
        "flair": Modality("FLAIR", 1, stripped=True),
        "t1": Modality("T1w", -1, stripped=False),
        "t1ce": Modality("T1w with contrast", -1),
        "t2": Modality("T2w", 1),
    },
    caveats=(
        "brats: truth is the whole tumour, every label of the segmentation; it has no healthy patients.",
        "brats is on the grid of SRI24, not MNI152: heights are given in percent of the volume.",
    ),
)
