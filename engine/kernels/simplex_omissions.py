"""Where the published simplex noise leaves out a lattice point that reaches the pixel, see ``simplex``."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

__all__ = ["NORM", "omissions"]

NORM = 103.0
"""Scales the sum over lattice points to about [-1, 1]."""

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}  # as in ``simplex``


@njit("i8(i8, i8, i8, f8, f8, f8, int32[:, ::1], float32[:, ::1])", **_OPTIONS)
def _list_omissions(height, width, stride, frequency, z, amplitude, where, weights):
    """List what the published decision tree leaves out, and return how many entries there are.

    where : element of the flat field; i, j, k of p modulo 256. weights : -amplitude * kernel * (q - p) / 103.
    The choice of the two nearest corners repeats the published arithmetic operation for operation, because on a pixel
    grid ties are common and it is rounding that settles them.
    """
    count = 0
    for row in range(height):
        y = row / frequency
        for column in range(width):
            x = column / frequency
            stretch = (x + y + z) * (-1.0 / 6)
            xs, ys, zs = x + stretch, y + stretch, z + stretch
            i, j, k = math.floor(xs), math.floor(ys), math.floor(zs)
            u, v, w = xs - i, ys - j, zs - k
            total = u + v + w
            if 1.0 < total < 2.0:
                continue  # an octahedron: nothing is left out
            # Corner 3 of the tetrahedron is (0, 0, 0) or (1, 1, 1), corners 0..2 are its neighbours along the axes.
            if total <= 1.0:
                sign, base, rest, l0, l1, l2, l3 = 1, 0, 1.0 - total, u, v, w, 1.0 - total
            else:
                sign, base, rest, l0, l1, l2, l3 = -1, 1, total - 3.0, 1.0 - u, 1.0 - v, 1.0 - w, total - 2.0
            high0, low0, high1, low1 = max(l0, l1), min(l0, l1), max(l2, l3), min(l2, l3)
            largest, smallest = max(high0, high1), min(low0, low1)
            third_largest = min(min(high0, high1), max(low0, low1))
            squares = l0 * l0 + l1 * l1 + l2 * l2 + l3 * l3
            if 2.0 * (largest + third_largest - smallest) - 1.0 - squares < -1e-6:
                continue  # most pixels end here; the rest is decided with care
            # The two nearest corners, a and b, are found by the original's comparisons, whose ties depend on rounding.
            a, a_score, b, b_score, w_score = 0, sign * u, 1, sign * v, sign * w
            if a_score >= b_score and w_score > b_score:
                b, b_score = 2, w_score
            elif a_score < b_score and w_score > a_score:
                a, a_score = 2, w_score
            if rest > a_score or rest > b_score:
                a, b = (b if b_score > a_score else a), 3
            corner = (l0, l1, l2, l3)
            first = a if corner[a] >= corner[b] else b
            # of the other two corners, the nearer and the farther
            third, fourth = -1, -1
            for n in range(4):
                if n != a and n != b:
                    if third < 0 or corner[n] > corner[third]:
                        third, fourth = n, third
                    else:
                        fourth = n
            # p = v_first + v_third - v_fourth, as steps along the axes away from corner 3
            pi = i + base + sign * ((first == 0) + (third == 0) - (fourth == 0))
            pj = j + base + sign * ((first == 1) + (third == 1) - (fourth == 1))
            pk = k + base + sign * ((first == 2) + (third == 2) - (fourth == 2))
            squish = (pi + pj + pk) / 3.0
            dx, dy, dz = x - (pi + squish), y - (pj + squish), z - (pk + squish)
            kernel = max(2.0 - dx * dx - dy * dy - dz * dz, 0.0)
            factor = -amplitude / NORM * kernel**4
            where[count, 0] = row * stride + column
            where[count, 1], where[count, 2], where[count, 3] = pi & 255, pj & 255, pk & 255
            weights[count, 0], weights[count, 1], weights[count, 2] = factor * dx, factor * dy, factor * dz
            count += 1
    return count


@lru_cache(maxsize=1024)  # a chain visits one plane a level
def omissions(
    height: int, width: int, stride: int, octaves: int, persistence: float, frequency: float, z: float
) -> tuple[np.ndarray, np.ndarray]:
    """What is to be taken off all fields of one geometry: int32 [N, 4] and float32 [N, 3], all octaves together.

    As ``_list_omissions`` writes them, for a flat field [height, stride]; the other arguments are ``simplex_fields``'s.
    """
    where = np.empty((height * width, 4), dtype=np.int32)
    weights = np.empty((height * width, 3), dtype=np.float32)
    parts = []
    f, amplitude = frequency, 1.0
    for _ in range(octaves):
        n = _list_omissions(height, width, stride, f, z / f, amplitude, where, weights)
        parts.append((where[:n].copy(), weights[:n].copy()))
        f /= 2.0
        amplitude *= persistence
    return np.concatenate([e for e, _ in parts]), np.concatenate([w for _, w in parts])
