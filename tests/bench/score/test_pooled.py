"""Pooled counts and fine bins against scikit-learn on the pixels themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from uadbench.bench.score.pooled import (
    THRESHOLDS,
    count_at,
    exact_curve,
    fine_counts,
    fine_samples,
    pooled_dice,
)

Images = list[np.ndarray]


def make(
    pixels: list[int], seed: int, signal: float, decimals: int | None = None, side: int = 32
) -> tuple[Images, Images]:
    """(maps, masks) with so many lesion pixels each."""
    rng = np.random.default_rng(seed)
    masks = [(np.arange(side * side) < n).reshape(side, side) for n in pixels]
    maps = [np.clip(rng.random((side, side)) * 0.8 + signal * mask, 0, 1) for mask in masks]
    if decimals is not None:
        maps = [m.round(decimals) for m in maps]
    return [m.astype(np.float32) for m in maps], masks


def flat(images: Images, times: np.ndarray) -> np.ndarray:
    """The pixels of all images, each image as often as it was drawn."""
    return np.concatenate([image.ravel() for image, n in zip(images, times, strict=True) for _ in range(n)])


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(4, 400), min_size=1, max_size=5),
    st.integers(0, 2**32),
    st.sampled_from([None, 0, 1, 2]),
)
def test_a_resample_scores_as_if_its_cases_were_repeated(
    pixels: list[int], seed: int, decimals: int | None
) -> None:
    maps, masks = make(pixels, seed, signal=0.2, decimals=decimals)
    drawn = np.random.default_rng(seed).integers(0, 3, size=len(pixels))
    drawn[0] += 1
    values, truth = flat(maps, drawn), flat(masks, drawn)
    weights = drawn[None, :].astype(float)
    expected = [dice(values > t, truth) for t in THRESHOLDS]
    assert pooled_dice(weights, count_at(maps, masks, THRESHOLDS))[0] == pytest.approx(expected)
    ap, best = fine_samples(weights, fine_counts(maps, masks))
    # fewer distinct lesion values than bins: nothing is lost
    assert ap[0] == pytest.approx(average_precision_score(truth, values))
    assert best[0] == pytest.approx(max(dice(values >= v, truth) for v in np.unique(values[truth])))


@pytest.mark.parametrize("signal", [0.0, 0.05, 0.3, 0.7], ids=["useless", "weak", "good", "strong"])
def test_binned_and_exact_scores_agree_within_a_thousandth(signal: float) -> None:
    """With many times more distinct lesion values than bins, in the whole sample and in resamples of it."""
    maps, masks = make([40, 300, 900, 2500] * 6, seed=0, signal=signal, side=128)
    assert np.unique(np.concatenate([m[mask] for m, mask in zip(maps, masks, strict=True)])).size > 2 * 4096
    counts = fine_counts(maps, masks)
    assert counts.found.shape[1] <= 4096
    drawn = np.random.default_rng(1).multinomial(24, np.full(24, 1 / 24), size=2)
    drawn = np.concatenate([np.ones((1, 24), dtype=int), drawn])
    ap, best = fine_samples(drawn.astype(float), counts)
    for row, binned_ap, binned_dice in zip(drawn, ap, best, strict=True):
        exact = exact_curve(
            [m for m, n in zip(maps, row, strict=True) for _ in range(n)],
            [m for m, n in zip(masks, row, strict=True) for _ in range(n)],
        )
        assert abs(binned_ap - exact.average_precision) < 1e-3
        assert abs(binned_dice - exact.dice) < 1e-3


def test_a_resample_without_lesion_pixels_is_undefined() -> None:
    maps, masks = make([10, 20], seed=0, signal=0.2)
    nobody = np.zeros((1, 2))
    assert np.isnan(pooled_dice(nobody, count_at(maps, masks, THRESHOLDS))).all()
    assert np.isnan(np.concatenate(fine_samples(nobody, fine_counts(maps, masks)))).all()


def test_the_exact_curve_needs_a_lesion_pixel() -> None:
    maps, masks = make([0], seed=0, signal=0.2)
    with pytest.raises(ValueError, match="no lesion pixel"):
        exact_curve(maps, masks)


def test_a_pixel_equal_to_a_threshold_is_not_found() -> None:
    values = np.array([[0.0, 0.01, 0.5, 1.0]], dtype=np.float32)
    found = count_at([values], [values > 0], THRESHOLDS).found[0]
    assert [found[k] for k in (0, 1, 49, 50, 99, 100)] == [3, 2, 2, 1, 1, 0]
