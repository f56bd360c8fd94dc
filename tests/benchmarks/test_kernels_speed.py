"""Speed of kernels and of the perceptual net against rivals: ``pytest -n 0 -m benchmark``; nothing is asserted.

The sides of a comparison are run in turn in one process, so that a busy machine slows both; the ratio is taken pair by
pair, and its median and quartiles are printed. ``python FILE [TABLE.csv]`` prints the comparisons alone, with as many
threads as OMP_NUM_THREADS says, and writes them down. OpenCV is a rival where it
is installed (``pip install opencv-python-headless``: its 61 MB are why it is not among the extras).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import opensimplex
import pytest
import torch
from numba import njit
from rivals import compare, write
from scipy import ndimage

from uadbench.engine.kernels import simplex
from uadbench.engine.kernels.morphology import grey_closing, grey_dilation
from uadbench.engine.kernels.simplex import simplex_fields
from uadbench.engine.perceptual.distance import open_squeeze

SHAPE = (128, 128)
SIZE = 13
NO_OPENCV = "OpenCV is not installed, so it is no rival here: `pip install opencv-python-headless`"


def our_fields(batch: int, threads: int = 1) -> np.ndarray:
    return simplex_fields(np.arange(batch), SHAPE, threads=threads)


def package_fields(batch: int) -> np.ndarray:
    fields = np.zeros((batch, *SHAPE))
    for seed in range(batch):
        source, f, amplitude = opensimplex.OpenSimplex(seed), 64.0, 1.0
        for _ in range(6):
            x, y = np.arange(SHAPE[1]) / f, np.arange(SHAPE[0]) / f
            fields[seed] += amplitude * source.noise3array(x, y, np.zeros(1))[0]
            f, amplitude = f / 2.0, amplitude * 0.8
    return fields


def our_morphology(maps: np.ndarray, threads: int = 1) -> np.ndarray:
    return grey_dilation(grey_closing(maps, SIZE, threads), SIZE, threads)


def scipy_morphology(maps: np.ndarray) -> np.ndarray:
    size = (SIZE, SIZE)
    closed = [ndimage.grey_closing(m, size=size, mode="nearest") for m in maps]
    return np.stack([ndimage.grey_dilation(m, size=size, mode="nearest") for m in closed])


def opencv_morphology(cv2: Any, maps: np.ndarray) -> np.ndarray:
    square = np.ones((SIZE, SIZE), dtype=np.uint8)
    return np.stack([cv2.dilate(cv2.morphologyEx(m, cv2.MORPH_CLOSE, square), square) for m in maps])


def perceptual_maps(batch: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The shipped net's map of a pair, as it is (channels last) and with channels first."""
    net = open_squeeze("brain-squeeze")
    first = replace(net, net=deepcopy(net.net).to(memory_format=torch.contiguous_format))  # type: ignore[call-overload]
    x, x_rec = (2 * torch.from_numpy(maps_of(2 * batch)).unsqueeze(1) - 1).split(batch)
    return partial(net.against(x), x_rec), partial(first.against(x), x_rec)


@njit
def plain_blocks(flat, starts, c, dx, dx_half, step, gx, h):
    for start in starts:
        for first, offset in ((0, dx), (8, dx_half)):
            for n in range(8):
                d = offset + np.float32(n) * step
                a = max(c - d * d, np.float32(0))
                flat[start + first + n] += a * a * (a * a) * (gx * d + h)


@njit
def vector_blocks(flat, starts, c, dx, dx_half, step, gx, h):
    for start in starts:
        simplex._add_16(flat, start, c, dx, dx_half, step, gx, h)


def maps_of(batch: int) -> np.ndarray:
    return np.random.default_rng(0).random((batch, *SHAPE), dtype=np.float32)


def keep_memory() -> None:
    """Have glibc keep freed arrays of these sizes, as it does in a run, whose larger ones have raised its limits.

    Else a fresh process asks for the pages of each result anew, on either side, and it is the kernel that is measured.
    """
    try:
        ctypes.CDLL(None).mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        ctypes.CDLL(None).mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass  # another C library, with limits of its own


def comparisons() -> list[dict[str, str]]:
    """All of them; batches of 16 also by all threads, the rivals as they are (OpenCV with as many)."""
    keep_memory()
    cores = torch.get_num_threads()
    try:
        import cv2
    except ImportError:
        cv2 = None
        print(NO_OPENCV)
    table = []
    for batch, threads in dict.fromkeys(((1, 1), (16, 1), (16, cores))):
        what, maps = f"{batch} of 128 x 128, {threads} threads", maps_of(batch)
        fields, package = partial(our_fields, batch, threads), partial(package_fields, batch)
        table.append(compare(f"6-octave field, {what}", "opensimplex.noise3array", fields, package, 15))
        ours, name = partial(our_morphology, maps, threads), f"13 x 13 closing + dilation, {what}"
        table.append(compare(name, "scipy.ndimage", ours, partial(scipy_morphology, maps), 31))
        if cv2 is not None:
            cv2.setNumThreads(threads)
            table.append(compare(name, "OpenCV", ours, partial(opencv_morphology, cv2, maps), 61))
    for batch in (1, 4):
        work = f"perceptual map, {batch} of 128 x 128, {cores} threads"
        table.append(compare(work, "channels first", *perceptual_maps(batch), 61))
    flat, starts = np.zeros(128 * 144, dtype=np.float32), np.arange(0, 128 * 128, 19)
    values = [np.float32(v) for v in (1.5, -0.3, 0.2, 0.0625, 4.0, 1.0)]
    vectors, loops = (partial(f, flat, starts, *values) for f in (vector_blocks, plain_blocks))
    table.append(compare("a block of 16 columns as LLVM vectors", "Numba's loop", vectors, loops, 61))
    return table


@pytest.mark.benchmark
def test_ratios(capsys):
    """Prints both sides and their ratio."""
    with capsys.disabled():
        print()
        comparisons()


@pytest.mark.benchmark
def test_opencv_gives_the_same_maps():
    """The rival does the same work: without that its time would say nothing."""
    cv2 = pytest.importorskip("cv2", reason=NO_OPENCV)
    maps = maps_of(2)
    assert np.array_equal(opencv_morphology(cv2, maps), our_morphology(maps))


@pytest.mark.benchmark
@pytest.mark.parametrize("batch", [1, 16])
def test_field(benchmark, batch):
    """Our 128 x 128 fields of 6 octaves."""
    our_fields(batch)
    assert benchmark(our_fields, batch).shape == (batch, *SHAPE)


@pytest.mark.benchmark
def test_new_plane(benchmark):
    """One field on a plane not seen before: the list of left-out points is made anew."""
    planes = iter(range(1, 100_000))
    fields = benchmark(lambda: simplex_fields(np.array([1]), SHAPE, z=next(planes) / 7.0))
    assert fields.shape == (1, *SHAPE)


@pytest.mark.benchmark
@pytest.mark.parametrize("batch", [1, 16])
def test_morphology(benchmark, batch):
    """Our 13 x 13 closing and dilation."""
    maps = maps_of(batch)
    assert benchmark(our_morphology, maps).shape == maps.shape


if __name__ == "__main__":
    write(comparisons(), sys.argv[1:])
