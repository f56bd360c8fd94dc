"""The floors find what they are made to find, and say what they need."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy.ndimage import gaussian_filter
from support.closed_form import AbsolutePerceptual, GaussianDenoiser

from uadbench.engine.interfaces import Tools, to_signed
from uadbench.engine.methods import FITTED_FLOORS, FLOORS, build_method
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule()


def tools_with(lesion_sign: int, median: torch.Tensor | None) -> Tools:
    source, network = noise_source("gaussian", 0, ["a"], (64, 64)), GaussianDenoiser(SCHEDULE, 0, 1)
    spread = None if median is None else torch.full_like(median, 0.1)
    return make_tools(
        network,
        SCHEDULE,
        source,
        AbsolutePerceptual(),
        lesion_sign=lesion_sign,
        median=median,
        mean=median,
        spread=spread,
    )


@pytest.mark.parametrize(
    ("lesion_sign", "value"), [pytest.param(-1, 0.2, id="dark"), pytest.param(+1, 0.97, id="bright")]
)
@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_points_at_a_lesion_of_the_sign_it_is_told(name: str, lesion_sign: int, value: float) -> None:
    x = to_signed(torch.full((1, 1, 64, 64), 0.7 if lesion_sign < 0 else 0.4))
    x[..., :4, :], x[..., -4:, :], x[..., :4], x[..., -4:] = -1, -1, -1, -1
    healthy = x.clone()
    x[..., 20:28, 12:20] = to_signed(torch.tensor(value))
    anomaly = build_method(name, "none")(x, tools_with(lesion_sign, healthy)).anomaly
    assert anomaly.min() >= 0
    assert anomaly[..., 22:26, 14:18].mean() > 2 * anomaly[..., 40:50, 20:44].mean()


@pytest.mark.parametrize("name", FLOORS)
def test_only_the_floor_that_says_so_needs_a_median(name: str) -> None:
    x = torch.linspace(-1, 1, 64 * 64).reshape(1, 1, 64, 64)
    method, tools = build_method(name, "none"), tools_with(-1, None)
    if FLOORS[name].needs_median:
        with pytest.raises(ValueError, match=r"needs the .* of healthy slices; the data set has none"):
            method(x, tools)
    else:
        assert torch.isfinite(method(x, tools).anomaly).all()


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_calls_no_network_and_draws_no_noise(name: str) -> None:
    def refuse(*arguments: object) -> torch.Tensor:
        raise AssertionError("a floor costs next to nothing")

    tools = dataclasses.replace(
        tools_with(-1, torch.zeros(1, 1, 64, 64)),
        denoise=refuse,
        predict_x0=refuse,
        reverse=refuse,
        noise=refuse,
        diffuse=refuse,
    )
    build_method(name, "none")(torch.zeros(1, 1, 64, 64), tools)


def image(seed: int) -> torch.Tensor:
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_pixel_three_spreads_from_the_mean_is_a_half_and_one_the_other_way_is_nothing() -> None:
    tools = tools_with(+1, to_signed(torch.full((1, 1, 64, 64), 0.4)))
    away = build_method("zscore", "none")(to_signed(torch.full((1, 1, 64, 64), 0.7)), tools).anomaly
    torch.testing.assert_close(away, torch.full_like(away, 0.5))
    assert (
        build_method("zscore", "none")(to_signed(torch.full((1, 1, 64, 64), 0.1)), tools).anomaly.max() == 0
    )
    both = build_method("zscore", "none", overrides={"signed": False})
    assert both(to_signed(torch.full((1, 1, 64, 64), 0.1)), tools).anomaly.min() == pytest.approx(0.5)


def test_where_healthy_slices_do_not_differ_a_score_stays_finite_and_small_differences_stay_small() -> None:
    tools = dataclasses.replace(
        tools_with(+1, torch.full((1, 1, 64, 64), -1.0)), spread=torch.zeros(1, 1, 64, 64)
    )
    x = to_signed(torch.full((1, 1, 64, 64), 0.01))
    assert build_method("zscore", "none")(x, tools).anomaly.max() < 0.1


def test_asymmetry_times_intensity_is_the_geometric_mean_of_the_two() -> None:
    x, tools = image(2), tools_with(-1, None)
    parts = [build_method(name, "none")(x, tools).anomaly for name in ("asymmetry", "intensity")]
    found = build_method("asymmetry-intensity", "none")(x, tools).anomaly
    torch.testing.assert_close(found**2, parts[0] * parts[1])


@pytest.mark.parametrize("name", ["asymmetry", "residual-median", "zscore"])
def test_without_a_sign_a_floor_finds_both_ways_what_it_finds_in_either(name: str) -> None:
    """For pixels one by one (no smoothing) the unsigned map is the larger of the two signed ones."""
    x, median = image(3), image(4)[:1]
    signed, unsigned = (
        build_method(name, "none", overrides={"sigma": 0.0, "signed": on}) for on in (True, False)
    )
    either = [signed(x, tools_with(sign, median)).anomaly for sign in (+1, -1)]
    torch.testing.assert_close(unsigned(x, tools_with(+1, median)).anomaly, torch.maximum(*either))


@pytest.mark.parametrize("name", FITTED_FLOORS)
def test_a_floor_that_is_not_fitted_yet_is_the_fixed_one(name: str) -> None:
    x, tools = image(5), tools_with(+1, image(6)[:1])
    fixed = build_method(name.removesuffix("-fitted"), "none")
    assert torch.equal(build_method(name, "none")(x, tools).anomaly, fixed(x, tools).anomaly)
    assert FITTED_FLOORS[name].floor


def test_asymmetry_of_a_symmetric_image_is_nothing() -> None:
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    x = x + x.flip(-1) - 1
    assert build_method("asymmetry", "none")(x, tools_with(+1, None)).anomaly.max() < 1e-6


def test_perceptual_blur_is_the_distance_to_the_image_that_blur_takes_the_difference_to() -> None:
    """With the absolute difference for a distance both floors are one, up to the factor of the ranges."""
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tools = tools_with(-1, None)
    plain, seen = (build_method(name, "none")(x, tools) for name in ("blur", "perceptual-blur"))
    assert torch.equal(seen.reconstruction, plain.reconstruction)
    torch.testing.assert_close(seen.anomaly, (x - plain.reconstruction).abs())


def test_perceptual_blur_through_the_shipped_net_is_that_nets_map_of_the_blurred_image() -> None:
    """scipy blurs, the opened net compares: the floor adds nothing of its own."""
    net = open_perceptual("brain-squeeze")
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tools = dataclasses.replace(tools_with(-1, None), against=net.against)
    smooth = torch.from_numpy(gaussian_filter(x[0, 0].double().numpy(), 4.0, mode="nearest")).float()
    found = build_method("perceptual-blur", "none")(x, tools).anomaly
    torch.testing.assert_close(found, net.against(x)(smooth[None, None]), rtol=1e-3, atol=1e-4)
