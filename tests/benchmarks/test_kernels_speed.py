"""Speed of the compiled kernels against the libraries they replace: ``pytest -m benchmark -s``; nothing is asserted.

The two sides of a comparison are run in turn in one process, so that a busy machine slows both; the ratio is taken pair
by pair, and its median and quartiles are printed. ``python FILE`` prints the comparisons alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
import opensimplex
import pytest
from scipy import ndimage

from uadbench.engine.kernels.morphology import grey_closing, grey_dilation
from uadbench.engine.kernels.simplex import simplex_fields

SHAPE = (128, 128)
SIZE = 13


def our_fields(batch: int) -> np.ndarray:
    return simplex_fields(np.arange(batch), SHAPE)


def package_fields(batch: int) -> np.ndarray:
    fields = np.zeros((batch, *SHAPE))
    for seed in range(batch):
        source, f, amplitude = opensimplex.OpenSimplex(seed), 64.0, 1.0
        for _ in range(6):
            x, y = np.arange(SHAPE[1]) / f, np.arange(SHAPE[0]) / f
            fields[seed] += amplitude * source.noise3array(x, y, np.zeros(1))[0]
            f, amplitude = f / 2.0, amplitude * 0.8
    return fields


def our_morphology(maps: np.ndarray) -> np.ndarray:
    return grey_dilation(grey_closing(maps, SIZE), SIZE)


def scipy_morphology(maps: np.ndarray) -> np.ndarray:
    size = (SIZE, SIZE)
    closed = [ndimage.grey_closing(m, size=size, mode="nearest") for m in maps]
    return np.stack([ndimage.grey_dilation(m, size=size, mode="nearest") for m in closed])


def compare(
    title: str, ours: Callable[[], object], theirs: Callable[[], object], per: int, rounds: int
) -> float:
    """Time both in turn, print milliseconds per item and the ratio's quartiles, return the ratio's median."""
    ours(), theirs()  # compile, and fill caches
    seconds = np.empty((rounds, 2))
    for n in range(rounds):
        order = (0, 1) if n % 2 == 0 else (1, 0)
        for side in order:
            start = perf_counter()
            (ours, theirs)[side]()
            seconds[n, side] = perf_counter() - start
    low, middle, high = np.quantile(seconds[:, 1] / seconds[:, 0], (0.25, 0.5, 0.75))
    own, other = np.median(seconds, axis=0) * 1e3 / per
    own_best, other_best = seconds.min(axis=0) * 1e3 / per
    print(
        f"{title}: median {own:.3f} against {other:.3f} ms, best {own_best:.3f} against {other_best:.3f} ms, "
        f"ratio {middle:.1f} (quartiles {low:.1f} to {high:.1f})"
    )
    return float(middle)


def comparisons() -> None:
    for batch in (1, 8):
        maps = np.random.default_rng(0).random((batch, *SHAPE), dtype=np.float32)
        compare(
            f"6-octave field, batch {batch}, opensimplex.noise3array",
            partial(our_fields, batch),
            partial(package_fields, batch),
            batch,
            21,
        )
        compare(
            f"13 x 13 closing + dilation, batch {batch}, scipy.ndimage",
            partial(our_morphology, maps),
            partial(scipy_morphology, maps),
            batch,
            41,
        )


@pytest.mark.benchmark
def test_ratios(capsys):
    """Prints both sides and their ratio."""
    with capsys.disabled():
        print()
        comparisons()


@pytest.mark.benchmark
@pytest.mark.parametrize("batch", [1, 8])
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
@pytest.mark.parametrize("batch", [1, 8])
def test_morphology(benchmark, batch):
    """Our 13 x 13 closing and dilation."""
    maps = np.random.default_rng(0).random((batch, *SHAPE), dtype=np.float32)
    assert benchmark(our_morphology, maps).shape == maps.shape


if __name__ == "__main__":
    comparisons()
