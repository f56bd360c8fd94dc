"""What is taken from bins lies within its stated bound of the exact value, and the bound is no looser than need be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scored import cases, pooled

from uadbench.bench.score.binned import Histogram, binned_curve, error_bounds
from uadbench.bench.score.cases import healthy_threshold
from uadbench.bench.score.pooled import exact_curve, fine_counts, fine_samples


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(4, 300), min_size=1, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from([None, 0, 1, 2]),
    st.integers(2, 12),
    st.floats(-0.3, 0.6),
)
def test_average_precision_and_best_dice_from_any_bins_are_within_the_bounds(
    pixels: list[int], seed: int, decimals: int | None, bins: int, signal: float
) -> None:
    """Few coarse bins, maps better and worse than chance, with and without ties."""
    test = cases(pixels, seed, decimals=decimals, signal=signal)
    maps, masks = [case.anomaly for case in test], [case.mask for case in test]
    exact, counts = exact_curve(maps, masks), fine_counts(maps, masks, bins)
    ap, dice = fine_samples(np.ones((1, len(test))), counts)
    ap_error, dice_error = error_bounds(counts.found.sum(axis=0), counts.hit.sum(axis=0))
    assert abs(ap[0] - exact.average_precision) <= ap_error + 1e-12
    assert -1e-12 <= exact.dice - dice[0] <= dice_error + 1e-12


def test_the_bounds_are_reached_where_all_lesion_pixels_lie_above_the_others_of_their_bin() -> None:
    """One bin of 6 lesion pixels and 10 others: binned 6 / 16 and Dice 12 / 22, exact 1 and 1."""
    ap_error, dice_error = error_bounds(np.array([16.0]), np.array([6.0]))
    assert ap_error == pytest.approx(1 - 6 / 16)
    assert dice_error == pytest.approx(1 - 12 / 22)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1e-30, 1e-3, 1.0, 1e6]))
def test_a_histogram_knows_no_range_and_is_off_by_less_than_a_thousandth(seed: int, scale: float) -> None:
    test = cases([40, 90, 200], seed)
    maps = [(case.anomaly * np.float32(scale)).astype(np.float32) for case in test]
    histogram = Histogram()
    for anomaly, case in zip(maps, test, strict=True):
        histogram.add(anomaly, anomaly[case.mask])
    exact, found = exact_curve(maps, [case.mask for case in test]), binned_curve(histogram)
    assert abs(found.average_precision - exact.average_precision) <= found.ap_error < 1e-3
    assert 0 <= exact.dice - found.dice + 1e-12 <= found.dice_error + 2e-12
    assert found.dice_error < 1e-2
    values, truth = (np.concatenate([a.ravel() for a in maps]), pooled(test)[1])
    called = values > np.float32(found.threshold)  # the threshold gives that very Dice
    assert found.dice == pytest.approx(2 * (called & truth).sum() / (called.sum() + truth.sum()))


def test_maps_with_few_values_lose_nothing_in_bins() -> None:
    test = cases([40, 90, 200], 3, decimals=1)
    histogram = Histogram()
    for case in test:
        histogram.add(case.anomaly, case.anomaly[case.mask])
    exact, found = exact_curve([c.anomaly for c in test], [c.mask for c in test]), binned_curve(histogram)
    assert found.average_precision == pytest.approx(exact.average_precision, abs=1e-12)
    assert (found.dice, found.recall) == (pytest.approx(exact.dice), pytest.approx(exact.recall))
    assert found.precision == pytest.approx(exact.precision)


def test_a_zero_is_a_zero_whatever_its_sign_and_without_a_lesion_there_is_no_curve() -> None:
    histogram = Histogram()
    histogram.add(np.array([-0.0, 0.0, 1.0], dtype=np.float32))
    assert histogram.found[0] == 2
    with pytest.raises(ValueError, match="no lesion pixel"):
        binned_curve(histogram)


@pytest.mark.parametrize("decimals", [None, 1])
def test_the_healthy_threshold_of_a_histogram_keeps_the_rate_and_is_the_exact_ones_bins_end(
    decimals: int | None,
) -> None:
    val, histogram = cases([0] * 5, 9, decimals=decimals), Histogram()
    for case in val:
        histogram.add(case.anomaly)
    exact, found = healthy_threshold(val), histogram.exceeded_by(5)
    assert exact is not None
    assert found is not None
    assert (pooled(val)[0] > np.float32(found)).mean() <= 0.05
    assert exact <= found <= exact * (1 + 1 / 8192)
    assert Histogram().exceeded_by(5) is None
