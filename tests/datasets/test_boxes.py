"""Boxes are carried along exactly, and rounded outwards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from uadbench.datasets.boxes import carry
from uadbench.datasets.case import Box, CaseError
from uadbench.datasets.preprocess import PREPROCESSING, pad_to_square, resize_area

SMALL = replace(PREPROCESSING, size=10)


@pytest.mark.parametrize(
    ("edges", "shape", "wanted"),
    [
        pytest.param((1, 2, 3, 4), (10, 10), (1, 2, 3, 4), id="nothing to do"),
        pytest.param((0, 0, 10, 10), (10, 10), (0, 0, 10, 10), id="the whole image"),
        pytest.param((2, 1, 4, 3), (10, 6), (2, 3, 4, 5), id="padded on both sides"),
        pytest.param((2, 1, 4, 3), (10, 7), (2, 2, 4, 4), id="the odd column goes last"),
        pytest.param((0, 0, 3, 6), (5, 10), (2, 0, 5, 6), id="padded above"),
        pytest.param((2, 4, 6, 8), (20, 20), (1, 2, 3, 4), id="halved, on the grid"),
        pytest.param((3, 5, 7, 9), (20, 20), (1, 2, 4, 5), id="halved, rounded outwards"),
        pytest.param((1.5, 2.5, 3.25, 4.75), (10, 10), (1, 2, 4, 5), id="fractions"),
        pytest.param((-3, -3, 2, 2), (10, 10), (0, 0, 2, 2), id="cut at the border"),
        pytest.param((0.7 * 3, 0, 0.7 * 6, 1), (21, 21), (1, 0, 2, 1), id="a rounding before moves no edge"),
    ],
)
def test_a_box_is_padded_and_resized_with_its_image(
    edges: tuple[float, ...], shape: tuple[int, int], wanted: tuple[int, ...]
) -> None:
    assert carry("metal", edges, shape, SMALL) == Box("metal", *wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(300, 170), (170, 300), (257, 255), (100, 60), (64, 64)])
def test_the_box_touches_just_the_pixels_that_the_marked_ones_end_up_in(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    for _ in range(20):
        top, left = (int(rng.integers(0, side - 2)) for side in shape)
        bottom, right = int(rng.integers(top + 1, shape[0])), int(rng.integers(left + 1, shape[1]))
        marked = np.zeros(shape)
        marked[top:bottom, left:right] = 1
        rows, columns = np.nonzero(resize_area(pad_to_square(marked), 128) > 1e-9)
        box = carry("x", (top, left, bottom, right), shape)
        assert (box.top, box.left, box.bottom, box.right) == (
            rows.min(), columns.min(), rows.max() + 1, columns.max() + 1,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        pytest.param((3, 3, 3, 5), "holds no pixel", id="empty"),
        pytest.param((12, 0, 15, 5), "holds no pixel", id="outside"),
        pytest.param((0, 0, float("nan"), 5), "not finite", id="not a number"),
    ],
)
def test_a_box_that_is_none_is_refused_by_the_files_name(edges: tuple[float, ...], message: str) -> None:
    with pytest.raises(CaseError, match=f"a.xml: the box metal .*{message}"):
        carry("metal", edges, (10, 10), SMALL, "a.xml")  # type: ignore[arg-type]
