"""Reading one slice from a file: PNG of 8 or 16 bit, ``.npy``, NIfTI slice or NIfTI volume."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import CaseError

__all__ = ["IMAGE_SUFFIXES", "MAX_BYTES", "MAX_PIXELS", "MAX_VOXELS", "read_slice"]

IMAGE_SUFFIXES = (".png", ".npy", ".nii", ".nii.gz")
MAX_PIXELS = 8192 * 8192  # of one slice: far above any radiograph, far below what fills a memory
MAX_VOXELS = 512 * 1024 * 1024  # of one volume
MAX_BYTES = 2 * 1024**3  # of one file, compressed or not


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
    if not path.is_file():
        raise CaseError(f"{path}: no such file; correct the path or put the file there")
    if path.stat().st_size > MAX_BYTES:
        raise CaseError(
            f"{path}: {path.stat().st_size} bytes, at most {MAX_BYTES} are read; cut out the slices needed"
        )
    if suffix == ".png":
        return one_slice(read_png(path), index, path)
    if suffix == ".npy":
        return one_slice(read_npy(path), index, path)
    return read_nifti(path, index)


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
            check_size(image.width * image.height, MAX_PIXELS, "pixels", path)
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
    check_size(array.size, MAX_PIXELS, "values", path)
    return np.array(array)


def read_nifti(path: Path, index: int | None) -> NDArray[np.float32]:
    """A NIfTI slice, or one axial slice of a volume, without keeping the rest of the volume."""
    import nibabel

    try:
        two = nibabel.Nifti2Image.path_maybe_image(path)[0]
        image = (nibabel.Nifti2Image if two else nibabel.Nifti1Image).from_filename(path)
        shape = tuple(int(n) for n in image.shape)
        axes = nibabel.io_orientation(image.affine)
    except Exception as error:
        raise CaseError(
            f"{path}: not a readable NIfTI ({first_line(error)}); save it again as .nii.gz"
        ) from error
    check_size(math.prod(shape), MAX_VOXELS, "voxels", path)
    trailing = shape[3:]
    if len(shape) < 2 or any(n != 1 for n in trailing) or np.isnan(axes).any():
        raise CaseError(
            f"{path}: shape {shape}; expected one slice or one 3-D volume; cut out the part needed"
        )
    if len(shape) == 2:
        shape = (*shape, 1)
    across, position = slice_axis(shape[:3], axes, index, path)
    check_size(math.prod(shape[:3]) // shape[across], MAX_PIXELS, "pixels", path)
    where: list[slice | int] = [slice(None)] * len(image.shape)
    if across < len(image.shape):
        where[across] = position
    for axis in range(3, len(image.shape)):
        where[axis] = 0
    try:
        plane = np.asarray(image.dataobj[tuple(where)], dtype=np.float32)
    except Exception as error:  # a truncated or corrupt stream shows only now
        raise CaseError(
            f"{path}: cannot be read ({first_line(error)}); copy or save the file again"
        ) from error
    first, second = (axes[axis] for axis in range(3) if axis != across)
    if first[1] < 0:
        plane = plane[::-1]
    if second[1] < 0:
        plane = plane[:, ::-1]
    if first[0] > second[0]:
        plane = plane.T
    return np.ascontiguousarray(plane[:, ::-1].T)


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


def check_size(count: int, limit: int, unit: str, path: Path) -> None:
    """Refuse what would fill the memory."""
    if count > limit:
        raise CaseError(
            f"{path}: {count} {unit}, at most {limit} are read; shrink it or cut out what is needed"
        )


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type's name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
