"""Size groups, image score, healthy threshold, reconstruction scores, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from uadbench.bench.score.cases import HEAD, head_of
from uadbench.bench.score.summary import (
    Scored,
    healthy_threshold,
    image_score,
    reconstruction_metrics,
    size_group,
    summarize,
)
from uadbench.engine.training.perceptual import FOREGROUND

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


def test_the_head_is_what_is_bright_with_what_that_encloses() -> None:
    image = np.full((20, 20), 0.05, dtype=np.float32)  # noise of the background
    image[3:15, 4:16] = 0.6
    image[7:9, 7:9] = 0.0  # fluid
    wanted = np.zeros((20, 20), dtype=bool)
    wanted[3:15, 4:16] = True
    np.testing.assert_array_equal(head_of(image), wanted)


def test_the_head_begins_where_training_sees_tissue() -> None:
    assert HEAD == FOREGROUND
