"""Smooth random fields and deformations on a square grid, drawn from a given generator.

No BLAS and no threads are used, so the same generator gives the same bytes whatever the thread settings.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "affine_grid", "case_rng", "smooth_field"]

Floats = NDArray[np.floating]


def case_rng(*key: object) -> np.random.Generator:
    """A Philox generator keyed by the sha256 of ``key`` alone: never by order, count or process."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


@cache
def _spline(size: int, nodes: int) -> tuple[NDArray[np.intp], NDArray[np.float64], float]:
    """Uniform cubic B-splines with ``nodes`` knot intervals over ``size`` pixels.

    First of the four coefficients under each pixel [size], their weights [4, size, 1], mean sum of squares.
    """
    position = (np.arange(size) + 0.5) * nodes / size
    first = np.floor(position).astype(np.intp)
    u = position - first
    weights = np.stack([(1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3]) / 6
    return first, weights[:, :, None], float(np.mean(np.sum(weights**2, axis=0)))


def _along_rows(
    coefficients: NDArray[np.float64], size: int, nodes: int
) -> tuple[NDArray[np.float64], float]:
    first, weights, power = _spline(size, nodes)
    field = weights[0] * coefficients[first]
    for tap in (1, 2, 3):
        field += weights[tap] * coefficients[first + tap]
    return field, power


def smooth_field(
    rng: np.random.Generator, size: int, nodes: int, col_nodes: int | None = None
) -> NDArray[np.float64]:
    """A smooth Gaussian field [size, size] of mean 0 and variance 1, correlated over about size / nodes pixels.

    col_nodes : another number of nodes along the columns
    """
    col_nodes = nodes if col_nodes is None else col_nodes
    coefficients = rng.standard_normal((nodes + 3, col_nodes + 3))
    columns, col_power = _along_rows(np.ascontiguousarray(coefficients.T), size, col_nodes)
    field, row_power = _along_rows(np.ascontiguousarray(columns.T), size, nodes)
    return field / (row_power * col_power) ** 0.5


def affine_grid(
    size: int, scale: tuple[float, float], angle: float, shift: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Sampling coordinates (rows, columns), each [size, size] in pixels, of an affine map about the centre.

    scale : magnification of the content along rows and columns
    angle : rotation of the content in radians
    shift : displacement of the content in pixels (rows, columns)
    """
    centre = (size - 1) / 2
    row, col = np.meshgrid(np.arange(size) - centre, np.arange(size) - centre, indexing="ij")
    row, col = row - shift[0], col - shift[1]
    cos, sin = np.cos(angle), np.sin(angle)
    return (cos * row - sin * col) / scale[0] + centre, (sin * row + cos * col) / scale[1] + centre
