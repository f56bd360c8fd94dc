"""Slices, maps and masks as small images in data addresses, outlines as paths."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from scipy.ndimage import distance_transform_edt
from skimage.measure import find_contours

from uadbench.reports.page.choice import Chosen
from uadbench.reports.page.held import arrays_of
from uadbench.reports.runs import Cell
from uadbench.reports.store import BoxEntry

__all__ = [
    "box_image",
    "box_path",
    "colour_range",
    "colour_tables",
    "colour_top",
    "grey_image",
    "map_image",
    "mask_image",
    "outline_path",
]

_WEBP = features.check("webp")


def colour_top(maps: Sequence[np.ndarray]) -> float:
    """Top of the colour scale that maps share: their 99.9th percentile, 1 if all are 0 or there is none."""
    top = float(np.percentile(np.concatenate([one.ravel() for one in maps]), 99.9)) if maps else 0.0
    return top if top > 0 else 1.0


def colour_range(cell: Cell, cases: Sequence[Chosen]) -> float:
    """Top of a cell's colour scale: the 99.9th percentile of its maps over the chosen cases, 1 if all are 0."""
    held = [arrays_of(cell, case.case_id) for case in cases]  # a failed case has none: the page says so
    maps = [arrays[0] for arrays in held if arrays is not None]
    return colour_top(maps)


def colour_tables(points: int = 32) -> list[str]:
    """The inferno colours as three tables for SVG's feComponentTransfer: red, green and blue."""
    colours = mpl.colormaps["inferno"](np.linspace(0, 1, points))[:, :3]
    return [" ".join(f"{value:.3f}" for value in column) for column in colours.T]


def grey_image(image: NDArray[Any]) -> str:
    """[H, W] in [0, 1] as a data address, slightly compressed."""
    return _encode(Image.fromarray(_bytes(image)), quality=84)


def map_image(anomaly: NDArray[Any], top: float) -> str:
    """[H, W] >= 0 as exact grey levels from 0 to ``top``, which the page colours and cuts."""
    return _encode(Image.fromarray(_bytes(anomaly / top)), lossless=True)


def mask_image(mask: NDArray[np.bool_]) -> str:
    """bool [H, W] as white on black."""
    return _address(Image.fromarray(mask), "PNG", optimize=True)


def outline_path(mask: NDArray[np.bool_]) -> str:
    """An SVG path in pixels around the regions of bool [H, W], half a pixel outside them; '' for an empty mask."""
    if not mask.any():
        return ""
    away = np.pad(distance_transform_edt(~np.pad(mask, 1)), 1, constant_values=3.0)
    lines = find_contours(
        away, 0.999
    )  # pixel centres are 0.5 from the mask's edge, so this is half a pixel outside
    shifted = [line[:-1, ::-1] - 1.5 for line in lines]  # from twice padded centres to the picture's corner
    return "".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in line) + "Z" for line in shifted)


def box_image(boxes: Sequence[BoxEntry], shape: tuple[int, ...]) -> str | None:
    """Boxes filled, as white on black; None without any."""
    if not boxes:
        return None
    inside = np.zeros(shape, dtype=bool)
    for _, top, left, bottom, right in boxes:
        inside[top:bottom, left:right] = True
    return mask_image(inside)


def box_path(boxes: Sequence[BoxEntry]) -> str:
    """An SVG path in pixels around each box, along its edges."""
    return "".join(f"M{left},{top}H{right}V{bottom}H{left}Z" for _, top, left, bottom, right in boxes)


def _bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    return np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)


def _encode(image: Image.Image, **options: Any) -> str:
    if _WEBP:
        return _address(image.convert("RGB"), "WEBP", method=4, **options)
    return _address(image, "PNG", optimize=True)


def _address(image: Image.Image, form: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
