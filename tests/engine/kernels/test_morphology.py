"""Grey morphology against ``scipy.ndimage``, value for value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from uadbench.engine.kernels import morphology
from uadbench.engine.kernels.morphology import close, dilate, grey_closing, grey_dilation, grey_erosion

PAIRS = (
    (grey_dilation, ndimage.grey_dilation),
    (grey_erosion, ndimage.grey_erosion),
    (grey_closing, ndimage.grey_closing),
)


def by_scipy(operation, maps: np.ndarray, size: int) -> np.ndarray:
    return np.stack([operation(m, size=(size, size), mode="nearest") for m in maps])


@pytest.mark.parametrize("size", [*range(1, 18), 33, 40])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_equals_scipy_for_every_size(ours, theirs, size):
    """Odd and even windows, maps of the working size and maps smaller than the window."""
    rng = np.random.default_rng(size)
    for shape in ((2, 128, 128), (2, 5, 40), (3, 4, 3), (1, 1, 1), (1, 1, 9)):
        maps = rng.standard_normal(shape).astype(np.float32)
        assert np.array_equal(ours(maps, size), by_scipy(theirs, maps, size))


@settings(max_examples=60, deadline=None)
@given(
    maps=arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=20),
        # adding 0 makes -0 to 0: which zero a maximum of both returns is not defined
        elements=st.floats(-(2.0**100), 2.0**100, width=32).map(lambda v: v + 0.0),
    ),
    size=st.integers(1, 13),
)
def test_equals_scipy_bit_for_bit(maps, size):
    """Any finite map, any shape, any size from 1 to 13."""
    for ours, theirs in PAIRS:
        assert ours(maps, size).tobytes() == by_scipy(theirs, maps, size).tobytes()


def test_a_point_grows_to_the_square():
    """Dilation turns one bright pixel into a size x size square around it; erosion removes it."""
    maps = np.zeros((1, 31, 31), dtype=np.float32)
    maps[0, 15, 12] = 1.0
    square = np.zeros_like(maps)
    square[0, 9:22, 6:19] = 1.0
    assert np.array_equal(grey_dilation(maps, 13), square)
    assert not grey_erosion(maps, 13).any()


def test_closing_fills_narrow_gaps_and_lowers_nothing():
    """A gap narrower than the square is filled, a wider one stays, and closing twice changes nothing more."""
    maps = np.ones((1, 40, 60), dtype=np.float32)
    maps[0, :, 10:16] = 0.0
    maps[0, 14:34, 30:50] = 0.0
    closed = grey_closing(maps, 13)
    assert (closed[0, :, 10:16] == 1.0).all()
    assert (closed[0, 14:34, 30:50] == 0.0).all()
    assert (closed >= maps).all()
    assert np.array_equal(grey_closing(closed, 13), closed)


def test_maps_of_a_batch_do_not_mix():
    """A batch equals its maps treated one by one, and the input is left alone."""
    maps = np.random.default_rng(0).random((4, 30, 20), dtype=np.float32)
    before = maps.copy()
    closed = grey_closing(maps, 7)
    assert all(np.array_equal(closed[n], grey_closing(maps[n : n + 1], 7)[0]) for n in range(4))
    assert np.array_equal(maps, before)


@pytest.mark.parametrize("operation", [grey_dilation, grey_erosion, grey_closing])
def test_threads_share_the_maps_of_a_batch_and_change_no_bit(operation):
    maps = np.random.default_rng(3).random((37, 33, 18), dtype=np.float32)
    assert operation(maps, 13, threads=3).tobytes() == operation(maps, 13).tobytes()


@pytest.mark.parametrize("operation", [close, dilate])
def test_what_methods_call_stays_on_one_thread_which_is_faster_for_a_batch_of_16(operation, monkeypatch):
    asked = []
    monkeypatch.setattr(morphology, "in_shares", lambda work, count, threads, least: asked.append(threads))
    operation(torch.zeros(16, 1, 32, 32), 3)
    assert asked == [1]


def test_a_value_that_is_not_finite_is_found_in_any_share_of_the_threads():
    maps = np.zeros((16, 8, 8), dtype=np.float32)
    maps[15, 7, 7] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        grey_closing(maps, 3, threads=2)


def test_strided_and_empty_maps():
    """A transposed view is read correctly; an empty batch gives an empty batch."""
    maps = np.random.default_rng(1).random((2, 12, 17), dtype=np.float32)
    turned = maps.transpose(0, 2, 1)
    assert np.array_equal(grey_dilation(turned, 5), by_scipy(ndimage.grey_dilation, turned, 5))
    assert grey_dilation(maps[:0], 5).shape == (0, 12, 17)


def test_tensors_go_through_the_same_kernels():
    """``dilate`` and ``close`` keep shape, dtype and device, and give the arrays' values without a gradient."""
    map = torch.rand(3, 1, 24, 32, requires_grad=True)
    array = map.detach()[:, 0].numpy()
    for tensor_function, array_function in ((dilate, grey_dilation), (close, grey_closing)):
        result = tensor_function(map, 13)
        assert result.shape == map.shape
        assert result.dtype == torch.float32
        assert result.device == map.device
        assert not result.requires_grad
        assert np.array_equal(result[:, 0].numpy(), array_function(array, 13))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("operation", [grey_dilation, grey_erosion, grey_closing])
def test_values_that_are_not_finite_are_refused(operation, value):
    """A NaN would be swallowed or spread depending on where it lies, so it is an error."""
    maps = np.zeros((1, 8, 8), dtype=np.float32)
    maps[0, 3, 3] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        operation(maps, 3)


def test_wrong_arguments_are_named():
    """Wrong dtype, rank, size and channel count raise one clear line each."""
    with pytest.raises(ValueError, match="float32"):
        grey_dilation(np.zeros((1, 4, 4)), 3)
    with pytest.raises(ValueError, match=r"\[B, H, W\]"):
        grey_dilation(np.zeros((4, 4), dtype=np.float32), 3)
    with pytest.raises(ValueError, match="at least 1"):
        grey_closing(np.zeros((1, 4, 4), dtype=np.float32), 0)
    with pytest.raises(ValueError, match=r"\[B, 1, H, W\]"):
        close(torch.zeros(1, 2, 4, 4), 3)
