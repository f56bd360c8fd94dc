"""A user's file as slices, and what was found put back on its grid: pre-processing and reading, undone.

A result is [size, size], as methods see a slice. On the way back it is resized to the square that the slice was padded
to, the padding is cut off, and a NIfTI's slice is turned and laid where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import CaseError
from uadbench.datasets.orientation import turned, turned_back
from uadbench.datasets.preprocess import refuse_size, resize_area, resize_linear
from uadbench.datasets.readers import (
    IMAGE_SUFFIXES,
    MAX_BYTES,
    check_voxels,
    file_size,
    first_line,
    open_nifti,
    read_slice,
    slice_axis,
)

__all__ = ["Grid", "cut", "put", "read_grid", "read_pixels", "suffix_of", "to_native", "unit_to_grey"]


def to_native(image: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float32]:
    """[size, size] of any range -> float32 ``shape`` (rows, columns), the grid before it was padded.

    Resized as an image is on the way in: bilinear where it grows, the mean over the footprint where it shrinks. Pixel
    centres stay where they are, and where the sides are equal every value is kept to the bit.
    """
    side, wide = max(shape), np.asarray(image, dtype=np.float64)
    if side != len(wide):
        wide = resize_area(wide, side) if side < len(wide) else resize_linear(wide, side)
    row, column = (side - shape[0]) // 2, (side - shape[1]) // 2
    inside = wide[row : row + shape[0], column : column + shape[1]]
    return np.ascontiguousarray(inside, dtype=np.float32)


def unit_to_grey(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Values in [0, 1] on the scale of the file, where ``preprocess.grey_range`` gave (low, high)."""
    return np.asarray(low + image.astype(np.float64) * (high - low), dtype=np.float32)


@dataclass(frozen=True)
class Grid:
    """A file's array, before any pixel is read.

    shape : as stored; () for a PNG or .npy, which are known when they are read
    depth : slices in it, 1 for a file that is one
    header : nibabel's image, None for a PNG or .npy
    axes, across : of a NIfTI, see ``orientation.turned``
    """

    path: Path
    shape: tuple[int, ...] = ()
    depth: int = 1
    header: Any = None
    axes: NDArray[np.float64] | None = None
    across: int = 2

    @property
    def volume(self) -> bool:
        """Whether it holds several slices, of which some may be chosen."""
        return self.depth > 1


def suffix_of(path: Path) -> str:
    """'.png', '.npy', '.nii' or '.nii.gz' in small letters; CaseError for another kind of file."""
    name = path.name.lower()
    found = [suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix) and len(name) > len(suffix)]
    if not found:
        raise CaseError(f"{path}: unknown kind of file; use one of {', '.join(IMAGE_SUFFIXES)}")
    return max(found, key=len)


def read_grid(path: Path) -> Grid:
    """What a file holds, from its header alone; CaseError as ``readers.read_slice``."""
    suffix = suffix_of(path)
    if file_size(path, "correct the path") > MAX_BYTES:
        raise CaseError(f"{path}: more than {MAX_BYTES} bytes; cut out the part needed")
    if suffix in (".png", ".npy"):
        return Grid(path)
    header, axes = open_nifti(path)
    shape = tuple(int(n) for n in header.shape)
    check_voxels(shape, path)
    if len(shape) < 2 or min(shape) < 1 or any(n != 1 for n in shape[3:]):
        raise CaseError(
            f"{path}: shape {shape}; expected one slice or one 3-D volume; cut out the part needed"
        )
    volume = _three(shape)
    flat = sum(n == 1 for n in volume) == 1
    across, _ = slice_axis(volume, axes, None if flat else 0, path)
    refuse_size(tuple(n for axis, n in enumerate(volume) if axis != across), str(path))
    return Grid(path, shape, volume[across], header, axes, across)


def read_pixels(grid: Grid) -> NDArray[Any]:
    """All of a file, read once: [H, W] in its own number type, or of a NIfTI float32 of three axes, as stored."""
    if grid.header is None:
        return read_slice(grid.path)
    try:
        return np.asarray(grid.header.dataobj, dtype=np.float32).reshape(_three(grid.shape))
    except Exception as error:  # a truncated or corrupt stream shows only now
        raise CaseError(
            f"{grid.path}: cannot be read ({first_line(error)}); copy or save the file again"
        ) from error


def cut(grid: Grid, pixels: NDArray[Any], index: int) -> NDArray[Any]:
    """Slice ``index``, from 0 at the lowest, of what ``read_pixels`` gave: [H, W], what ``read_slice`` reads."""
    if grid.axes is None:
        return pixels
    return turned(pixels.take(_position(grid, index), axis=grid.across), grid.axes, grid.across)


def put(grid: Grid, stored: NDArray[Any], index: int, image: NDArray[Any]) -> None:
    """Lay an image [H, W] where ``cut`` takes it from, in an array of the form of ``read_pixels``."""
    if grid.axes is None:
        stored[...] = image
        return
    where: list[slice | int] = [slice(None)] * 3
    where[grid.across] = _position(grid, index)
    stored[tuple(where)] = turned_back(image, grid.axes, grid.across)


def _position(grid: Grid, index: int) -> int:
    """Along the array axis that is cut; CaseError outside of it."""
    assert grid.axes is not None
    if not grid.volume and index == 0:
        return 0
    if not 0 <= index < grid.depth:
        raise CaseError(f"{grid.path}: slice {index} is outside 0 to {grid.depth - 1}; name another")
    return index if grid.axes[grid.across, 1] > 0 else grid.depth - 1 - index


def _three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return (*shape, 1)[0], (*shape, 1)[1], (*shape, 1)[2]
