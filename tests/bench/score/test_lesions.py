"""Lesions, components and distances of made volumes, by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from uadbench.bench.score.lesions import Objects, count_objects, surface_distances, surfaces_known

SHAPE = (6, 10, 12)


def volume(*voxels: tuple[int, int, int]) -> np.ndarray:
    made = np.zeros(SHAPE, dtype=bool)
    for voxel in voxels:
        made[voxel] = True
    return made


def test_a_lesion_is_found_by_any_of_its_voxels_and_a_component_is_true_where_it_touches_one() -> None:
    truth = volume(
        (0, 1, 1), (1, 2, 2), (0, 8, 8), (4, 5, 5)
    )  # the first two touch by a corner: three lesions
    above = volume((1, 2, 2), (0, 8, 8), (0, 8, 9), (3, 1, 9), (5, 9, 0))
    found = count_objects(above, truth, None)
    assert found == Objects(lesions=3, found=2, components=4, true=2)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))


def test_one_component_may_find_two_lesions_and_two_components_may_lie_on_one() -> None:
    truth = volume((0, 1, 1), (0, 1, 3), (3, 5, 0), (3, 5, 1), (3, 5, 2))
    above = volume((0, 1, 1), (0, 1, 2), (0, 1, 3), (3, 5, 0), (3, 5, 2))
    assert count_objects(above, truth, None) == Objects(lesions=3, found=3, components=3, true=3)


def test_a_map_with_nothing_above_has_no_recall_and_no_f1() -> None:
    found = count_objects(volume(), volume((1, 1, 1)), None)
    assert (found.found, found.components, found.recall, found.f1) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("moved", "distance"),
    [
        pytest.param((3, 0, 0), 3 * 5.0, id="three slices of 5 mm"),
        pytest.param((0, 4, 0), 4 * 2.0, id="four rows of 2 mm"),
        pytest.param((0, 0, 6), 6 * 1.5, id="six columns of 1.5 mm"),
        pytest.param((0, 3, 4), np.hypot(3 * 2.0, 4 * 1.5), id="across"),
        pytest.param((0, 0, 0), 0.0, id="the same voxel"),
    ],
)
def test_two_single_voxels_are_as_far_apart_as_their_spacing_says(
    moved: tuple[int, int, int], distance: float
) -> None:
    there = (1 + moved[0], 2 + moved[1], 3 + moved[2])
    found = surface_distances(volume(there), volume((1, 2, 3)), (5.0, 2.0, 1.5))
    assert found == pytest.approx((distance, distance))


def test_distances_are_of_both_directions() -> None:
    """One voxel on the lesion, one 6 mm beside: 0 from the lesion; 0 and 6 from what is found."""
    hausdorff, average = surface_distances(volume((1, 2, 3), (1, 2, 9)), volume((1, 2, 3)), (1, 1, 1)) or (
        0,
        0,
    )
    assert hausdorff == pytest.approx(np.quantile([0, 6], 0.95))
    assert average == pytest.approx((0 + 0 + 6) / 3)


def test_where_nothing_is_found_the_distance_is_the_diagonal() -> None:
    found = surface_distances(volume(), volume((1, 2, 3)), (5.0, 2.0, 1.0))
    assert found == pytest.approx((np.sqrt(30**2 + 20**2 + 12**2),) * 2)


def test_without_monai_there_are_counts_and_no_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai", None)
    assert not surfaces_known()
    found = count_objects(volume((1, 2, 3)), volume((1, 2, 3)), (1.0, 1.0, 1.0))
    assert (found.f1, found.hausdorff95, found.surface_distance) == (1, None, None)
