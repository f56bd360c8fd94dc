"""The shared map functions against closed forms, NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from uadbench.engine.anomaly import (
    anomaly_map,
    binarize,
    gaussian_smooth,
    harmonic_mean,
    normalize_max,
    normalize_percentile,
    residual,
)


def random_maps(batch: int = 3, height: int = 20, width: int = 17, seed: int = 0) -> Tensor:
    return torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(seed))


def test_residual_is_measured_on_unit_images() -> None:
    """Black against white differs by 1, not by 2."""
    black, white = torch.full((1, 1, 4, 4), -1.0), torch.ones(1, 1, 4, 4)
    assert torch.equal(residual(black, white), torch.ones(1, 1, 4, 4))
    assert torch.equal(residual(white, black), residual(black, white))


def test_anomaly_map_is_residual_times_perceptual_map() -> None:
    """The map vanishes where either factor does and is their product elsewhere."""
    x, x_rec, weight = random_maps(seed=1) * 2 - 1, random_maps(seed=2) * 2 - 1, random_maps(seed=3)
    expected = np.abs(x.numpy() - x_rec.numpy()) / 2 * weight.numpy()
    np.testing.assert_allclose(anomaly_map(x, x_rec, weight).numpy(), expected, atol=1e-7)
    assert anomaly_map(x, x, weight).max() == 0
    assert anomaly_map(x, x_rec, torch.zeros_like(weight)).max() == 0


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 1.5, 2.0, 3.7, 9.0])
def test_gaussian_smooth_equals_scipy(sigma: float) -> None:
    """The blur is SciPy's, mode "nearest", also when the kernel is wider than the image."""
    image = torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = gaussian_filter(image.numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(gaussian_smooth(image, sigma).numpy(), expected, rtol=0, atol=1e-14)
    in_float32 = gaussian_smooth(image.float(), sigma)
    assert in_float32.dtype == torch.float32
    np.testing.assert_allclose(in_float32.numpy(), expected, rtol=0, atol=5e-7)


def test_gaussian_smooth_keeps_a_constant_and_refuses_a_negative_sigma() -> None:
    """Weights sum to one up to the edges; sigma 0 is the identity; a negative or NaN sigma is an error."""
    flat = torch.full((1, 1, 16, 16), 0.7)
    torch.testing.assert_close(gaussian_smooth(flat, 2.0), flat, rtol=0, atol=1e-6)
    image = random_maps()
    assert torch.equal(gaussian_smooth(image, 0.0), image)
    for bad in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="sigma must be >= 0"):
            gaussian_smooth(image, bad)


def test_normalize_max_scales_each_image_and_keeps_zero_maps() -> None:
    """Each image reaches exactly 1 by itself; an all-zero map gives zeros, not NaN."""
    maps = random_maps() * torch.tensor([1e-6, 1.0, 50.0]).view(3, 1, 1, 1)
    scaled = normalize_max(torch.cat([maps, torch.zeros(1, 1, 20, 17)]))
    assert scaled.amax(dim=(1, 2, 3)).tolist() == [1.0, 1.0, 1.0, 0.0]
    np.testing.assert_allclose(scaled[2, 0].numpy(), maps[2, 0].numpy() / maps[2].max().item(), rtol=1e-6)


def test_normalize_percentile_agrees_with_numpy() -> None:
    """A map is divided by NumPy's percentile of its own pixels and clipped to [0, 1]."""
    maps = random_maps() * 3
    expected = np.stack([np.clip(m / np.percentile(m, 95), 0, 1) for m in maps.numpy().astype(np.float64)])
    np.testing.assert_allclose(normalize_percentile(maps, 95).numpy(), expected, atol=1e-6)


def test_normalize_percentile_of_a_sparse_map_takes_the_limit() -> None:
    """Where the percentile is 0, positive pixels become 1 and zeros stay 0."""
    sparse = torch.zeros(1, 1, 10, 10)
    sparse[0, 0, 3, 4] = 1e-30
    assert torch.equal(normalize_percentile(sparse), (sparse > 0).float())
    assert normalize_percentile(torch.zeros(1, 1, 10, 10)).max() == 0
    with pytest.raises(ValueError, match="in \\[0, 100\\], got 101"):
        normalize_percentile(sparse, 101)


def test_harmonic_mean_of_known_values() -> None:
    """1, 2 and 4 give 12/7; equal maps give themselves; one map gives itself."""
    one = torch.ones(1, 1, 2, 2)
    torch.testing.assert_close(harmonic_mean([one, 2 * one, 4 * one]), one * (12 / 7))
    maps = random_maps() + 0.01
    torch.testing.assert_close(harmonic_mean([maps] * 4), maps)
    torch.testing.assert_close(harmonic_mean([maps]), maps)


def test_harmonic_mean_agrees_with_double_precision() -> None:
    """On random maps the result is n / sum 1/m computed in float64."""
    maps = [random_maps(seed=s) + 1e-6 for s in range(5)]
    expected = 5 / sum(1 / m.double() for m in maps)
    torch.testing.assert_close(harmonic_mean(maps).double(), expected, rtol=1e-5, atol=0)


def test_harmonic_mean_is_zero_where_any_map_is_and_survives_tiny_values() -> None:
    """A zero wins over everything, and values whose inverse overflows float32 still give a finite mean."""
    a = torch.tensor([0.0, 0.0, 1e-39, 3e-39]).view(1, 1, 2, 2)
    b = torch.tensor([5.0, 0.0, 1e-39, 1.0]).view(1, 1, 2, 2)
    mean = harmonic_mean([a, b])
    assert mean[0, 0, 0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(
        mean[0, 0, 1].double() * 1e39, torch.tensor([1.0, 6.0]).double(), rtol=1e-4, atol=0
    )
    with pytest.raises(ValueError, match="at least one map"):
        harmonic_mean([])


def test_binarize_uses_a_threshold_or_each_images_percentile() -> None:
    """A fixed threshold is shared; a percentile marks the same share of every image, however it is scaled."""
    maps = random_maps() * torch.tensor([0.01, 1.0, 7.0]).view(3, 1, 1, 1)
    assert torch.equal(binarize(maps, threshold=0.5), (maps > 0.5).float())
    marked = binarize(maps, percent=95).sum(dim=(1, 2, 3))
    assert marked.tolist() == [17.0, 17.0, 17.0]  # 5 % of 340 pixels
    for kwargs in ({}, {"threshold": 0.1, "percent": 95}):
        with pytest.raises(ValueError, match="either threshold or percent"):
            binarize(maps, **kwargs)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda m: gaussian_smooth(m, 2.0), id="gaussian_smooth"),
        pytest.param(normalize_max, id="normalize_max"),
        pytest.param(normalize_percentile, id="normalize_percentile"),
        pytest.param(lambda m: harmonic_mean([m, m.square(), m + 1]), id="harmonic_mean"),
        pytest.param(lambda m: binarize(m, percent=90), id="binarize"),
    ],
)
def test_an_image_alone_equals_the_same_image_in_a_batch(function) -> None:
    """No function lets one image of a batch look at another."""
    maps = random_maps(batch=8, seed=5) * torch.arange(1, 9).view(8, 1, 1, 1)
    together = function(maps)
    alone = torch.cat([function(maps[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)  # maps reach 8
