"""What volumes should be like for the shipped networks, held against what they are: nothing is changed, all is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from uadbench.datasets.case import Finding
from uadbench.datasets.layouts import Modality
from uadbench.datasets.volumes import Measured

__all__ = ["find_faults", "in_mni", "is_stripped"]

# Lowest corners (left, back, bottom) and sizes in mm of the MNI152 templates: ICBM 2009 a and c, FSL's, SPM's.
MNI_CORNER, MNI_SIZE = (-95, -130, -74), (188, 226, 187)
NEAR_MM = 12.0
FIELD_MM = (170.0, 270.0)  # of a slice's longer side; the shipped networks were trained on 189 and 233
LEAST_LEVELS = 8
MOST_LITRES = 2.3  # no brain is larger; a head is 3 to 5 litres
REGISTER = (
    "antsRegistrationSyNQuick.sh -d 3 -t a -f MNI152_T1_1mm.nii.gz -m IMAGE -o OUT (ANTs), and the mask by "
    "antsApplyTransforms -d 3 -n GenericLabel -r MNI152_T1_1mm.nii.gz -i MASK -t OUT0GenericAffine.mat -o OUT-MASK"
)
STRIP = "mri_synthstrip -i IMAGE -o OUT (FreeSurfer's SynthStrip), or hd-bet -i IMAGE -o OUT (HD-BET)"
TRAIN = "train a network on healthy images of this kind: `bench train --help`"


def in_mni(measured: Measured) -> bool:
    """Whether size and place of the grid are an MNI152 template's, at any resolution."""
    size = np.multiply(measured.shape, measured.spacing)
    near = np.abs(np.subtract(measured.corner, MNI_CORNER)).max(), np.abs(size - MNI_SIZE).max()
    return measured.straight and max(near) <= NEAR_MM


def is_stripped(measured: Measured) -> bool:
    """Whether what is not background is no larger than a brain."""
    return measured.litres <= MOST_LITRES


def find_faults(modality: Modality, slices: str, measured: Mapping[str, Measured]) -> tuple[Finding, ...]:
    """What is amiss with the volumes that can be read, each with how many it concerns and an example."""
    sound = {name: m for name, m in measured.items() if not m.fault}
    found = []
    for what, remedy, amiss in checks(modality, slices):
        names = [name for name, m in sound.items() if amiss(m)]
        if names:
            found.append(
                Finding(f"{len(names)} of {len(sound)} volumes {what} (such as {names[0]}).", remedy)
            )
    if sound and modality.stripped is None:
        found.append(Finding(f"No shipped network was trained on {modality.title}.", TRAIN))
    return tuple(found)


Check = tuple[str, str, Callable[[Measured], bool]]


def checks(modality: Modality, slices: str) -> list[Check]:
    """(what is amiss, what to run, of which volumes it is true)."""
    title = modality.title
    half = ": the mid-axial slice is half-way up the volume, not at one place of the brain"
    found: list[Check] = [
        (
            f"are not on a grid of MNI152{half if slices == 'mid-axial' else ''}",
            f"register to MNI152 at 1 mm: {REGISTER}",
            lambda m: not in_mni(m),
        ),
        (
            "are turned against the axes of the body, so slices are not axial",
            f"resample: {REGISTER}",
            lambda m: not m.straight,
        ),
        (
            "have pixels that are not square in the axial plane",
            "resample to 1 mm: ResampleImage 3 IMAGE OUT 1x1x1 0 (ANTs), and the mask likewise with 1x1x1 0 1",
            lambda m: abs(m.spacing[0] / m.spacing[1] - 1) > 0.02,
        ),
        (
            f"have a field of view under {FIELD_MM[0]:g} or over {FIELD_MM[1]:g} mm, so heads come out large or small",
            "crop or pad, e.g. `fslroi`, or register as above",
            lambda m: (
                not FIELD_MM[0] <= max(m.shape[0] * m.spacing[0], m.shape[1] * m.spacing[1]) <= FIELD_MM[1]
            ),
        ),
        (
            f"have fewer than {LEAST_LEVELS} grey values, as a mask has",
            "look which files were taken for images: `bench data preview`",
            lambda m: m.levels < LEAST_LEVELS and sum(m.tissue) > 10_000,
        ),
    ]
    if modality.stripped:
        known = f"have the skull on; the shipped networks know {title} without it"
        found.append((known, STRIP, lambda m: not is_stripped(m)))
    elif modality.stripped is False:
        known = f"have no skull; the shipped networks know {title} with it"
        found.append((known, f"give the images as they were before, or {TRAIN}", is_stripped))
    return found
