"""Pre-processing: what it does to known images, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from uadbench.datasets.case import CaseError
from uadbench.datasets.preprocess import (
    PREPROCESSING,
    Preprocessing,
    preprocess,
    preprocessing_hash,
    resize_area,
    resize_linear,
)


def ramp(rows: int, columns: int) -> np.ndarray:
    return np.arange(rows * columns, dtype=np.float64).reshape(rows, columns)


@pytest.mark.parametrize("shape", [(233, 197), (189, 157), (128, 128), (64, 50), (1, 300), (500, 3)])
def test_any_shape_becomes_float32_128_in_0_1(shape: tuple[int, int]) -> None:
    image, mask = preprocess(ramp(*shape), np.ones(shape))
    assert image.shape == mask.shape == (128, 128)
    assert image.dtype == np.float32
    assert mask.dtype == bool
    assert image.min() >= 0
    assert image.max() <= 1


def test_values_are_clipped_to_the_98th_percentile_of_all_pixels_and_scaled() -> None:
    pixels = ramp(100, 100)
    image, _ = preprocess(pixels, None, Preprocessing(size=100))
    assert np.allclose(image, np.minimum(pixels / np.percentile(pixels, 98), 1), atol=1e-6)
    assert (image == 1).sum() == 200


def test_background_counts_for_the_percentile_but_padding_does_not() -> None:
    pixels = np.zeros((100, 50))
    pixels[:2, :] = 10  # 2 % at 10, 1 % at 5: the 98th percentile lies between background and tissue
    pixels[2, :] = 5
    image, _ = preprocess(pixels, None, Preprocessing(size=100))
    expected = np.percentile(pixels, 98)
    assert image[2, 50] == pytest.approx(min(5 / expected, 1))


@pytest.mark.parametrize(("scale", "offset"), [(2.0, 0.0), (0.01, -7.0), (1e6, 1e6)])
def test_result_does_not_depend_on_the_unit_of_grey_values(scale: float, offset: float) -> None:
    pixels = np.random.default_rng(0).random((60, 70))
    assert np.allclose(preprocess(pixels, None)[0], preprocess(pixels * scale + offset, None)[0], atol=1e-5)


def test_huge_finite_values_do_not_overflow() -> None:
    pixels = np.linspace(-1, 1, 4096).reshape(64, 64) * 1.5e308
    image, _ = preprocess(pixels, None)
    assert np.isfinite(image).all()
    assert image[-1, -1] == 1
    assert image[0, 0] == 0


def test_shorter_side_is_padded_on_both_ends_with_the_odd_pixel_last() -> None:
    pixels = np.ones((9, 6))
    pixels[0, 0] = 0
    image, _ = preprocess(pixels, None, Preprocessing(size=9))
    assert (image[4] == [0, 1, 1, 1, 1, 1, 1, 0, 0]).all()


def test_shrinking_by_two_is_the_mean_of_two_by_two() -> None:
    pixels = np.random.default_rng(1).random((256, 256))
    assert np.allclose(resize_area(pixels, 128), pixels.reshape(128, 2, 128, 2).mean((1, 3)))


@pytest.mark.parametrize("side", [129, 189, 233, 1000])
def test_area_resize_keeps_the_mean(side: int) -> None:
    pixels = np.random.default_rng(2).random((side, side))
    assert resize_area(pixels, 128).mean() == pytest.approx(pixels.mean())


def test_enlarging_a_plane_keeps_it_a_plane_away_from_the_edges() -> None:
    y, x = np.mgrid[:32, :32]
    plane = resize_linear(3.0 * y + x, 128)[8:-8, 8:-8]
    assert np.allclose(np.diff(plane, axis=0), 0.75)
    assert np.allclose(np.diff(plane, axis=1), 0.25)


@pytest.mark.parametrize(("filled", "lesion"), [(1, False), (2, True), (3, True), (4, True)])
def test_a_pixel_is_lesion_where_at_least_half_its_area_is(filled: int, lesion: bool) -> None:
    mask = np.zeros((256, 256), dtype=np.uint8)
    mask[100:102, 60:62].flat = [255] * filled + [0] * (4 - filled)
    cells = [(100, 60), (100, 61), (101, 60), (101, 61)]
    mask[:] = 0
    for row, column in cells[:filled]:
        mask[row, column] = 255
    result = preprocess(ramp(256, 256), mask)[1]
    assert bool(result[50, 30]) is lesion
    assert result.sum() == int(lesion)


def test_mask_and_image_stay_aligned() -> None:
    pixels = np.zeros((233, 197))
    pixels[60:140, 110:170] = 1
    image, mask = preprocess(pixels, pixels > 0)
    assert np.array_equal(image >= 0.5, mask)


def test_no_mask_gives_an_empty_one() -> None:
    assert not preprocess(ramp(20, 30), None)[1].any()


def with_value(value: float) -> np.ndarray:
    pixels = ramp(8, 8)
    pixels[3, 3] = value
    return pixels


@pytest.mark.parametrize(
    ("image", "mask", "reason"),
    [
        pytest.param(with_value(np.nan), None, "NaN or infinite", id="nan"),
        pytest.param(with_value(np.inf), None, "NaN or infinite", id="inf"),
        pytest.param(np.full((8, 8), 7), None, "constant (7)", id="constant"),
        pytest.param(np.eye(200), None, "constant (0)", id="next to nothing but background"),
        pytest.param(np.zeros((0, 8)), None, "empty", id="empty"),
        pytest.param(np.zeros((8, 8, 3)), None, "2-D", id="colour"),
        pytest.param(np.zeros(8), None, "2-D", id="line"),
        pytest.param(ramp(8, 8) * 1j, None, "not real", id="complex"),
        pytest.param(np.full((8, 8), "a"), None, "not real", id="text"),
        pytest.param(ramp(8, 8), np.ones((8, 9)), "(8, 9)", id="mask of another shape"),
        pytest.param(ramp(8, 8), with_value(np.nan), "mask holds NaN", id="mask with nan"),
        pytest.param(ramp(8, 8), np.full((8, 8), "a"), "not a number", id="mask of text"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line_that_names_the_file(
    image: np.ndarray, mask: np.ndarray | None, reason: str
) -> None:
    with pytest.raises(CaseError) as error:
        preprocess(image, mask, name="scan-7.png")
    message = str(error.value)
    assert message.startswith("scan-7.png: ")
    assert reason in message
    assert "\n" not in message
    assert ";" in message, "the remedy follows a semicolon"


def test_the_hash_tells_every_parameter_apart() -> None:
    changed = [
        replace(PREPROCESSING, size=96),
        replace(PREPROCESSING, percentile=99.0),
        replace(PREPROCESSING, mask_rule=0.25),
        replace(PREPROCESSING, version=2),
    ]
    assert len({preprocessing_hash(p) for p in [PREPROCESSING, *changed]}) == 5
    assert preprocessing_hash(Preprocessing()) == preprocessing_hash(PREPROCESSING)
