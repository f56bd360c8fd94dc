"""The exact variance of a respaced chain, against data whose denoiser and posterior are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.closed_form import AbsolutePerceptual, Fake, GaussianDenoiser
from support.places import ROOT

from uadbench.engine.interfaces import Denoiser
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.steps import ddpm_step
from uadbench.engine.tools import make_tools
from uadbench.engine.variance import interpolated, squared_errors, variance_levels

SCHEDULE = linear_schedule()
MEAN, STD = 0.1, 0.1
EXACT = GaussianDenoiser(SCHEDULE, MEAN, STD)


def fields(seed: int, std: float = 1.0, n: int = 10) -> Callable[[int], torch.Tensor]:
    rng = np.random.default_rng(seed)
    return lambda t: std * torch.from_numpy(rng.standard_normal((n, 1, 100, 100), dtype=np.float32))


def clean(seed: int, n: int = 10) -> torch.Tensor:
    return MEAN + STD * fields(seed, n=n)(0)


def posterior(t: int, noise_std: float = 1.0, std: float = STD) -> float:
    """Var[x0 | x_t] of a pixel that is N(MEAN, std^2)."""
    abar = float(SCHEDULE.abar[t])
    noise = (1 - abar) * noise_std**2
    return std**2 * noise / (abar * std**2 + noise)


def chain_variance(
    denoiser: Denoiser, steps: int | None, v: Callable[[int], float] | None, noise_std: float = 1.0
) -> float:
    """Of a chain's results from level 350, over the variance of the data."""
    noise = fields(1, noise_std)
    tools = make_tools(denoiser, SCHEDULE, noise, AbsolutePerceptual(), x0_variance=v)
    x_t = tools.add_noise(clean(0), 350, noise(350))
    for t, t_prev in SCHEDULE.pairs(350, steps):
        x_t, _ = tools.reverse(x_t, t, t_prev)
    return x_t.var().item() / STD**2


@pytest.mark.parametrize(("steps", "fixed_small"), [(25, 0.55), (100, 0.80)])
def test_with_the_exact_variance_a_short_chain_ends_with_the_datas_and_without_it_falls_short(
    steps: int, fixed_small: float
) -> None:
    assert chain_variance(EXACT, steps, None) == pytest.approx(fixed_small, abs=0.015)
    assert chain_variance(EXACT, steps, posterior) == pytest.approx(1, abs=0.02)  # sampling error: 0.005


def test_with_a_measured_table_it_does_so_too() -> None:
    levels = variance_levels(SCHEDULE, 350)
    errors, powers = squared_errors(EXACT, SCHEDULE, clean(5), fields(6), levels)
    record = {"levels": levels, "v": errors.mean(axis=0).tolist(), "noise": powers.mean()}
    assert errors.mean(axis=0) == pytest.approx([posterior(t) for t in levels], rel=0.02)
    assert chain_variance(EXACT, 25, interpolated(SCHEDULE, record)) == pytest.approx(1, abs=0.03)


def test_where_the_noise_is_not_of_unit_variance_v_is_taken_in_its_units() -> None:
    std = 0.5  # as simplex fields have

    def optimal(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        abar = float(SCHEDULE.abar[int(t[0])])
        gain = math.sqrt(1 - abar) * std**2 / (abar * STD**2 + (1 - abar) * std**2)
        return gain * (x_t - math.sqrt(abar) * MEAN)

    network = Fake(optimal)
    assert chain_variance(network, 25, None, std) < 0.8
    assert chain_variance(network, 25, lambda t: posterior(t, std) / std**2, std) == pytest.approx(
        1, abs=0.02
    )
    levels = variance_levels(SCHEDULE, 350)
    errors, powers = squared_errors(network, SCHEDULE, clean(7, 2), fields(8, std, 2), levels)
    assert powers == pytest.approx(np.full(powers.shape, std**2), rel=0.05)
    record = {"levels": levels, "v": errors.mean(axis=0), "noise": powers.mean()}
    found = interpolated(SCHEDULE, record)
    assert [found(t) * std**2 for t in (14, 100, 333)] == pytest.approx(
        [posterior(t, std) for t in (14, 100, 333)], rel=0.06
    )


@pytest.mark.parametrize(("t", "t_prev"), [(350, 336), (336, 100), (50, 49), (14, 0), (1, 0)])
def test_a_steps_mean_and_variance_are_those_of_conditioning_a_joint_gaussian(t: int, t_prev: int) -> None:
    """x_t = sqrt(keep) x_prev + noise, so (x_prev, x_t) is jointly Gaussian: no posterior given x0 is needed."""
    abar, abar_prev = float(SCHEDULE.abar[t]), float(SCHEDULE.abar[t_prev])
    keep = abar / abar_prev
    var_t, var_prev = (a * STD**2 + 1 - a for a in (abar, abar_prev))
    x_t = torch.linspace(-0.5, 0.7, 16).reshape(1, 1, 4, 4)
    slope = math.sqrt(keep) * var_prev / var_t
    mean = math.sqrt(abar_prev) * MEAN + slope * (x_t - math.sqrt(abar) * MEAN)
    eps = EXACT.denoise(x_t, torch.tensor([t]))
    low, _ = ddpm_step(SCHEDULE, x_t, eps, t, t_prev, torch.zeros_like(x_t), posterior(t))
    high, _ = ddpm_step(SCHEDULE, x_t, eps, t, t_prev, torch.ones_like(x_t), posterior(t))
    torch.testing.assert_close(low, mean, atol=2e-6, rtol=0)
    assert (high - low).double().mean().item() ** 2 == pytest.approx(var_prev - slope**2 * var_t, rel=1e-3)


@pytest.mark.parametrize(("t", "t_prev"), [(350, 336), (2, 1), (14, 0)])
def test_without_x0_variance_a_step_is_the_published_one_to_the_bit(t: int, t_prev: int) -> None:
    x_t, eps, noise = fields(2)(t), fields(3)(t), fields(4)(t)
    abar, before = float(SCHEDULE.abar[t]), float(SCHEDULE.abar[t_prev])
    alpha = abar / before
    x0 = ((x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)).clamp(-1, 1)
    mean = (math.sqrt(before) * (1 - alpha) * x0 + math.sqrt(alpha) * (1 - before) * x_t) / (1 - abar)
    wanted = mean if t_prev == 0 else mean + math.sqrt((1 - before) / (1 - abar) * (1 - alpha)) * noise
    found, _ = ddpm_step(SCHEDULE, x_t, eps, t, t_prev, noise)
    assert torch.equal(found, wanted)


def test_the_last_step_draws_noise_with_the_exact_variance_and_none_without() -> None:
    drawn: list[int] = []

    def noise(t: int) -> torch.Tensor:
        drawn.append(t)
        return torch.zeros(1, 1, 8, 8)

    x = torch.zeros(1, 1, 8, 8)
    for v in (None, posterior):
        make_tools(EXACT, SCHEDULE, noise, AbsolutePerceptual(), x0_variance=v).reverse(x, 14, 0)
    assert drawn == [14]
    with pytest.raises(ValueError, match="x0_variance, needs noise"):
        ddpm_step(SCHEDULE, x, x, 14, 0, None, posterior(14))


def test_levels_run_from_one_to_the_first_that_is_high_enough_and_do_not_hang_on_it() -> None:
    every = variance_levels(SCHEDULE, 1000)
    assert (every[0], every[-1]) == (1, 1000)
    assert every == sorted(set(every))
    for highest in (1, 2, 250, 350, 999):
        some = variance_levels(SCHEDULE, highest)
        assert some == every[: len(some)]
        assert some[-1] >= highest
        assert len(some) == 1 or some[-2] < highest


def test_between_its_levels_a_table_is_off_by_three_percent_at_most_and_the_page_and_the_code_say_so() -> (
    None
):
    """Whatever the pixels' spread: where it is far from the noise v is a straight line, and the table exact."""
    levels = variance_levels(SCHEDULE, 1000)
    worst: dict[tuple[float, int], float] = {}
    for std in np.geomspace(0.001, 10, 81):
        true = [posterior(t, std=std) for t in range(1, 1001)]
        v = interpolated(SCHEDULE, {"levels": levels, "v": [true[t - 1] for t in levels], "noise": 1.0})
        found = [v(t) for t in range(1, 1001)]
        assert [found[t - 1] for t in levels] == pytest.approx([true[t - 1] for t in levels], rel=1e-9)
        off = np.abs(np.divide(found, true) - 1)
        worst[std, int(off.argmax()) + 1] = float(off.max())
    (spread, level), most = max(worst.items(), key=lambda one: one[1])
    page = " ".join((ROOT / "docs/methods/ddpm.md").read_text(encoding="utf-8").split())
    told = f"{100 * most:.1f} % at a spread of {spread:.2f}, level {level}"
    assert f"errs by {math.ceil(100 * most)} % of $v$ at most ({told})" in page
    code = (ROOT / "engine/variance.py").read_text(encoding="utf-8")
    assert f"errs by {math.ceil(100 * most)} % of v at most" in code


def test_an_error_of_zero_is_no_variance() -> None:
    v = interpolated(SCHEDULE, {"levels": [1, 1000], "v": [0.0, 0.0], "noise": 1.0})
    assert v(300) == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param({"levels": [1, 5], "v": [0.1], "noise": 1.0}, id="too few"),
        pytest.param({"levels": [0], "v": [0.1], "noise": 1.0}, id="level 0"),
        pytest.param({"levels": [1001], "v": [0.1], "noise": 1.0}, id="beyond the schedule"),
        pytest.param({"levels": [1], "v": [float("nan")], "noise": 1.0}, id="NaN"),
        pytest.param({"levels": [1], "v": [0.1], "noise": 0.0}, id="no noise"),
    ],
)
def test_a_table_that_is_none_is_refused(record: dict) -> None:
    with pytest.raises(ValueError, match="a table of x0_variance needs levels from 1 to 1000"):
        interpolated(SCHEDULE, record)


def test_the_exact_variance_is_refused_where_the_chain_is_not_ancestral() -> None:
    with pytest.raises(ValueError, match=r"eta is 0\.5; 1 is needed"):
        make_tools(EXACT, SCHEDULE, fields(0), AbsolutePerceptual(), eta=0.5, x0_variance=posterior)


def test_the_error_is_of_the_clipped_estimate_and_by_image() -> None:
    x = torch.stack([torch.full((1, 4, 4), 1.0), torch.full((1, 4, 4), 0.5)])
    blind = Fake(lambda x_t, t: -10 * torch.ones_like(x_t))  # drives the estimate above 1
    errors, _ = squared_errors(blind, SCHEDULE, x, lambda t: torch.zeros_like(x), [500])
    assert errors == pytest.approx(np.array([[0.0], [0.25]]))
