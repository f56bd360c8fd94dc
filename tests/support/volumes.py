"""Small volumes, and trees of them in the layouts of the public data sets."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from uadbench.datasets.case import Dataset
from uadbench.datasets.layouts import Found, Layout, Modality
from uadbench.datasets.slices import open_layout
from uadbench.datasets.sources import Source
from uadbench.datasets.volumes import Files

SHAPE = (24, 28, 23)  # right, front, up, at 8 mm: an MNI grid in small
MNI = np.array([[8.0, 0, 0, -95], [0, 8, 0, -130], [0, 0, 8, -74], [0, 0, 0, 1]])
AWAY = np.array([[8.0, 0, 0, 0], [0, 8, 0, 0], [0, 0, 8, 0], [0, 0, 0, 1]])  # the same grid elsewhere


def brain(seed: int = 0, shape: tuple[int, ...] = SHAPE, radius: float = 0.7) -> np.ndarray:
    """A ball of texture on a background of 0: a stripped brain, or, with a radius of 1, one as large as a head."""
    grid = np.indices(shape)
    inside = sum(((g - (n - 1) / 2) / (n / 2)) ** 2 for g, n in zip(grid, shape, strict=True)) < radius**2
    return np.where(inside, 100 + 50 * np.random.default_rng(seed).random(shape), 0).astype(np.float32)


def lesion(*heights: int, label: int = 1, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A mask with 3 x 4 voxels right of the middle, front of the middle, in the slices named."""
    mask = np.zeros(shape, dtype=np.uint8)
    for z in heights:
        mask[14:17, 16:20, z] = label
    return mask


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = MNI) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return path


def one(*found: Found, shares: tuple[float, float] = (0.0, 0.0)) -> Layout:
    """A data set of the volumes given."""
    source = Source("made", "", "files", "made up", "none", "none", "")
    kinds = {
        "flair": Modality("FLAIR", 1, stripped=True),
        "t1": Modality("T1w", -1, stripped=False),
        "t2": Modality("T2w", 1),
    }
    return Layout("made", "made up", source, lambda folder, modality: list(found), kinds, shares)


def opened(
    root: Path, *options: str, affine: np.ndarray = MNI, heights: tuple[int, ...] = (11,), **given: np.ndarray
) -> Dataset:
    """A data set of one volume, with a lesion in the slices named."""
    image = save(root / "a.nii.gz", given.get("voxels", brain()), affine)
    mask = save(root / "m.nii.gz", lesion(*heights), affine)
    return open_layout(one(Found("s", "v", Files(image, mask))), root, None, options=options)


def atlas(root: Path) -> Path:
    """Two patients, the first with two sessions, and one of the part whose masks are withheld."""
    for name in ("r001s001/ses-1", "r001s001/ses-2", "r002s003/ses-1"):
        subject, session = name.split("/")
        stem = f"sub-{subject}_{session}_space-MNI152NLin2009aSym"
        anat = root / "Training" / subject[:4].upper() / f"sub-{subject}" / session / "anat"
        save(anat / f"{stem}_T1w.nii.gz", brain(radius=1.0))
        save(anat / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", lesion(11, 12))
    anat = root / "Testing" / "R009" / "sub-r009s001" / "ses-1" / "anat"
    save(anat / "sub-r009s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz", brain(radius=1.0))
    return root


def ixi(root: Path) -> Path:
    """A training subject of the shipped networks, one of their validation or test subjects, one they do not know."""
    for name in ("IXI002-Guys-0828", "IXI025-Guys-0852", "IXI999-HH-0001"):
        save(root / f"{name}-T1.nii.gz", brain(radius=1.0), AWAY)
        save(root / f"{name}-T2.nii.gz", brain(1), AWAY)
    return root


def brats(root: Path) -> Path:
    for number in ("00000", "00002"):
        patient = f"BraTS2021_{number}"
        for seed, kind in enumerate(("flair", "t1", "t1ce", "t2")):
            save(root / patient / f"{patient}_{kind}.nii.gz", brain(seed), AWAY)
        mask = lesion(10) + 2 * lesion(11) + 4 * lesion(12)
        save(root / patient / f"{patient}_seg.nii.gz", mask, AWAY)
    return root


def mslub(root: Path) -> Path:
    """The archive's names for patient 1, the public copy's for 2 and 7, and a patient of whom it has the mask alone."""
    ending = "_N4_noneck_reduced_winsor_regtoFLAIR{}_regtoMNI.nii.gz"
    names = {
        "patient01": ("patient01_{}W.nii.gz", "patient01_FLAIR.nii.gz", "patient01_consensus_gt.nii.gz"),
        "patient02": ("{}W.nii.gz", "FLAIR.nii.gz", "consensus_gt.nii.gz"),
        "patient07": (
            "{}" + ending.format("_brain_N4"),
            "FLAIR" + ending.format("_brain_N4"),
            "GOLD_STANDARD" + ending.format(""),
        ),
    }
    for patient, (weighted, flair, mask) in names.items():
        for seed, name in enumerate((flair, weighted.format("T1"), weighted.format("T2"))):
            save(root / patient / name, brain(seed))
        save(root / patient / weighted.format("T1").replace("T1", "T1POST"), brain(9))
        save(root / patient / mask, lesion(11, 13))
    save(root / "patient08" / ("GOLD_STANDARD" + ending.format("")), lesion(3))
    return root


def wmh(root: Path) -> Path:
    """A person of each kind of folder; label 2 lies in a slice of its own."""
    for place in ("training/Utrecht/0", "training/Singapore/50", "test/Amsterdam/GE1T5/110"):
        save(root / place / "pre" / "FLAIR.nii.gz", brain(), AWAY)
        save(root / place / "pre" / "T1.nii.gz", brain(1), AWAY)
        save(root / place / "wmh.nii.gz", lesion(11, 12) + lesion(13, label=2), AWAY)
    return root


def bids(root: Path) -> Path:
    """Two patients, one with two sessions, whose masks lie in derivatives, and a control without a mask."""
    for name in ("sub-01/ses-1", "sub-01/ses-2", "sub-02/ses-1", "sub-c1/ses-1"):
        stem = name.replace("/", "_")
        save(root / name / "anat" / f"{stem}_T1w.nii.gz", brain(radius=1.0))
        if "c1" not in name:
            save(
                root / "derivatives" / "lesions" / name / "anat" / f"{stem}_label-lesion_mask.nii.gz",
                lesion(11, 12),
            )
    return root


TREES = {"atlas": atlas, "ixi": ixi, "brats": brats, "mslub": mslub, "wmh": wmh, "bids": bids}
