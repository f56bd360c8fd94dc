"""Simulated scanner changes, by their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from uadbench.datasets.shifts import SHIFTS, shifted

RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(0.2, 0.9, (16, 16)).astype(np.float32)
HEAD = np.zeros((16, 16), bool)
HEAD[4:12, 4:12] = True
IMAGE[~HEAD] *= 0.05


@pytest.mark.parametrize(
    ("kind", "value", "formula"),
    [
        ("contrast", 0.6, lambda x: x.mean() + 0.6 * (x - x.mean())),
        ("contrast", 2.5, lambda x: x.mean() + 2.5 * (x - x.mean())),
        ("gain", 1.3, lambda x: 1.3 * x),
        ("gamma", 0.7, lambda x: x**0.7),
    ],
)
def test_a_shift_changes_the_head_by_its_formula_clipped_and_nothing_else(
    kind: str, value: float, formula
) -> None:
    found = shifted(IMAGE, HEAD, kind, value)
    wanted = np.clip(formula(IMAGE[HEAD].astype(np.float64)), 0, 1)
    np.testing.assert_allclose(found[HEAD], wanted, rtol=1e-6)
    np.testing.assert_array_equal(found[~HEAD], IMAGE[~HEAD])
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("kind", SHIFTS)
def test_at_1_or_without_a_head_the_image_is_as_it_was(kind: str) -> None:
    np.testing.assert_array_equal(shifted(IMAGE, HEAD, kind, 1.0), IMAGE)
    np.testing.assert_array_equal(shifted(IMAGE, np.zeros_like(HEAD), kind, 0.5), IMAGE)


def test_a_contrast_below_1_keeps_the_mean_and_shrinks_the_spread_by_its_factor() -> None:
    found = shifted(IMAGE, HEAD, "contrast", 0.5)
    assert found[HEAD].mean() == pytest.approx(IMAGE[HEAD].mean(), rel=1e-5)
    assert found[HEAD].std() == pytest.approx(0.5 * IMAGE[HEAD].std(), rel=1e-5)
