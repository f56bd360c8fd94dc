"""Post-processing of maps, on maps made by hand and against windows and neighbours that are counted out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from uadbench.engine.post import EROSIONS, FOREGROUND, MEDIAN, POSTS, behrendt, head, without_small

SIZE = 32


def image_of_a_square(first: int = 6, last: int = 26) -> np.ndarray:
    image = np.zeros((SIZE, SIZE), np.float32)
    image[first:last, first:last] = 0.5
    return image


def eroded(mask: np.ndarray) -> np.ndarray:
    """A pixel stays where it and its four neighbours are set; beyond the edge nothing is."""
    padded = np.pad(mask, 1)
    return mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]


def test_a_map_becomes_its_median_inside_the_eroded_head_and_nothing_outside() -> None:
    rng = np.random.default_rng(0)
    image = image_of_a_square()
    image[2, 2] = image[15, 29] = 0.4  # bright specks that no erosion survives
    anomaly = rng.random((SIZE, SIZE)).astype(np.float32)
    reach = MEDIAN // 2
    windows = sliding_window_view(np.pad(anomaly, reach, mode="edge"), (MEDIAN, MEDIAN))
    inside = image > FOREGROUND
    for _ in range(EROSIONS):
        inside = eroded(inside)
    expected = np.where(inside, np.median(windows, axis=(2, 3)), 0)
    assert inside.sum() == 14 * 14
    np.testing.assert_array_equal(behrendt(anomaly[None], image[None])[0], expected)


def test_what_lies_beyond_the_images_edge_is_background() -> None:
    full = np.full((1, SIZE, SIZE), 0.5, np.float32)
    found = behrendt(np.ones_like(full), full)[0]
    assert found[EROSIONS:-EROSIONS, EROSIONS:-EROSIONS].all()
    assert found.sum() == (SIZE - 2 * EROSIONS) ** 2


def test_a_dark_lesion_inside_the_head_belongs_to_it() -> None:
    image = image_of_a_square()
    image[12:18, 12:18] = 0.0
    np.testing.assert_array_equal(head(image), image_of_a_square() > 0)


@pytest.mark.parametrize(
    ("pixels", "stays"),
    [
        pytest.param([(i, i) for i in range(7)], True, id="a diagonal of 7 is one component"),
        pytest.param([(i, i) for i in range(6)], False, id="6 are too few"),
        pytest.param(
            [(0, i) for i in range(4)] + [(2, i) for i in range(4)], False, id="two of 4, a row apart"
        ),
        pytest.param(
            [(0, i) for i in range(4)] + [(1, i) for i in range(4, 8)], True, id="joined by a corner"
        ),
        pytest.param([], False, id="nothing"),
    ],
)
def test_components_of_fewer_than_7_pixels_are_removed(pixels: list[tuple[int, int]], stays: bool) -> None:
    found = np.zeros((12, 12), bool)
    for place in pixels:
        found[place] = True
    np.testing.assert_array_equal(without_small(found, 7), found if stays else np.zeros_like(found))


def test_with_a_single_pixel_as_the_least_nothing_is_removed() -> None:
    found = np.random.default_rng(1).random((20, 20)) < 0.3
    np.testing.assert_array_equal(without_small(found, 1), found)


def test_a_case_alone_equals_the_same_case_in_a_batch_as_tensors_too() -> None:
    rng = np.random.default_rng(2)
    maps = rng.random((3, SIZE, SIZE)).astype(np.float32)
    images = np.stack([image_of_a_square(4 + k) for k in range(3)])
    both = behrendt(maps, images)
    for k in range(3):
        np.testing.assert_array_equal(behrendt(maps[k : k + 1], images[k : k + 1])[0], both[k])
    x = torch.from_numpy(images).unsqueeze(1) * 2 - 1
    tensor = POSTS["behrendt"](torch.from_numpy(maps).unsqueeze(1), x)
    torch.testing.assert_close(tensor, torch.from_numpy(both).unsqueeze(1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1])
def test_what_a_median_would_hide_is_refused(bad: float) -> None:
    maps = np.zeros((1, SIZE, SIZE), np.float32)
    maps[0, 9, 9] = bad
    with pytest.raises(ValueError, match="NaN, infinite or negative"):
        behrendt(maps, image_of_a_square()[None])


def test_maps_of_another_size_than_their_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the anomaly map is \(1, 4, 4\)"):
        behrendt(np.zeros((1, 4, 4), np.float32), image_of_a_square()[None])
