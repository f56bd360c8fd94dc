"""Whole volumes: read once into canonical order, and measured, so that nobody has to read one to plan its slices."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import CaseError
from uadbench.datasets.preprocess import refuse_size
from uadbench.datasets.readers import MAX_BYTES, check_voxels, file_size, first_line, open_nifti

__all__ = ["BRAIN", "VERSION", "Files", "Measured", "Opened", "measure", "read_volume"]

VERSION = 2  # of what is measured; raised whenever the same file gives other numbers
BRAIN = (1.0, 99.0)  # percentiles of what is above the background: Measured.brain
# A voxel is tissue above this share of the way from background to the 98th percentile of all voxels
TISSUE = 0.1
SAME_GRID = "bring both on one grid, e.g. `antsApplyTransforms -d 3 -n GenericLabel -r IMAGE -i MASK -o OUT`"

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Files:
    """Where a volume lies.

    image, mask : NIfTI files on one grid; no mask = healthy
    lesion : values of the mask that are lesion; () = every one but 0
    ignored : values of the mask that are neither lesion nor healthy; slices that hold one are left out
    """

    image: Path
    mask: Path | None = None
    lesion: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What was found out about a volume by reading it once; all but ``sha256`` is empty where ``fault`` says why.

    sha256 : of the files, image and mask
    fault : why it cannot be used, in one line that begins with the file's name
    spacing : mm a voxel, to the right, to the front, upwards
    corner : mm of the centre of the voxel that is furthest left, back and down, as the affine has it
    shape : voxels to the right, to the front, upwards
    straight : whether the affine's axes are the body's to within about a degree
    litres : volume of everything that is not background
    background : grey value outside, the median of the outermost voxels
    window : grey values that become 0 and 1 where the whole volume decides: its smallest, and the percentile of its
        tissue
    brain : the same where the voxels above the background decide: their BRAIN percentiles
    levels : different grey values among every hundredth voxel of tissue
    tissue, lesion, ignored : voxels of each kind by slice, from the lowest
    """

    sha256: str
    fault: str = ""
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    corner: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shape: tuple[int, int, int] = (0, 0, 0)
    straight: bool = True
    litres: float = 0.0
    background: float = 0.0
    window: tuple[float, float] = (0.0, 0.0)
    brain: tuple[float, float] = (0.0, 0.0)
    levels: int = 0
    tissue: tuple[int, ...] = ()
    lesion: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()


def read_volume(path: Path) -> tuple[Planes, NDArray[np.float64]]:
    """(float32 [slices, rows, columns], affine [4, 4] of the array turned to right, front, up), scaled.

    Slices count upwards; in each, as ``readers.read_slice`` has it, anterior is on top and columns run from the
    patient's left to right, by the affine. Raises CaseError, one line that names the file.
    """
    import nibabel

    if file_size(path, "restore it") > MAX_BYTES:
        raise CaseError(f"{path}: more than {MAX_BYTES} bytes; cut out what is needed")
    image, axes = open_nifti(path)
    shape = tuple(int(n) for n in image.shape)
    if len(shape) < 3 or min(shape) < 1 or any(n != 1 for n in shape[3:]):
        raise CaseError(
            f"{path}: shape {shape}; a volume has three dimensions; keep one of its volumes, e.g. by `fslroi` or "
            "`mrconvert -coord 3 0`"
        )
    check_voxels(shape, path)
    try:
        voxels = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
    except Exception as error:  # a truncated or corrupt stream shows only now
        raise CaseError(
            f"{path}: cannot be read ({first_line(error)}); copy or save the file again"
        ) from error
    turned = nibabel.orientations.apply_orientation(voxels, axes)
    refuse_size(turned.shape[:2], str(path))
    affine = image.affine @ nibabel.orientations.inv_ornt_aff(axes, shape[:3])
    return np.ascontiguousarray(turned[:, ::-1].transpose(2, 1, 0)), np.asarray(affine, dtype=np.float64)


def read_both(files: Files) -> tuple[Planes, NDArray[np.int16] | None, NDArray[np.float64]]:
    """(image, mask as whole numbers or None, affine); CaseError where either cannot be used or they do not match."""
    image, affine = read_volume(files.image)
    bad = int(np.count_nonzero(~np.isfinite(image)))
    if bad:
        raise CaseError(
            f"{files.image}: {bad} of {image.size} voxels are NaN or infinite; replace them, e.g. "
            "`fslmaths IN -nan OUT`"
        )
    if float(np.median(border(image))) == 0:
        np.maximum(image, 0, out=image)  # below the background is nothing; resampling rings there
    if files.mask is None:
        return image, None, affine
    labels, mask_affine = read_volume(files.mask)
    if labels.shape != image.shape:
        raise CaseError(
            f"{files.mask}: the mask has shape {labels.shape[::-1]}, its image {files.image.name} "
            f"{image.shape[::-1]} (right, front, up); {SAME_GRID}"
        )
    if not np.isfinite(labels).all():
        raise CaseError(f"{files.mask}: the mask holds NaN or infinity; save it as 0 and 1")
    apart = corners_apart(affine, mask_affine, image.shape[::-1])
    if apart > 1:
        raise CaseError(
            f"{files.mask}: by their affines the mask lies {apart:.1f} voxels away from its image "
            f"{files.image.name}; {SAME_GRID}"
        )
    # Labels are whole numbers; an interpolated mask is lesion where it is nearer to 1 than to 0.
    return image, np.rint(np.clip(labels, -32768, 32767)).astype(np.int16), affine


def corners_apart(one: NDArray[np.float64], other: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """How far apart two grids lie at most, in voxels of the first."""
    ends = np.array([[0, n - 1] for n in shape])
    points = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1)
    moved = (one - other)[:3, :3] @ points + (one - other)[:3, 3:]
    size = np.linalg.norm(one[:3, :3], axis=0).min()
    return float(np.linalg.norm(moved, axis=0).max() / size)


def border(image: Planes) -> Planes:
    """All voxels of the four upright faces, where a body part that is in the middle is not."""
    faces = (image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1])
    return np.concatenate([face.ravel() for face in faces])


def is_lesion(labels: NDArray[np.int16], files: Files) -> NDArray[np.bool_]:
    """Where a mask's values are lesion."""
    return np.isin(labels, files.lesion) if files.lesion else labels != 0


def measure(files: Files, percentile: float) -> Measured:
    """Read a volume once and say what it is made of; what cannot be used is said in ``fault``, never raised."""
    sha256 = content(files)
    try:
        image, labels, affine = read_both(files)
        return measured(sha256, files, image, labels, affine, percentile)
    except CaseError as error:
        return Measured(sha256, str(error))


def measured(
    sha256: str,
    files: Files,
    image: Planes,
    labels: NDArray[np.int16] | None,
    affine: NDArray[np.float64],
    percentile: float,
) -> Measured:
    """See ``Measured``; CaseError where there is no tissue."""
    background = float(np.median(border(image)))
    scale = float(np.percentile(image, 98)) - background
    tissue = image > background + TISSUE * scale
    if not scale > 0 or not tissue.any():
        raise CaseError(
            f"{files.image}: nothing but background ({background:g}); give a volume that shows tissue"
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    none = np.zeros(image.shape[0], dtype=int)
    lesion = none if labels is None else is_lesion(labels, files).sum(axis=(1, 2))
    ignored = none if labels is None else np.isin(labels, files.ignored).sum(axis=(1, 2))
    direction = affine[:3, :3] / spacing
    return Measured(
        sha256,
        spacing=tuple(np.round(spacing, 4).tolist()),
        corner=tuple(np.round(affine[:3, 3], 3).tolist()),
        shape=tuple(image.shape[::-1]),
        straight=bool(np.abs(direction - np.eye(3)).max() < 0.02),
        litres=float(round(np.count_nonzero(image != background) * float(spacing.prod()) / 1e6, 3)),
        background=background,
        window=(float(image.min()), float(np.percentile(image[tissue], percentile))),
        brain=tuple(np.percentile(image[image > background], BRAIN).tolist()),
        levels=int(np.unique(image[tissue][::100]).size),
        tissue=tuple(tissue.sum(axis=(1, 2)).tolist()),
        lesion=tuple(lesion.tolist()),
        ignored=tuple(ignored.tolist()),
    )


def content(files: Files) -> str:
    """sha256 over the contents of image and mask; a file that cannot be read enters as such."""
    digest = hashlib.sha256()
    for path in (files.image, files.mask):
        if path is None:
            digest.update(b"\x1enone")
            continue
        try:
            if file_size(path, "") > MAX_BYTES:
                raise OSError("too large")
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except (CaseError, OSError) as error:
            digest.update(type(error).__name__.encode())
    return digest.hexdigest()


@dataclass
class Opened:
    """The volumes that were read last, so that the slices of one, which stand together, cost one reading.

    keep : how many are held, each with its mask
    """

    keep: int = 2
    held: OrderedDict[Files, tuple[Planes, NDArray[np.int16] | None]] = field(default_factory=OrderedDict)

    def slice(self, files: Files, position: int) -> tuple[Planes, NDArray[np.bool_] | None]:
        """One slice and its mask, [rows, columns] each; CaseError where the volume cannot be used."""
        if files not in self.held:
            image, labels, _ = read_both(files)
            self.held[files] = image, labels
            while len(self.held) > self.keep:
                self.held.popitem(last=False)
        self.held.move_to_end(files)
        image, labels = self.held[files]
        mask = None if labels is None else is_lesion(labels[position], files)
        return image[position], mask
