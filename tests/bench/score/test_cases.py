"""Size groups, image score, healthy threshold, reconstruction scores, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from uadbench.bench.score.cases import KLD_BINS, histogram_kld
from uadbench.bench.score.summary import (
    Scored,
    healthy_threshold,
    image_score,
    reconstruction_metrics,
    size_group,
    summarize,
)

SIDE = 32


def disc(pixels: int) -> np.ndarray:
    """A mask of exactly so many pixels."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask.flat[:pixels] = True
    return mask


def scored(pixels: int = 50, seed: int = 0, decimals: int = 7, **change: Any) -> Scored:
    rng = np.random.default_rng(seed)
    anomaly = rng.random((SIDE, SIDE)).round(decimals).astype(np.float32)
    return replace(Scored(f"c{seed}", f"s{seed}", pixels > 0, anomaly, disc(pixels)), **change)


@pytest.mark.parametrize(
    ("pixels", "group"),
    [
        (0, None),
        (3, None),
        (4, "small"),
        (71, "small"),
        (72, "medium"),
        (570, "medium"),
        (571, "large"),
        (1024, "large"),
    ],
)
def test_size_groups_are_open_below_and_closed_above(pixels: int, group: str | None) -> None:
    assert size_group(disc(pixels)) == group


def test_the_healthy_threshold_leaves_at_most_five_percent_and_no_lower_value_does() -> None:
    for decimals in (7, 1, 2):
        val = [scored(0, seed, decimals) for seed in range(3)]
        threshold = healthy_threshold(val)
        values = np.concatenate([case.anomaly.ravel() for case in val])
        assert threshold is not None
        assert (values > np.float32(threshold)).mean() <= 0.05
        lower = values[values < np.float32(threshold)].max()
        assert (values > lower).mean() > 0.05


def test_the_image_score_is_the_mean_of_the_top_hundredth() -> None:
    anomaly = np.zeros((20, 20), dtype=np.float32)
    anomaly.flat[:6] = [1.0, 0.75, 0.5, 0.25, 0.125, 0.0625]
    assert image_score(anomaly) == 0.625
    assert image_score(np.full((128, 128), 0.5, dtype=np.float32)) == 0.5


@pytest.mark.parametrize(
    ("test", "message"),
    [
        pytest.param([scored(anomaly=np.full((SIDE, SIDE), np.nan, np.float32))], "case c0: .*NaN", id="nan"),
        pytest.param(
            [scored(anomaly=np.full((SIDE, SIDE), np.inf, np.float32))], "case c0: .*infinity", id="inf"
        ),
        pytest.param(
            [scored(anomaly=np.full((SIDE, SIDE), -1, np.float32))], "case c0: .*>= 0", id="negative"
        ),
        pytest.param([scored(anomaly=np.zeros((4, 4), np.float32))], r"case c0: map \(4, 4\)", id="shape"),
        pytest.param(
            [scored(mask=np.zeros((SIDE, SIDE), np.uint8))], "case c0: the mask is uint8", id="mask type"
        ),
        pytest.param([scored(), scored()], "case c0: given twice", id="twice"),
        pytest.param([scored(lesion=False)], "case c0: is called healthy.*50", id="mask of a healthy case"),
    ],
)
def test_a_case_that_cannot_be_scored_is_named(test: list[Scored], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize(test, [], seed=0)


def test_reconstruction_metrics_have_their_closed_forms() -> None:
    image = np.random.default_rng(0).random((32, 32)).astype(np.float32) * 0.5
    same = reconstruction_metrics(image, image)
    assert same == {"ssim": pytest.approx(1.0), "psnr": None, "mae": 0.0}
    shifted = reconstruction_metrics(image, image + np.float32(0.1))
    assert shifted["psnr"] == pytest.approx(20.0, abs=1e-4)
    assert shifted["mae"] == pytest.approx(0.1, abs=1e-6)
    flat = reconstruction_metrics(np.full((16, 16), 0.2), np.full((16, 16), 0.6))
    # two constant images: only SSIM's luminance term is left
    assert flat["ssim"] == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4))
    with pytest.raises(ValueError, match="differ in shape"):
        reconstruction_metrics(image, image[:8])
    with pytest.raises(ValueError, match="NaN"):
        reconstruction_metrics(image, np.full((32, 32), math.nan))


def test_the_divergence_of_histograms_is_that_of_input_to_reconstruction_in_nats() -> None:
    image, reconstruction = np.full((2, 4, 4), 0.9, np.float32)
    image[2:] = 0.3  # half the pixels at 0.3, half at 0.9; all at 0.9
    inside = np.ones((4, 4), bool)
    p, q = np.ones((2, KLD_BINS))
    p[int(0.3 * KLD_BINS)] += 8
    p[int(0.9 * KLD_BINS)] += 8
    q[int(0.9 * KLD_BINS)] += 16
    p, q = p / (16 + KLD_BINS), q / (16 + KLD_BINS)
    assert histogram_kld(image, reconstruction, inside) == pytest.approx((p * np.log(p / q)).sum())
    assert histogram_kld(reconstruction, image, inside) == pytest.approx((q * np.log(q / p)).sum())
    assert histogram_kld(image, image, inside) == pytest.approx(0.0, abs=1e-12)


def test_pixels_that_are_clipped_in_the_input_say_nothing_of_the_divergence() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0.05, 0.95, (16, 16)).astype(np.float32)
    reconstruction = (0.9 * image).astype(np.float32)
    inside = np.ones((16, 16), bool)
    clipped = image.copy()
    clipped[0], clipped[1] = 0, 1
    kept = inside.copy()
    kept[:2] = False
    assert histogram_kld(clipped, reconstruction, inside) == histogram_kld(image, reconstruction, kept)
    assert histogram_kld(image, clipped, inside) != histogram_kld(image, image, inside), "the output's count"
    assert histogram_kld(clipped, reconstruction, ~kept) is None


def test_only_pixels_inside_enter_the_divergence() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((16, 16)).astype(np.float32)
    inside = image > 0.5
    other = np.where(inside, image, np.float32(0.3))
    assert histogram_kld(image, other, inside) == pytest.approx(0.0, abs=1e-12)
