"""What is found of boxes at one threshold, on maps drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from uadbench.bench.score.boxes import CAP, count_boxes, ratios
from uadbench.datasets.case import Box


def drawn(*blobs: tuple[int, int, int, int], size: int = 40) -> NDArray[np.float32]:
    """A map of 0 with blobs (top, left, bottom, right) of 1."""
    anomaly = np.zeros((size, size), dtype=np.float32)
    for top, left, bottom, right in blobs:
        anomaly[top:bottom, left:right] = 1
    return anomaly


TEN = Box("fracture", 10, 10, 20, 20)  # 100 pixels


@pytest.mark.parametrize(
    ("pixels", "found"), [(9, False), (10, False), (11, True), (100, True)], ids=lambda value: str(value)
)
def test_a_box_is_found_where_more_than_a_tenth_of_it_is_above(pixels: int, found: bool) -> None:
    anomaly = np.zeros((40, 40), dtype=np.float32)
    anomaly[TEN.where] = (np.arange(100) < pixels).reshape(10, 10)
    assert count_boxes(anomaly, [TEN], 0.5).found.tolist() == [found]


def test_a_pixel_at_the_threshold_is_not_above_it() -> None:
    assert not count_boxes(drawn((10, 10, 20, 20)), [TEN], 1.0).found.any()
    # float32(0.1) is above 0.1: both are compared as float32, so it is no more than that
    assert not count_boxes(np.full((40, 40), 0.1, np.float32), [TEN], 0.1).found.any()


@pytest.mark.parametrize(
    ("blobs", "false"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([(10, 10, 20, 20)], 0, id="the box itself"),
        pytest.param([(0, 0, 2, 2), (30, 30, 32, 32)], 2, id="two far away"),
        pytest.param([(0, 0, 2, 2), (2, 2, 4, 4)], 1, id="corners touch"),
        pytest.param([(0, 0, 2, 2), (3, 3, 5, 5)], 2, id="a pixel between"),
        pytest.param([(19, 19, 20, 38)], 1, id="one of 19 pixels inside: a twentieth"),
        pytest.param([(19, 19, 20, 29)], 1, id="one of ten inside: just a tenth"),
        pytest.param([(19, 19, 20, 28)], 0, id="one of nine inside: more than a tenth"),
        pytest.param([(0, 0, 40, 40)], 1, id="everything is one, and mostly outside"),
    ],
)
def test_a_component_is_false_where_no_more_than_a_tenth_of_it_lies_in_boxes(
    blobs: list[tuple[int, int, int, int]], false: int
) -> None:
    assert count_boxes(drawn(*blobs), [TEN], 0.5).false == false


def test_false_positives_of_an_image_are_capped() -> None:
    dots = [(2 * i, 2 * j, 2 * i + 1, 2 * j + 1) for i in range(4) for j in range(5)]
    counts = count_boxes(drawn(*dots), [TEN], 0.5)
    assert (counts.false, counts.false_capped) == (20, CAP)
    assert count_boxes(drawn(*dots[:3]), [TEN], 0.5).false_capped == 3


@pytest.mark.parametrize(
    ("blobs", "false"),
    [
        pytest.param([(10, 10, 20, 20)], 0, id="nothing outside"),
        pytest.param([(10, 10, 20, 20), (0, 0, 9, 11)], 0, id="99 outside, 100 inside"),
        pytest.param([(10, 10, 20, 20), (0, 0, 10, 10)], 1, id="as much outside as inside"),
        pytest.param([(10, 10, 11, 12), (0, 0, 1, 9)], 4, id="nine to two: four whole times"),
        pytest.param([(0, 0, 1, 7)], 7, id="nothing inside: each pixel"),
        pytest.param([(0, 0, 5, 5)], CAP, id="capped"),
    ],
)
def test_the_authors_count_is_how_often_the_outside_outweighs_the_inside(
    blobs: list[tuple[int, int, int, int]], false: int
) -> None:
    assert count_boxes(drawn(*blobs), [TEN], 0.5).false_by_area == false


def test_boxes_that_overlap_count_their_pixels_once() -> None:
    other = Box("metal", 15, 15, 25, 25)
    counts = count_boxes(drawn((10, 10, 25, 25)), [TEN, other], 0.5)
    assert (counts.inside, counts.outside) == (100 + 100 - 25, 15 * 15 - 175)
    assert counts.found.tolist() == [True, True]


@pytest.mark.parametrize(
    ("found", "boxes", "false", "wanted"),
    [
        pytest.param(0, 1, 0, (0, 0, 0), id="nothing"),
        pytest.param(1, 1, 0, (1, 1, 1), id="perfect"),
        pytest.param(1, 2, 3, (1 / 4, 1 / 2, 1 / 3), id="one of two, three false"),
        pytest.param(0, 2, 5, (0, 0, 0), id="false ones only"),
        pytest.param(2, 2, 10, (1 / 6, 1, 2 / 7), id="all, at the cap"),
    ],
)
def test_the_ratios_of_an_image(found: int, boxes: int, false: int, wanted: tuple[float, ...]) -> None:
    precision, recall, f1 = ratios(found, boxes, false)
    assert (precision, recall, f1) == pytest.approx(wanted)
    if precision + recall:
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall))
