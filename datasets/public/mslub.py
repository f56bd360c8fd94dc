"""``mslub``: lesions of multiple sclerosis in 30 patients, T1w, T2w and FLAIR, consensus of three raters (Lesjak 2017).

Two layouts are read: the archive's, ``patient01/patient01_{T1W,T2W,FLAIR,consensus_gt}.nii.gz`` (the first part of
the names may lack, as in the public copy muschellij2/open_ms_data, ``cross_sectional/coregistered``), and that copy's
``cross_sectional/MNI``: ``patient07/{T1,T2,FLAIR}_N4_..._regtoMNI.nii.gz`` with
``GOLD_STANDARD_..._regtoMNI.nii.gz``. The second was checked on patient 07 itself, the names of both against the
copy's list of files. ``T1WKS`` and ``T1POST``, with contrast, are not read.
"""

from __future__ import annotations

import re
from pathlib import Path

from uadbench.datasets.layouts import Found, Layout, Modality, below
from uadbench.datasets.sources import Source, steps
from uadbench.datasets.volumes import Files

__all__ = ["LAYOUT"]

KINDS = {"flair": "FLAIR", "t1": "T1W?", "t2": "T2W?"}
NAME = r"(patient\d+_)?{}(_N4\w*regtoMNI)?\.nii(\.gz)?"


def find(folder: Path, modality: str) -> list[Found]:
    """Patients that have an image of that kind; the public copy has a mask only of some, which are no part of it."""
    found = []
    for patient in below(folder, "patient*", depth=3):
        if not patient.is_dir() or not re.fullmatch(r"patient\d+", patient.name):
            continue
        image = named(patient, KINDS[modality])
        mask = named(patient, "(?:consensus_gt|GOLD_STANDARD)")
        if image:
            lacking = patient / f"{patient.name}_consensus_gt.nii.gz"
            found.append(Found(patient.name, patient.name, Files(image, mask or lacking)))
    return found


def named(patient: Path, kind: str) -> Path | None:
    """The patient's file of a kind, if there is one."""
    names = sorted(path for path in patient.iterdir() if re.fullmatch(NAME.format(kind), path.name))
    return names[0] if names else None


LAYOUT = Layout(
    name="mslub",
    title="MSLUB, multiple sclerosis",
    source=Source(
        name="mslub",
        marker="",
        layout="patient01/patient01_FLAIR.nii.gz (T1W, T2W), patient01_consensus_gt.nii.gz, or the copy in MNI space",
        origin="3D MR image database of Multiple Sclerosis patients with white matter lesion segmentations, Ljubljana",
        licence="CC BY",
        citation="Lesjak et al. 2017, Neuroinformatics, doi:10.1007/s12021-017-9348-7",
        how=steps(
            "open https://lit.fe.uni-lj.si/en/research/resources/3D-MR-MS/ and download the patients' archives; "
            "unpack them into a folder mslub, one folder a patient",
            "or git clone https://github.com/muschellij2/open_ms_data and name its folder "
            "cross_sectional/coregistered, or "
            "cross_sectional/MNI: a few patients in MNI space, skull-stripped",
            "bench data check mslub --data-root mslub",
        ),
    ),
    find=find,
    modalities={
        "flair": Modality("FLAIR", 1, stripped=True),
        "t1": Modality("T1w", -1, stripped=False),
        "t2": Modality("T2w", 1),
    },
    caveats=("mslub has no healthy subjects; its lesions are many and small.",),
)
