"""Grey morphology with a flat square, compiled with Numba; the values are those of ``scipy.ndimage`` exactly.

A maximum over n pixels is built by growing windows: after the passes every element holds the maximum of the next
1, 4, 16, ... and the last pass, whose windows overlap, reaches n: two passes a direction for the 13 x 13 square of the
methods. A pass is x[t] = max(x[t], x[t + a], x[t + b], x[t + c]) in blocks of 16 elements, in place: what later blocks
read has not been written yet. A shift is an element along rows, a row along columns. The van Herk / Gil-Werman
recursion needs fewer comparisons, but along a row they depend on one another and stay scalar.

Windows begin at the element whose place their extremum takes, so a dilation moves the image up and to the left by
(size - 1) // 2 and an erosion by size // 2, and the buffer is laid out such that passes down columns are aligned. A
closing and a dilation of 128 x 128 pixels take some 40 microseconds; ``tests/benchmarks/test_kernels_speed.py`` holds
them against OpenCV and SciPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from uadbench.engine.kernels.shares import in_shares

__all__ = ["close", "dilate", "grey_closing", "grey_dilation", "grey_erosion"]

_LEAST = 8  # maps of 128 x 128 that are worth a thread of their own
_LANES = 16  # in a block: a vector of AVX-512; the compiler makes several of it where vectors are shorter

# cache: compiled code is kept as for kernels/simplex.py; nogil and no prange for the reasons given there.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True}


def _place(context, builder, flat, array, index):
    """Pointer to the _LANES elements of a float32 array from ``index`` on."""
    data = context.make_array(flat)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(ir.FloatType(), _LANES).as_pointer())


def _of_four(comparison: str) -> Any:
    """Code of f(flat, t, a, b, c): flat[t + n] = the extremum of flat at t + n, t + a + n, t + b + n and t + c + n.

    For n < _LANES. Written as LLVM vectors, because Numba cannot know that a loop over overlapping windows of one array
    may be vectorised; into a second array it would move twice the memory.
    """

    def code(typingctx, flat, t, a, b, c):
        signature = types.void(flat, *[types.int64] * 4)

        def codegen(context, builder, signature, args):
            array, own, *shifts = args

            def load(index):
                return builder.load(_place(context, builder, signature.args[0], array, index), align=4)

            def pick(first, second):
                return builder.select(builder.fcmp_ordered(comparison, first, second), first, second)

            first, second, third = (load(builder.add(own, shift)) for shift in shifts)
            result = pick(pick(load(own), first), pick(second, third))
            builder.store(result, _place(context, builder, signature.args[0], array, own), align=4)
            return context.get_dummy_value()

        return signature, codegen

    return intrinsic(code)


def _set_code(typingctx, flat, t, value):
    """Code of _set_block(flat, t, value): flat[t + n] = value for n < _LANES."""
    signature = types.void(flat, types.int64, types.float32)

    def codegen(context, builder, signature, args):
        array, t, value = args
        zeros = ir.Constant(ir.VectorType(ir.FloatType(), _LANES), [0.0] * _LANES)
        picks = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        first = builder.insert_element(zeros, value, ir.Constant(ir.IntType(32), 0))
        filled = builder.shuffle_vector(first, zeros, picks)
        builder.store(filled, _place(context, builder, signature.args[0], array, t), align=4)
        return context.get_dummy_value()

    return signature, codegen


_max_of_four, _min_of_four = _of_four(">"), _of_four("<")
_set_block: Any = intrinsic(_set_code)


@njit("void(float32[::1], i8, i8, i8, i8, float32)", **_OPTIONS)
def _fill(x, first, rows, columns, stride, value):
    """Set rows x columns elements from ``first`` on, and up to _LANES - 1 behind each row."""
    for start in range(first, first + rows * stride, stride):
        for t in range(start, start + columns, _LANES):
            _set_block(x, t, value)


@njit("void(float32[::1], i8, i8, i8, i8, i8, boolean, boolean)", **_OPTIONS)
def _windows(x, first, rows, columns, stride, size, down, maximum):
    """In place, rows x columns elements from ``first`` on become the extrema of the windows that begin there.

    A window is ``size`` elements down or to the right. Up to size - 1 + _LANES elements behind are written, too.
    """
    reach = 1
    while reach < size:
        grown = min(4 * reach, size)
        step, rest, last = stride if down else 1, size - grown, grown - reach
        a, b, c = step * min(reach, last), step * min(2 * reach, last), step * last
        count, width = (rows + rest, columns) if down else (rows, columns + rest)
        for start in range(first, first + count * stride, stride):
            if maximum:
                for t in range(start, start + width, _LANES):
                    _max_of_four(x, t, a, b, c)
            else:
                for t in range(start, start + width, _LANES):
                    _min_of_four(x, t, a, b, c)
        reach = grown


@njit("boolean(float32[:, :, ::1], float32[:, :, ::1], i8, boolean, boolean)", **_OPTIONS)
def _morph(source, target, size, dilating, eroding):
    """Dilate, erode, or one after the other; returns whether all values are finite, else the target is worth nothing.

    The window of pixel i is [i - (size - 1) // 2, i + size // 2] for a dilation, its mirror image for an erosion, as
    far as it lies in the image: leaving the outside out equals replicating the edge, for a window that passes an edge
    holds the edge pixels themselves.
    """
    height, width = source.shape[1:]
    before, after = (size - 1) // 2, size // 2
    lowest, highest = np.float32(-np.inf), np.float32(np.inf)
    left = -(-after // _LANES) * _LANES  # column of what has been dilated, aligned; its row is ``after``
    stride = left + -(-(width + size - 1) // _LANES) * _LANES
    memory = np.empty((after + height + size) * stride + _LANES, dtype=np.float32)
    x = memory[-(memory.ctypes.data // 4) % _LANES :]
    dilated = after * stride + left
    given = dilated + before * (stride + 1) if dilating else dilated
    found = dilated - after * (stride + 1) if eroding else dilated
    bits, magnitude, infinity = source.view(np.int32), np.int32(0x7FFFFFFF), np.int32(0x7F800000)
    largest = np.int32(
        0
    )  # as integers the magnitudes of floats have the same order, and NaN is above infinity
    for b in range(source.shape[0]):
        if dilating:
            _fill(x, dilated, before, width, stride, lowest)
            _fill(x, given - before, height, before, stride, lowest)
        for row in range(height):
            start = np.uint64(
                given + row * stride
            )  # unsigned: no test for a negative index, so it is vectorised
            for column in range(width):
                x[start + np.uint64(column)] = source[b, row, column]
                largest = max(largest, bits[b, row, column] & magnitude)
        if dilating:
            _fill(x, given + width, height, after, stride, lowest)
            _windows(x, given - before, height, width, stride, size, False, True)
            _fill(x, dilated + (before + height) * stride, after, width, stride, lowest)
            _windows(x, dilated, height, width, stride, size, True, True)
        if eroding:
            _fill(x, left, after, width, stride, highest)
            _fill(x, dilated + height * stride, before, width, stride, highest)
            _windows(x, left, height, width, stride, size, True, False)
            _fill(x, 0, height, left, stride, highest)
            _fill(x, left + width, height, before, stride, highest)
            _windows(x, found, height, width, stride, size, False, False)
        for row in range(height):
            start = np.uint64(found + row * stride)
            for column in range(width):
                target[b, row, column] = x[start + np.uint64(column)]
    return largest < infinity


def _checked(maps: np.ndarray, size: int) -> np.ndarray:
    maps = np.asarray(maps)
    if maps.dtype != np.float32 or maps.ndim != 3:
        raise ValueError(f"maps must be float32 [B, H, W], got {maps.dtype} {list(maps.shape)}")
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    return np.ascontiguousarray(maps)


def _morphed(maps: np.ndarray, size: int, dilating: bool, eroding: bool, threads: int) -> np.ndarray:
    maps = _checked(maps, size)
    result = np.empty_like(maps)

    def morph(share: slice) -> None:
        if not _morph(maps[share], result[share], size, dilating, eroding):
            raise ValueError(
                "maps hold NaN or infinite values; grey morphology is defined for finite values only"
            )

    in_shares(morph, len(maps), threads, _LEAST)
    return result


def grey_dilation(maps: np.ndarray, size: int, threads: int = 1) -> np.ndarray:
    """``scipy.ndimage.grey_dilation(m, size=(size, size), mode="nearest")`` of each map, float32 [B, H, W].

    The window of pixel i is [i - (size - 1) // 2, i + size // 2]; the map may be smaller than the window.
    threads : that share the maps
    A ValueError is raised for another dtype or rank, for size < 1 and for NaN or infinite values.
    """
    return _morphed(maps, size, True, False, threads)


def grey_erosion(maps: np.ndarray, size: int, threads: int = 1) -> np.ndarray:
    """``scipy.ndimage.grey_erosion(m, size=(size, size), mode="nearest")`` of each map, float32 [B, H, W].

    The window of pixel i is [i - size // 2, i + (size - 1) // 2], the mirror image of the dilation's.
    Errors as for ``grey_dilation``.
    """
    return _morphed(maps, size, False, True, threads)


def grey_closing(maps: np.ndarray, size: int, threads: int = 1) -> np.ndarray:
    """Dilation, then erosion: ``scipy.ndimage.grey_closing(m, size=(size, size), mode="nearest")`` of each map.

    float32 [B, H, W]. It fills dark gaps narrower than the square and lowers nothing. Errors as for ``grey_dilation``.
    """
    return _morphed(maps, size, True, True, threads)


def _as_maps(map: Tensor) -> np.ndarray:
    if map.ndim != 4 or map.shape[1] != 1:
        raise ValueError(f"map must be [B, 1, H, W], got {list(map.shape)}")
    return map.detach()[:, 0].cpu().numpy()


def dilate(map: Tensor, size: int) -> Tensor:
    """Grey dilation of a float32 map [B, 1, H, W] with a flat size x size square, edges replicated.

    Computed on the CPU, on one thread (docs/targets.md has the times), and returned on the map's device; no gradient
    flows through it. Errors as ``grey_dilation``.
    """
    return torch.from_numpy(grey_dilation(_as_maps(map), size)).unsqueeze(1).to(map.device)


def close(map: Tensor, size: int) -> Tensor:
    """Grey closing of a float32 map [B, 1, H, W] with a flat size x size square, edges replicated.

    Computed on the CPU, on one thread (docs/targets.md has the times), and returned on the map's device; no gradient
    flows through it. Errors as ``grey_dilation``.
    """
    return torch.from_numpy(grey_closing(_as_maps(map), size)).unsqueeze(1).to(map.device)
