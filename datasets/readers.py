"""Reading one slice from a file: PNG of 8 or 16 bit, ``.npy``, NIfTI slice or NIfTI volume."""

from __future__ import annotations

import math
import stat
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import CaseError
from uadbench.datasets.orientation import turned
from uadbench.datasets.preprocess import refuse_size

__all__ = ["IMAGE_SUFFIXES", "MAX_BYTES", "MAX_VOXELS", "file_size", "read_slice"]

IMAGE_SUFFIXES = (".png", ".npy", ".nii", ".nii.gz")
MAX_VOXELS = 512 * 1024 * 1024  # of one volume
MAX_BYTES = 2 * 1024**3  # of one file, compressed or not
NOT_ALLOWED = (
    "may not be read by this user (Permission denied); change the rights of file or folder, as `chmod` does"
)


def read_slice(path: Path, index: int | None = None) -> NDArray[np.generic]:
    """One slice, [H, W], in the file's own number type (NIfTI: scaled, float32).

    path : a PNG, .npy, .nii or .nii.gz
    index : for a volume, the axial slice from 0; None for a file that holds one slice

    PNG and .npy: rows are image rows. NIfTI, by its affine: anterior on top, columns from the patient's left to right
    (axial; superior on top for a single coronal or sagittal slice); slices count upwards from the lowest.

    Raises CaseError, one line that names the file. Nothing is unpickled; sizes are checked before pixels are read.
    """
    suffix = next(
        (s for s in sorted(IMAGE_SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), None
    )
    if suffix is None:
        raise CaseError(f"{path}: unknown kind of file; use one of {', '.join(IMAGE_SUFFIXES)}")
    size = file_size(path, "correct the path or put the file there")
    if size > MAX_BYTES:
        raise CaseError(f"{path}: {size} bytes, at most {MAX_BYTES} are read; cut out the slices needed")
    if suffix == ".png":
        return one_slice(read_png(path), index, path)
    if suffix == ".npy":
        return one_slice(read_npy(path), index, path)
    return read_nifti(path, index)


def file_size(path: Path, remedy: str) -> int:
    """Bytes of a regular file that may be read; CaseError that says what else it is, so that no pipe or device is ever
    opened.

    remedy : what to do where there is no such file
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except PermissionError as error:
        raise CaseError(f"{path}: {NOT_ALLOWED}") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CaseError(f"{path}: no such file; {remedy}") from error
    except (OSError, ValueError) as error:  # a name too long, no permission, a loop of links, a NUL
        reason = getattr(error, "strerror", None) or error
        raise CaseError(f"{path}: cannot be opened ({reason}); {remedy}") from error
    if stat.S_ISDIR(status.st_mode):
        raise CaseError(f"{path}: is a folder, not a file; {remedy}")
    if not stat.S_ISREG(status.st_mode):
        raise CaseError(f"{path}: is a pipe, socket or device, not a file; {remedy}")
    return status.st_size


def one_slice(array: NDArray[np.generic], index: int | None, path: Path) -> NDArray[np.generic]:
    """Refuse a slice number where the file is no volume, so that it is never silently ignored."""
    if index is not None:
        raise CaseError(
            f"{path}: slice {index} asked for, but only a NIfTI volume has slices; leave 'slice' empty"
        )
    return array


def read_png(path: Path) -> NDArray[np.generic]:
    """Grey PNG [H, W], uint8 or uint16; colour only where its channels are equal and it is opaque."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own, lower limit follows
            image: Image.Image = Image.open(path, formats=("PNG",))
        with image:
            refuse_size((image.height, image.width), str(path))
            if image.mode == "P":
                image = image.convert("RGBA")
            pixels = np.asarray(image)
    except CaseError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, its own bomb error ...
        raise CaseError(
            f"{path}: not a readable PNG ({first_line(error)}); save it again as a grey PNG"
        ) from error
    if pixels.dtype == np.int32:  # Pillow's mode "I", how some versions open 16-bit grey
        pixels = pixels.astype(np.uint16)
    if pixels.ndim == 3:
        pixels = grey_of(pixels, path)
    return pixels


def grey_of(pixels: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    """[H, W, 2..4] -> [H, W], where colour and opacity say nothing."""
    channels = pixels.shape[2]
    alpha, alpha_full = pixels[..., -1], np.iinfo(pixels.dtype.name).max
    colours = pixels[..., : channels - 1] if channels in (2, 4) else pixels
    if channels in (2, 4) and bool(np.not_equal(alpha, alpha_full).any()):
        raise CaseError(f"{path}: the PNG is partly transparent; save it as a grey PNG without alpha")
    if bool(np.not_equal(colours, colours[..., :1]).any()):
        raise CaseError(f"{path}: the PNG is in colour; save it as a grey PNG of 8 or 16 bit")
    return colours[..., 0]


def read_npy(path: Path) -> NDArray[np.generic]:
    """A plain array; pickled objects are refused, and the header's size is checked before anything is read."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise CaseError(
            f"{path}: not a readable .npy of numbers ({first_line(error)}); save it by numpy.save, allow_pickle=False"
        ) from error
    if not isinstance(array, np.ndarray):
        raise CaseError(f"{path}: an archive under the name .npy; save a single array by numpy.save")
    if array.ndim != 2:
        raise CaseError(f"{path}: an array of shape {array.shape}; save one slice, 2-D [rows, columns]")
    refuse_size(array.shape, str(path))
    return np.array(array)


def read_nifti(path: Path, index: int | None) -> NDArray[np.float32]:
    """A NIfTI slice, or one axial slice of a volume, without keeping the rest of the volume."""
    image, axes = open_nifti(path)
    shape = tuple(int(n) for n in image.shape)
    check_voxels(shape, path)
    if len(shape) < 2 or min(shape) < 1 or any(n != 1 for n in shape[3:]):
        raise CaseError(
            f"{path}: shape {shape}; expected one slice or one 3-D volume; cut out the part needed"
        )
    volume = (*shape, 1)[:3]
    across, position = slice_axis(volume, axes, index, path)
    refuse_size(tuple(n for axis, n in enumerate(volume) if axis != across), str(path))
    where: list[slice | int] = [slice(None)] * len(shape)
    if across < len(shape):
        where[across] = position
    for axis in range(3, len(shape)):
        where[axis] = 0
    try:
        plane = np.asarray(image.dataobj[tuple(where)], dtype=np.float32)
    except Exception as error:  # a truncated or corrupt stream shows only now
        raise CaseError(
            f"{path}: cannot be read ({first_line(error)}); copy or save the file again"
        ) from error
    return turned(plane, axes, across)


def open_nifti(path: Path) -> tuple[Any, NDArray[np.float64]]:
    """(nibabel's image, its orientation: for each array axis the anatomical axis, 0 R, 1 A, 2 S, and its direction).

    Raises CaseError when it is no NIfTI, its voxels are not real numbers or its affine names no axes.
    """
    import nibabel

    try:
        two = nibabel.Nifti2Image.path_maybe_image(path)[0]
        image = (nibabel.Nifti2Image if two else nibabel.Nifti1Image).from_filename(path)
        kind = image.get_data_dtype()
        affine = np.asarray(image.affine, dtype=np.float64)
    except Exception as error:
        raise CaseError(
            f"{path}: not a readable NIfTI ({first_line(error)}); save it again as .nii.gz"
        ) from error
    if kind.kind not in "buif":  # complex numbers would lose their imaginary part, colours have no order
        raise CaseError(f"{path}: voxels of type {kind} are not real numbers; save the magnitude as float32")
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise CaseError(
            f"{path}: the affine is singular or not finite, so it is unknown which axis is axial; set the header's "
            "sform or qform"
        )
    return image, np.asarray(nibabel.io_orientation(affine), dtype=np.float64)


def slice_axis(
    shape: tuple[int, ...], axes: NDArray[np.float64], index: int | None, path: Path
) -> tuple[int, int]:
    """(array axis that is cut, position along it) for an axial slice number counted from the lowest slice upwards.

    axes : nibabel's orientation: for each array axis, the anatomical axis (0 R, 1 A, 2 S) and its direction
    """
    single = [axis for axis in range(3) if shape[axis] == 1]
    if index is None and len(single) == 1:
        return single[0], 0
    across = int(np.flatnonzero(axes[:, 0] == 2)[0])
    depth = shape[across]
    if index is None:
        raise CaseError(
            f"{path}: a volume of {depth} axial slices; say which (0 to {depth - 1}) in the column 'slice'"
        )
    if not 0 <= index < depth:
        raise CaseError(f"{path}: slice {index} is outside 0 to {depth - 1}; correct the column 'slice'")
    return across, index if axes[across, 1] > 0 else depth - 1 - index


def check_voxels(shape: tuple[int, ...], path: Path) -> None:
    """Refuse a volume that would fill the memory."""
    if math.prod(shape) > MAX_VOXELS:
        raise CaseError(
            f"{path}: {math.prod(shape)} voxels, at most {MAX_VOXELS} are read; shrink it or cut out what is needed"
        )


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type's name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
