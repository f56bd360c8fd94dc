"""The fractal noise kernel against the ``opensimplex`` package, whose noise it must reproduce."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import opensimplex
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uadbench.engine.kernels.simplex import simplex_fields

SEEDS = (0, 1, -1, 42, -5, 2**63 - 1, -(2**63), 987654321987654321)
FLOAT32_SUM = 2e-6  # some 50 float32 additions to values up to 2


def composed(
    seed: int,
    shape: tuple[int, int],
    octaves: int = 6,
    persistence: float = 0.8,
    frequency: float = 64.0,
    z: float = 0.0,
) -> np.ndarray:
    """The definition, in float64 by the package's array call: noise3array(x, y, z) is indexed [z, y, x]."""
    source = opensimplex.OpenSimplex(seed)
    field, f = np.zeros(shape), frequency
    for octave in range(octaves):
        x, y = np.arange(shape[1]) / f, np.arange(shape[0]) / f
        field += persistence**octave * source.noise3array(x, y, np.array([z / f]))[0]
        f /= 2.0
    return field


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_package_for_any_seed(seed):
    """The AnoDDPM field is the package's to float32 accuracy, for negative seeds and the ends of int64 too."""
    field = simplex_fields(np.array([seed]), (128, 128))[0]
    assert field.dtype == np.float32
    np.testing.assert_allclose(field, composed(seed, (128, 128)), rtol=0, atol=FLOAT32_SUM)


def test_x_is_the_column():
    """Pixel (row, column) is noise3(column / f, row / f, z / f), octave by octave, by the package's scalar call."""
    field = simplex_fields(np.array([11]), (9, 21), octaves=3, frequency=10.0, z=2.5)[0]
    source = opensimplex.OpenSimplex(11)
    for row, column in ((0, 20), (8, 0), (3, 17)):
        value = sum(0.8**o * source.noise3(*(v * 2**o / 10.0 for v in (column, row, 2.5))) for o in range(3))
        assert field[row, column] == pytest.approx(value, abs=FLOAT32_SUM)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    octaves=st.integers(1, 5),
    persistence=st.floats(0.1, 1.0),
    frequency=st.one_of(st.sampled_from([4.0, 8.0, 48.0, 64.0]), st.floats(4.0, 200.0)),
    z=st.one_of(st.integers(-300, 300).map(float), st.floats(-300.0, 300.0)),
)
def test_equals_the_package_on_any_plane_and_shape(seed, shape, octaves, persistence, frequency, z):
    """Shapes, wavelengths and planes are free; whole numbers, where pixels meet cell borders, are drawn often."""
    field = simplex_fields(
        np.array([seed]), shape, octaves=octaves, persistence=persistence, frequency=frequency, z=z
    )[0]
    expected = composed(seed, shape, octaves, persistence, frequency, z)
    np.testing.assert_allclose(field, expected, rtol=0, atol=FLOAT32_SUM)


@pytest.mark.parametrize("z", [0.0, 1.0, 64.0, 100.0, 249.0])
def test_what_the_published_tree_leaves_out_is_taken_off(z):
    """On whole planes ties are common; a wrong choice among tied corners would show as an error of 1e-5 to 1e-4."""
    for seed in (3, 4):
        field = simplex_fields(np.array([seed]), (128, 128), z=z)[0]
        assert np.abs(field - composed(seed, (128, 128), z=z)).max() < FLOAT32_SUM


def test_every_image_has_its_own_field():
    """A batch equals its seeds drawn one by one, bit for bit; different seeds give different fields."""
    seeds = np.array(SEEDS)
    batch = simplex_fields(seeds, (40, 56))
    assert batch.shape == (len(SEEDS), 40, 56)
    for seed, field in zip(SEEDS, batch, strict=True):
        assert np.array_equal(simplex_fields(np.array([seed]), (40, 56))[0], field)
    correlation = np.corrcoef(batch.reshape(len(SEEDS), -1))
    assert np.abs(correlation[~np.eye(len(SEEDS), dtype=bool)]).max() < 0.99


def test_threads_get_the_same_bits():
    """Fields drawn from several threads at once equal those drawn by one."""
    seeds = [np.arange(n, n + 4) for n in range(16)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda s: simplex_fields(s, (64, 64)), seeds))
    assert all(np.array_equal(d, simplex_fields(s, (64, 64))) for d, s in zip(drawn, seeds, strict=True))


@pytest.mark.parametrize("threads", [2, 5, 64])
def test_threads_that_share_the_seeds_change_no_bit(threads):
    seeds = np.arange(7)
    shared = simplex_fields(seeds, (40, 56), z=3.0, threads=threads)
    assert shared.tobytes() == simplex_fields(seeds, (40, 56), z=3.0).tobytes()


def test_a_field_has_the_bits_of_the_first_version():
    """Runs of before are taken up and compared: the kernel may become faster, but not round otherwise."""
    fields = simplex_fields(np.array([1, -7]), (61, 128), z=137.0)
    assert hashlib.sha256(fields.tobytes()).hexdigest()[:16] == "2bba4137aa39ce87"


def test_octaves_add_up():
    """Two octaves are the first plus persistence times the same noise at half the wavelength."""
    seeds = np.array([5, 6])
    both = simplex_fields(seeds, (33, 47), octaves=2, persistence=0.3, frequency=20.0, z=7.0)
    first = simplex_fields(seeds, (33, 47), octaves=1, frequency=20.0, z=7.0)
    second = simplex_fields(seeds, (33, 47), octaves=1, frequency=10.0, z=7.0)
    np.testing.assert_allclose(both, first + 0.3 * second, rtol=0, atol=FLOAT32_SUM)


def test_an_empty_batch_is_empty():
    """No seeds, no fields."""
    assert simplex_fields(np.zeros(0, dtype=np.int64), (8, 8)).shape == (0, 8, 8)


@pytest.mark.parametrize(
    ("seeds", "shape", "options", "message"),
    [
        (np.array([0.5]), (8, 8), {}, "int64"),
        (np.array([[1]]), (8, 8), {}, "int64"),
        (np.array([2**64 - 1], dtype=np.uint64), (8, 8), {}, "int64"),
        (np.array([1]), (0, 8), {}, "at least 1"),
        (np.array([1]), (8, 8), {"octaves": 0}, "at least 1"),
        (np.array([1]), (8, 8), {"frequency": -2.0}, "1/4 pixel"),
        (np.array([1]), (8, 8), {"octaves": 12}, "1/4 pixel"),
        (np.array([1]), (8, 8), {"z": float("nan")}, "finite"),
        (np.array([1]), (8, 8), {"frequency": float("inf")}, "finite"),
    ],
)
def test_wrong_arguments_are_named(seeds, shape, options, message):
    """Each wrong argument raises one clear line."""
    with pytest.raises(ValueError, match=message):
        simplex_fields(seeds, shape, **options)
