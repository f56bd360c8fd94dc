"""Synthetic anomalies: where they lie, that nothing else changes, and that every kind and sign occurs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from uadbench.datasets import DATASETS
from uadbench.engine.rng import case_generator
from uadbench.engine.training.corruptions import CONTENTS, NUMBER, TISSUE, corrupt, nuisance


@pytest.fixture(scope="module")
def slices() -> list[np.ndarray]:
    dataset = DATASETS["phantom"](None, 0, 6)
    return [dataset.load(case).image for case in dataset.split("test") if not case.lesion]


def test_nothing_changes_where_the_share_is_zero_and_nothing_outside_the_head(
    slices: list[np.ndarray],
) -> None:
    for number in range(40):
        image = slices[number % len(slices)]
        found = corrupt(image, case_generator(0, str(number)))
        head = ndimage.binary_fill_holes(ndimage.binary_opening(image > TISSUE))
        assert np.array_equal(found.image[found.share == 0], image[found.share == 0])
        assert not found.share[~head].any()
        assert found.image.dtype == np.float32
        assert 0 <= found.image.min() <= found.image.max() <= 1
        assert 0 <= found.share.min() <= found.share.max() <= 1


def test_as_many_images_stay_as_they_are_as_is_said(slices: list[np.ndarray]) -> None:
    kept = [not corrupt(slices[0], case_generator(1, str(n))).share.any() for n in range(300)]
    # a binomial's standard deviation is 0.02
    assert np.mean(kept) == pytest.approx(NUMBER[0], abs=0.07)


def test_anomalies_are_of_all_sizes_and_either_sign(slices: list[np.ndarray]) -> None:
    areas, signs = [], []
    for number in range(200):
        image = slices[number % len(slices)]
        found = corrupt(image, case_generator(2, str(number)))
        change = found.image - image
        if (np.abs(change) > 0.03).any():
            areas.append((np.abs(change) > 0.03).sum())
            signs.append(np.sign(change[np.abs(change) > 0.03].mean()))
    assert np.quantile(areas, 0.1) < 71 < np.quantile(areas, 0.9) < 0.5 * 128 * 128
    assert max(areas) > 570
    assert 0.25 < np.mean(np.array(signs) > 0) < 0.75


def test_the_same_generator_gives_the_same_anomaly(slices: list[np.ndarray]) -> None:
    one, two, other = (corrupt(slices[0], case_generator(3, key)) for key in ("a", "a", "b"))
    assert np.array_equal(one.image, two.image)
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_put_in_is_like_the_slice_in_form_and_differs_from_it(
    name: str, slices: list[np.ndarray]
) -> None:
    content = CONTENTS[name][1](slices[0], case_generator(4, name))
    assert content.shape == slices[0].shape
    assert np.isfinite(content).all()
    assert np.abs(content - slices[0])[slices[0] > TISSUE].mean() > 0.01


def test_an_image_without_a_head_stays_as_it_is() -> None:
    empty = np.zeros((32, 32), dtype=np.float32)
    assert np.array_equal(corrupt(empty, case_generator(0, "x")).image, empty)


def test_nuisances_leave_the_background_and_the_order_of_grey_values(slices: list[np.ndarray]) -> None:
    for number in range(20):
        image = slices[0]
        seen = nuisance(image, case_generator(5, str(number)))
        assert not seen[image == 0].any()
        inside = image > TISSUE
        assert np.corrcoef(image[inside], seen[inside])[0, 1] > 0.95
