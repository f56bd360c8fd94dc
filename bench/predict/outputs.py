"""One file's results on its own grid: the anomaly map, the reconstruction and, with a threshold, the mask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.predict.setup import Called
from uadbench.datasets.native import Grid, put, suffix_of, to_native, unit_to_grey
from uadbench.datasets.writers import nifti_bytes, npy_bytes, png_bytes, to_grey16
from uadbench.engine.post import without_small

__all__ = ["Found", "call_pixels", "encode", "native_of", "output_names"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """What came of one slice.

    anomaly : float32 [size, size] >= 0; reconstruction : float32 [size, size] in [0, 1]
    shape : of the slice in the file; low, high : what became 0 and 1
    """

    index: int
    anomaly: Floats
    reconstruction: Floats
    shape: tuple[int, int]
    low: float
    high: float


def output_names(name: str, suffix: str, called: Called) -> dict[str, str]:
    """Kind of result -> its file below the output folder: the input's name with _anomaly and so on."""
    ending = ".nii.gz" if suffix.startswith(".nii") else suffix
    kinds = ("anomaly", "reconstruction") + (("mask",) if called.threshold is not None else ())
    return {kind: f"{name}_{kind}{ending}" for kind in kinds}


def call_pixels(anomaly: Floats, called: Called) -> NDArray[np.bool_]:
    """The pixels of a map [size, size] above the threshold, small components left out; needs a threshold."""
    assert called.threshold is not None
    return without_small(anomaly > np.float32(called.threshold), called.component_px)


def native_of(
    grid: Grid, found: list[Found], pixels: NDArray[Any], called: Called
) -> dict[str, NDArray[Any]]:
    """Kind -> array of the form of ``pixels``, what ``read_pixels`` gave; slices that were not computed are 0.

    The mask is found at [size, size], as runs score it; a pixel of the file is in it where the mask, brought to the
    file's grid like the map, is at least one half.
    """
    kinds = output_names("", suffix_of(grid.path), called)
    result: dict[str, NDArray[Any]] = {
        kind: np.zeros(pixels.shape, np.uint8 if kind == "mask" else np.float32) for kind in kinds
    }
    for one in found:
        put(grid, result["anomaly"], one.index, to_native(one.anomaly, one.shape))
        inside = to_native(one.reconstruction, one.shape)
        put(grid, result["reconstruction"], one.index, unit_to_grey(inside, one.low, one.high))
        if "mask" in result:
            mask = to_native(call_pixels(one.anomaly, called).astype(np.float32), one.shape)
            put(grid, result["mask"], one.index, mask >= 0.5)
    return result


def encode(grid: Grid, kind: str, array: NDArray[Any], dtype: np.dtype[Any], white: float) -> bytes:
    """The bytes of one result's file, of the kind of the input.

    dtype : of the input's pixels, which a PNG's reconstruction keeps; white : the map's value that is white in a PNG
    """
    suffix = suffix_of(grid.path)
    if suffix == ".npy":
        return npy_bytes(array)
    if suffix != ".png":
        return nifti_bytes(array, grid.header, f"uadbench {kind}")
    if kind == "anomaly":
        return png_bytes(to_grey16(array, white), {"uadbench:white": f"{white:.9g}"})
    if kind == "mask":
        return png_bytes(array * np.uint8(255))
    whole: Mapping[str, Any] = {"u1": np.uint8, "b1": np.uint8}
    target = whole.get(dtype.str[1:], np.uint16)
    return png_bytes(np.clip(np.rint(array), 0, np.iinfo(target).max).astype(target))
