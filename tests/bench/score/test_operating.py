"""Scores at a threshold from validation lesions, and how it is chosen, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label
from support.scored import cases, dice, disc

from uadbench.bench.score.cases import Scored
from uadbench.bench.score.operating import OperatingPoint, choose_threshold
from uadbench.bench.score.summary import score_differences, summarize

NAMES = ("dice_fitted", "precision_fitted", "recall_fitted")


def called(anomaly: np.ndarray, threshold: float, least: int) -> np.ndarray:
    """Component by component."""
    found = anomaly > np.float32(threshold)
    labels, n = label(found, structure=np.ones((3, 3)))
    for number in range(1, n + 1):
        if (labels == number).sum() < least:
            found = found & (labels != number)
    return found


@pytest.mark.parametrize("least", [1, 7])
@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_is_the_best_of_all_for_what_is_left_after_small_components(
    seed: int, least: int
) -> None:
    some = cases([20, 90, 200], seed=seed, decimals=1)  # few distinct values, so that all are tried
    maps, masks = [c.anomaly for c in some], [c.mask for c in some]
    truth = np.concatenate([mask.ravel() for mask in masks])

    def at(threshold: float) -> float:
        return float(dice(np.concatenate([called(m, threshold, least).ravel() for m in maps]), truth))

    threshold, value = choose_threshold(maps, masks, least)
    assert value == pytest.approx(max(at(t) for t in np.arange(-1, 10) / 10 + 0.05 if t >= 0))
    assert value == pytest.approx(at(threshold))


def test_scores_at_the_fitted_threshold_are_of_pooled_pixels_without_small_components() -> None:
    test = [*cases([30, 100, 600] * 5, seed=3), *cases([0] * 3, first=50)]
    point = OperatingPoint(0.75, 7)
    found = np.concatenate([called(c.anomaly, 0.75, 7).ravel() for c in test if c.lesion])
    truth = np.concatenate([c.mask.ravel() for c in test if c.lesion])
    metrics = summarize(test, [], 0, 50, operating=point)
    assert metrics["dice_fitted"]["value"] == pytest.approx(dice(found, truth))
    assert metrics["precision_fitted"]["value"] == pytest.approx((found & truth).sum() / found.sum())
    assert metrics["recall_fitted"]["value"] == pytest.approx((found & truth).sum() / truth.sum())
    for name in NAMES:
        entry = metrics[name]
        assert entry["lo"] < entry["value"] < entry["hi"]
        assert (entry["threshold"], entry["component_px"]) == (0.75, 7)


def test_a_lesion_smaller_than_the_least_component_is_never_found() -> None:
    mask = disc(6)
    test = [Scored("c", "s", True, mask.astype(np.float32), mask)]
    metrics = summarize(test, [], 0, 5, operating=OperatingPoint(0.5, 7))
    assert metrics["dice_fitted"]["value"] == metrics["recall_fitted"]["value"] == 0.0
    assert metrics["precision_fitted"]["value"] is None  # nothing is found, so no share of it


def test_without_post_processing_there_is_no_entry_and_without_a_threshold_an_empty_one() -> None:
    test = cases([30, 100])
    assert not set(NAMES) & set(summarize(test, [], 0, 5))
    metrics = summarize(test, [], 0, 5, operating=OperatingPoint(None, 7))
    assert all(metrics[name]["value"] is None for name in NAMES)


def test_two_sides_are_compared_each_at_its_own_operating_point() -> None:
    test = cases([60, 300] * 8)
    points = OperatingPoint(0.7, 7), OperatingPoint(0.8, 7)
    change = score_differences(["dice_fitted"], test, test, 0, 20, operating=points)["dice_fitted"]
    assert change is not None
    for value, point in zip((change.a, change.b), points, strict=True):
        assert value == summarize(test, [], 0, 5, operating=point)["dice_fitted"]["value"]
