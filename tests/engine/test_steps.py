"""Single steps and whole chains against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from uadbench.engine.schedule import linear_schedule
from uadbench.engine.steps import add_noise, ddim_step, ddpm_step, diffuse, predict_x0, reverse_weights

SCHEDULE = linear_schedule()


def normal(n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 1, 100, 100))).float()


def test_predict_x0_inverts_add_noise() -> None:
    x0 = normal(1, 0).clamp(-1, 1)
    noise = normal(1, 1)
    for t in (1, 50, 350, 600):
        x_t = add_noise(SCHEDULE, x0, t, noise)
        torch.testing.assert_close(predict_x0(SCHEDULE, x_t, noise, t), x0, atol=2e-5, rtol=0)


def test_diffusing_in_two_legs_has_the_moments_of_one() -> None:
    x0 = torch.full((20, 1, 100, 100), 0.5)
    x = diffuse(SCHEDULE, add_noise(SCHEDULE, x0, 100, normal(20, 2)), 100, 300, normal(20, 3))
    abar = SCHEDULE.abar[300]
    assert x.mean().item() == pytest.approx(0.5 * math.sqrt(abar), abs=0.01)
    assert x.var().item() == pytest.approx(1 - abar, rel=0.02)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0, None], ids=["ddim", "eta 0.3", "eta 1", "ancestral"])
@pytest.mark.parametrize("steps", [4, 40])
def test_a_chain_that_knows_the_clean_image_keeps_every_level_s_moments(
    eta: float | None, steps: int
) -> None:
    """With the true eps, x at level t is N(sqrt(abar) x0, 1 - abar) for every spacing and eta."""
    x0 = torch.full((20, 1, 100, 100), -0.4)
    x_t = add_noise(SCHEDULE, x0, 350, normal(20, 4))
    for i, (t, t_prev) in enumerate(SCHEDULE.pairs(350, steps)):
        abar = float(SCHEDULE.abar[t])
        eps = (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
        noise = normal(20, 100 + i)
        if eta is None:
            x_t, x0_hat = ddpm_step(SCHEDULE, x_t, eps, t, t_prev, noise)
        else:
            x_t, x0_hat = ddim_step(SCHEDULE, x_t, eps, t, t_prev, noise, eta)
        abar_prev = float(SCHEDULE.abar[t_prev])
        torch.testing.assert_close(x0_hat, x0, atol=1e-4, rtol=0)
        assert x_t.mean().item() == pytest.approx(-0.4 * math.sqrt(abar_prev), abs=0.01)
        assert x_t.var().item() == pytest.approx(1 - abar_prev, rel=0.03, abs=1e-6)
    torch.testing.assert_close(x_t, x0, atol=1e-4, rtol=0)


def test_ddim_with_eta_one_is_the_ancestral_step() -> None:
    x_t, eps, noise = 0.5 * normal(1, 5), normal(1, 6), normal(1, 7)
    a = ddpm_step(SCHEDULE, x_t, eps, 200, 150, noise)
    b = ddim_step(SCHEDULE, x_t, eps, 200, 150, noise, eta=1.0)
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_stochastic_step_without_noise_is_refused() -> None:
    x = torch.zeros(1, 1, 8, 8)
    with pytest.raises(ValueError, match="needs noise"):
        ddpm_step(SCHEDULE, x, x, 10, 9, None)
    with pytest.raises(ValueError, match=r"eta = 0\.5 needs noise"):
        ddim_step(SCHEDULE, x, x, 10, 9, None, eta=0.5)


@pytest.mark.parametrize(("eta", "v"), [(1.0, 0.0), (1.0, 0.3), (0.4, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize(("t", "t_prev"), [(1000, 999), (350, 336), (14, 0), (1, 0)])
def test_a_step_back_is_the_sum_that_its_weights_say(t: int, t_prev: int, eta: float, v: float) -> None:
    x_t, eps, noise = (normal(1, seed).double() for seed in range(3))
    x_t = 0.2 * x_t  # so that some of x0 is clipped and some is not
    step = ddpm_step(SCHEDULE, x_t, eps, t, t_prev, noise, v) if eta == 1 else None
    x_prev, x0 = step or ddim_step(SCHEDULE, x_t, eps, t, t_prev, noise, eta)
    of_x0, of_x_t, of_noise = reverse_weights(SCHEDULE, t, t_prev, eta, v)
    torch.testing.assert_close(of_x0 * x0 + of_x_t * x_t + of_noise * noise, x_prev, atol=1e-9, rtol=1e-9)
