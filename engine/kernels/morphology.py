"""Grey morphology with a flat square, compiled with Numba; the values are those of ``scipy.ndimage`` exactly.

A maximum over n pixels is built by doubling: after the steps 1, 2, 4, ... every element holds the maximum of the next
1, 2, 4, ... and one last, overlapping step reaches n. That is ceil(log2 n) passes a direction, each a plain loop
y[t] = max(x[t], x[t + shift]) over the whole padded image, which compiles to SIMD code in both directions. The van
Herk / Gil-Werman recursion needs fewer comparisons, but they depend on one another along a row and stay scalar.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

__all__ = ["close", "dilate", "grey_closing", "grey_dilation", "grey_erosion"]

# cache: compiled code is kept as for kernels/simplex.py; nogil and no prange for the reasons given there.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True}


@njit("void(float32[::1], float32[::1], float32[::1], boolean)", **_OPTIONS)
def _pairwise(first, second, out, maximum):
    if maximum:
        for t in range(out.size):
            out[t] = first[t] if first[t] > second[t] else second[t]
    else:
        for t in range(out.size):
            out[t] = first[t] if first[t] < second[t] else second[t]


@njit("void(float32[:, :, ::1], float32[:, :, ::1], int64, int64, boolean)", **_OPTIONS)
def _extremum(source, target, size, before, maximum):
    """Extremum over rows and columns [i - before, i - before + size - 1], as far as they lie in the image.

    Leaving the outside out equals replicating the edge: a window that passes an edge holds the edge pixels themselves.
    """
    height, width = source.shape[1:]
    rows, columns = height + size - 1, width + size - 1
    outside = np.float32(-np.inf if maximum else np.inf)
    x = np.empty(rows * columns, dtype=np.float32)
    y = np.empty_like(x)  # two buffers, because a loop that writes where it reads is not vectorised
    for b in range(source.shape[0]):
        x[:] = outside
        for row in range(height):
            start = (row + before) * columns + before
            x[start : start + width] = source[b, row]
        n = (
            x.size
        )  # how much of x holds results; the last size - 1 columns mix with the next row and are not read
        for stride in (1, columns):
            reach = 1
            while reach < size:
                step = min(reach, size - reach)
                n -= step * stride
                _pairwise(x[:n], x[step * stride : step * stride + n], y[:n], maximum)
                x, y = y, x
                reach += step
        for row in range(height):
            target[b, row] = x[row * columns : row * columns + width]


def _checked(maps: np.ndarray, size: int) -> np.ndarray:
    maps = np.asarray(maps)
    if maps.dtype != np.float32 or maps.ndim != 3:
        raise ValueError(f"maps must be float32 [B, H, W], got {maps.dtype} {list(maps.shape)}")
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    if not np.isfinite(maps).all():
        raise ValueError(
            "maps hold NaN or infinite values; grey morphology is defined for finite values only"
        )
    return np.ascontiguousarray(maps)


def _dilated(maps: np.ndarray, size: int) -> np.ndarray:
    result = np.empty_like(maps)
    _extremum(maps, result, size, (size - 1) // 2, True)
    return result


def _eroded(maps: np.ndarray, size: int) -> np.ndarray:
    result = np.empty_like(maps)
    _extremum(maps, result, size, size // 2, False)
    return result


def grey_dilation(maps: np.ndarray, size: int) -> np.ndarray:
    """``scipy.ndimage.grey_dilation(m, size=(size, size), mode="nearest")`` of each map, float32 [B, H, W].

    The window of pixel i is [i - (size - 1) // 2, i + size // 2]; the map may be smaller than the window.
    A ValueError is raised for another dtype or rank, for size < 1 and for NaN or infinite values.
    """
    return _dilated(_checked(maps, size), size)


def grey_erosion(maps: np.ndarray, size: int) -> np.ndarray:
    """``scipy.ndimage.grey_erosion(m, size=(size, size), mode="nearest")`` of each map, float32 [B, H, W].

    The window of pixel i is [i - size // 2, i + (size - 1) // 2], the mirror image of the dilation's.
    Errors as for ``grey_dilation``.
    """
    return _eroded(_checked(maps, size), size)


def grey_closing(maps: np.ndarray, size: int) -> np.ndarray:
    """Dilation, then erosion: ``scipy.ndimage.grey_closing(m, size=(size, size), mode="nearest")`` of each map.

    float32 [B, H, W]. It fills dark gaps narrower than the square and lowers nothing. Errors as for ``grey_dilation``.
    """
    return _eroded(_dilated(_checked(maps, size), size), size)


def _as_maps(map: Tensor) -> np.ndarray:
    if map.ndim != 4 or map.shape[1] != 1:
        raise ValueError(f"map must be [B, 1, H, W], got {list(map.shape)}")
    return map.detach()[:, 0].cpu().numpy()


def dilate(map: Tensor, size: int) -> Tensor:
    """Grey dilation of a float32 map [B, 1, H, W] with a flat size x size square, edges replicated.

    Computed on the CPU and returned on the map's device; no gradient flows through it. Errors as ``grey_dilation``.
    """
    return torch.from_numpy(grey_dilation(_as_maps(map), size)).unsqueeze(1).to(map.device)


def close(map: Tensor, size: int) -> Tensor:
    """Grey closing of a float32 map [B, 1, H, W] with a flat size x size square, edges replicated.

    Computed on the CPU and returned on the map's device; no gradient flows through it. Errors as ``grey_dilation``.
    """
    return torch.from_numpy(grey_closing(_as_maps(map), size)).unsqueeze(1).to(map.device)
