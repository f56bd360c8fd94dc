"""Image files as bytes, always the same for the same content: NIfTI on the grid of another, PNG, ``.npy``."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["nifti_bytes", "npy_bytes", "plain_nifti_bytes", "png_bytes", "to_grey16"]


def nifti_bytes(array: NDArray[Any], like: Any, about: str) -> bytes:
    """A .nii.gz of this array on the grid of ``like``, nibabel's image of the same shape: its affine, codes and units.

    about : at most 79 letters, into the header; texts and extensions of ``like``, which may name a person, are left out
    """
    header = like.header.copy()
    header.extensions.clear()
    header.set_data_offset(0)
    for name in ("data_type", "db_name", "aux_file", "intent_name"):
        if name in header:
            header[name] = b""
    return _packed(type(like), array.reshape(like.shape), like.affine, header, about)


def plain_nifti_bytes(image: NDArray[Any], about: str) -> bytes:
    """A .nii.gz of one axial slice [H, W], anterior on top: RAS, 1 x 1 x 1 mm, its middle at the origin."""
    import nibabel

    rows, columns = image.shape
    affine = np.eye(4)
    affine[:2, 3] = -(columns - 1) / 2, -(rows - 1) / 2
    stored = np.ascontiguousarray(image[::-1].T)[:, :, None]
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm")
    return _packed(nibabel.Nifti1Image, stored, affine, header, about)


def _packed(kind: Any, array: NDArray[Any], affine: NDArray[Any], header: Any, about: str) -> bytes:
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    header["descrip"] = about.encode("ascii", "replace")[:79]
    image = kind(array, affine, header)
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def png_bytes(image: NDArray[Any], text: Mapping[str, str] | None = None) -> bytes:
    """A grey PNG of uint8 or uint16 [H, W]; text : keywords and what they say, in the file."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info, buffer = PngInfo(), io.BytesIO()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def to_grey16(image: NDArray[np.float32], white: float) -> NDArray[np.uint16]:
    """Values >= 0 as uint16: 0 is 0 and ``white`` is 65535, in proportion, what is above is white as well."""
    scaled = np.clip(image.astype(np.float64) / white, 0, 1) * 65535
    return np.rint(scaled).astype(np.uint16)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """A .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
