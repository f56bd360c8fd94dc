"""Simulated strokes: exact sizes, irregular shapes, soft textured intensities, nothing changed elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.datasets.deform import case_rng, smooth_field
from uadbench.datasets.lesions import (
    CONTRAST,
    REACH,
    SIZE_GROUPS,
    darken_tissue,
    random_lesion_shape,
    simulate_lesion,
)

SIZE = 128


def ellipse() -> NDArray[np.bool_]:
    rows, cols = np.indices((SIZE, SIZE)) - (SIZE - 1) / 2
    return (rows / 45) ** 2 + (cols / 36) ** 2 < 1


def flat_slice(level: float = 0.9) -> NDArray[np.float32]:
    return np.where(ellipse(), level, 0).astype(np.float32)


@pytest.mark.parametrize("target", [1, 4, 71, 72, 570, 571, 1600])
def test_a_shape_has_exactly_the_pixels_asked_for_and_lies_in_the_brain(target: int) -> None:
    for index in range(4):
        shape = random_lesion_shape(ellipse(), target, case_rng(target, index))
        assert shape.dtype == bool
        assert shape.sum() == target
        assert not (shape & ~ellipse()).any()


def test_a_shape_may_fill_a_mask_of_several_parts_to_the_last_pixel() -> None:
    brain = np.zeros((SIZE, SIZE), dtype=bool)
    brain[20:24, 20:30] = brain[90:95, 60:64] = True
    np.testing.assert_array_equal(random_lesion_shape(brain, int(brain.sum()), case_rng(1)), brain)


@pytest.mark.parametrize("target", [0, -3, 10**6])
def test_a_shape_that_cannot_fit_is_refused_with_the_allowed_range(target: int) -> None:
    with pytest.raises(ValueError, match=f"lesion of {target} pixels does not fit; choose 1 to"):
        random_lesion_shape(ellipse(), target, case_rng(1))


def test_shapes_are_irregular_not_discs() -> None:
    """A disc of 400 pixels fills its convex hull and has a compactness of about 1; strokes do neither."""
    solidity, distinct = [], set()
    for index in range(12):
        shape = random_lesion_shape(ellipse(), 400, case_rng("irregular", index))
        labels, _ = ndimage.label(shape)
        largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
        from skimage.measure import regionprops

        solidity.append(regionprops(largest.astype(int))[0].solidity)
        distinct.add(shape.tobytes())
    assert 0.6 < np.mean(solidity) < 0.93
    assert len(distinct) == 12


def test_favour_draws_lesions_to_where_it_is_large() -> None:
    favour = np.where(np.arange(SIZE) < SIZE // 2, 1.0, 1e-6) * np.ones((SIZE, 1))
    for index in range(6):
        shape = random_lesion_shape(ellipse(), 200, case_rng("favour", index), favour=favour)
        assert shape[:, SIZE // 2 :].sum() == 0


def test_the_mask_is_the_shape_and_pixels_out_of_reach_keep_their_exact_value() -> None:
    image = np.clip(flat_slice() + 0.05 * smooth_field(case_rng(1), SIZE, 30), 0, 1).astype(np.float32)
    for index, group in enumerate(SIZE_GROUPS):
        rng = case_rng("reach", index)
        shape = random_lesion_shape(ellipse(), SIZE_GROUPS[group][0] + 20, rng)
        result, mask = simulate_lesion(image, shape, rng)
        np.testing.assert_array_equal(mask, shape)
        far = ndimage.distance_transform_edt(~shape) >= REACH
        np.testing.assert_array_equal(result[far], image[far])
        assert (result[shape] != image[shape]).mean() > 0.8
        assert result.dtype == np.float32
        assert 0 <= result.min() <= result.max() <= 1


def test_an_empty_shape_changes_nothing() -> None:
    image = flat_slice()
    result, mask = simulate_lesion(image, np.zeros((SIZE, SIZE), dtype=bool), case_rng(1))
    np.testing.assert_array_equal(result, image)
    assert not mask.any()
    assert result is not image


def test_the_inputs_are_left_as_they_were() -> None:
    image, shape = flat_slice(), random_lesion_shape(ellipse(), 200, case_rng(2))
    before = image.copy(), shape.copy()
    simulate_lesion(image, shape, case_rng(3))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(shape, before[1])


def test_the_core_is_dark_and_textured_and_the_edge_is_soft() -> None:
    """On a flat slice a plain disc would have one value inside and a step at its border."""
    image = flat_slice()
    for index in range(8):
        rng = case_rng("texture", index)
        shape = random_lesion_shape(ellipse(), 500, rng)
        result, _ = simulate_lesion(image, shape, rng, severity=0.6)
        core = ndimage.binary_erosion(shape, iterations=3)
        deep = result[core]
        assert 0.25 * 0.9 < deep.mean() < 0.75 * 0.9  # between fluid and grey matter
        assert deep.std() > 0.015
        assert len(np.unique(deep)) > 0.5 * deep.size
        rim = shape & ~ndimage.binary_erosion(shape)
        inside_brain = ndimage.binary_erosion(ellipse(), iterations=4)
        outside = ndimage.binary_dilation(shape) & ~shape & inside_brain
        steps = [deep.mean(), result[rim].mean(), result[outside].mean(), 0.9]
        assert np.all(np.diff(steps) > 0.01), steps


def test_a_severer_lesion_is_darker() -> None:
    image, shape = flat_slice(), random_lesion_shape(ellipse(), 300, case_rng(5))
    means = [simulate_lesion(image, shape, case_rng(6), severity=s)[0][shape].mean() for s in (0.0, 0.5, 1.0)]
    assert means[0] > means[1] > means[2]


def test_a_lesion_does_not_brighten_fluid_within_its_shape() -> None:
    image = flat_slice()
    image[60:68, 60:68] = 0.2
    shape = np.zeros((SIZE, SIZE), dtype=bool)
    shape[52:76, 52:76] = True
    result, _ = simulate_lesion(image, shape, case_rng(7), severity=0.0)
    assert result[62:66, 62:66].max() <= 0.2 + 1e-3


def test_a_lesion_follows_the_brightness_around_it() -> None:
    """Under a bias field the same lesion is darker where the tissue is darker."""
    shape = random_lesion_shape(ellipse(), 300, case_rng(8))
    bright, _ = simulate_lesion(flat_slice(0.9), shape, case_rng(9), severity=0.5)
    dim, _ = simulate_lesion(flat_slice(0.6), shape, case_rng(9), severity=0.5)
    core = ndimage.binary_erosion(shape, iterations=2)
    np.testing.assert_allclose(dim[core].mean() / bright[core].mean(), 0.6 / 0.9, rtol=0.03)


def test_a_shape_without_tissue_is_refused() -> None:
    shape = np.zeros((SIZE, SIZE), dtype=bool)
    shape[2:6, 2:6] = True
    with pytest.raises(ValueError, match="no tissue around it; keep the shape inside the brain"):
        simulate_lesion(flat_slice(), shape, case_rng(1))


def test_arrays_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="need a square image and a mask of its shape"):
        simulate_lesion(flat_slice(), np.zeros((64, 64), dtype=bool), case_rng(1))


def test_smooth_fields_have_mean_zero_and_variance_one() -> None:
    fields = np.stack([smooth_field(case_rng("field", i), 64, 8) for i in range(300)])
    assert abs(fields.mean()) < 0.02
    assert abs(fields.var() - 1) < 0.05


def test_smooth_fields_sample_one_spline_at_any_resolution() -> None:
    """The field at 64 pixels is the mean-free spline of 128 pixels seen at its pixel centres (cubic, so to O(h^2))."""
    coarse = smooth_field(case_rng("res"), 64, 4)
    fine = smooth_field(case_rng("res"), 128, 4).reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(coarse - fine).max() < 5e-3


def square_shape(side: int) -> NDArray[np.bool_]:
    shape = np.zeros((SIZE, SIZE), dtype=bool)
    shape[50 : 50 + side, 70 : 70 + side] = True
    return shape


@pytest.mark.parametrize("contrast", [0.06, 0.2, 0.6])
def test_darkened_tissue_loses_the_contrast_in_its_core_and_nothing_far_away(contrast: float) -> None:
    image, shape = flat_slice(0.8), square_shape(20)
    result, mask = darken_tissue(image, shape, case_rng(contrast), contrast)
    np.testing.assert_array_equal(mask, shape)
    core = ndimage.binary_erosion(shape, iterations=6)
    assert result[core].mean() == pytest.approx(0.8 * (1 - contrast), abs=0.01)
    far = ndimage.distance_transform_edt(~shape) > REACH
    np.testing.assert_array_equal(result[far], image[far])


def test_a_drawn_contrast_lies_in_its_range_and_is_faint_half_of_the_time() -> None:
    image, shape = flat_slice(0.8), square_shape(20)
    core = ndimage.binary_erosion(shape, iterations=6)
    lost = [1 - darken_tissue(image, shape, case_rng(i))[0][core].mean() / 0.8 for i in range(200)]
    assert CONTRAST[0] - 0.01 < min(lost) < 0.08
    assert 0.5 < max(lost) < CONTRAST[1] + 0.01
    assert np.median(lost) == pytest.approx((CONTRAST[0] * CONTRAST[1]) ** 0.5, abs=0.05)


def test_faintly_darkened_tissue_keeps_its_anatomy() -> None:
    """The part of the grey values that varies faster than 3 px stays alike where little intensity is lost."""
    rng = case_rng("anatomy")
    image = np.clip(flat_slice(0.7) * (1 + 0.1 * smooth_field(rng, SIZE, 30)), 0, 1).astype(np.float32)
    shape = square_shape(24)
    core = ndimage.binary_erosion(shape, iterations=6)
    result, _ = darken_tissue(image, shape, case_rng(1), 0.08)
    fine = [(x - ndimage.gaussian_filter(x, 3.0))[core] for x in (image, result)]
    assert np.corrcoef(*fine)[0, 1] > 0.95


def test_a_small_shape_is_darkened_in_full_at_its_darkest_and_an_empty_one_not_at_all() -> None:
    image = flat_slice(0.8)
    result, _ = darken_tissue(image, square_shape(2), case_rng(3), 0.5)
    assert result[square_shape(2)].min() == pytest.approx(0.4, abs=0.05)
    same, mask = darken_tissue(image, np.zeros((SIZE, SIZE), dtype=bool), case_rng(3))
    np.testing.assert_array_equal(same, image)
    assert not mask.any()
