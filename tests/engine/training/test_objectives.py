"""What a denoiser is trained on, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uadbench.engine.rng import case_generator, noise_source
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.engine.steps import add_noise
from uadbench.engine.training.objectives import WEIGHTINGS, draw_levels, noise_fields, noised, snr

SCHEDULE = linear_schedule()


def test_the_signal_to_noise_ratio_is_that_of_the_schedule() -> None:
    schedule = Schedule((0.2, 0.5))  # abar 0.8, 0.4
    np.testing.assert_allclose(snr(schedule, np.array([1, 2])), [4.0, 0.4 / 0.6])
    assert np.all(np.diff(snr(SCHEDULE, np.arange(1, 1001))) < 0)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        pytest.param("plain", [1, 1, 1], id="plain"),
        pytest.param("min-snr-5", [0.05, 1, 1], id="min-snr-5: min(snr, 5) / snr"),
        pytest.param("p2", [1 / 101, 1 / 6, 1 / 1.01], id="p2: 1 / (1 + snr)"),
    ],
)
def test_weights_are_those_of_their_paper(name: str, weights: list[float]) -> None:
    np.testing.assert_allclose(WEIGHTINGS[name](np.array([100.0, 5.0, 0.01])), weights)


def test_min_snr_weighs_the_error_of_x0_at_most_by_gamma() -> None:
    """An error of eps is one of x0 times sqrt(snr), so that weight x snr is min(snr, 5)."""
    ratio = snr(SCHEDULE, np.arange(1, 1001))
    np.testing.assert_allclose(WEIGHTINGS["min-snr-5"](ratio) * ratio, np.minimum(ratio, 5))


@pytest.mark.parametrize("share", [0.0, 0.98, 1.0])
def test_the_asked_share_of_levels_lies_up_to_the_focus_and_the_rest_anywhere(share: float) -> None:
    levels = draw_levels(np.random.default_rng(0), 20_000, 260, share, 1000)
    assert levels.dtype == np.int64
    assert levels.min() == 1
    assert (levels.max() == 260) if share == 1 else (levels.max() > 990)
    expected = share + (1 - share) * 0.26
    assert np.mean(levels <= 260) == pytest.approx(expected, abs=0.01)
    assert levels[levels <= 260].mean() == pytest.approx(130.5, abs=3)


def test_the_share_does_not_change_how_much_is_drawn() -> None:
    states = []
    for share in (0.0, 0.5, 1.0):
        rng = case_generator(0, "a")
        draw_levels(rng, 8, 360, share, 1000)
        states.append(str(rng.bit_generator.state))
    assert len(set(states)) == 1


@pytest.mark.parametrize("kind", ["gaussian", "simplex"])
def test_each_image_has_the_noise_of_its_own_level_and_name(kind: str) -> None:
    x = torch.zeros(3, 1, 16, 16)
    found = noise_fields(kind, 5, ["a", "b", "a"], np.array([10, 200, 10]), x)
    torch.testing.assert_close(found[0], found[2], atol=0, rtol=0)
    torch.testing.assert_close(found[1:2], noise_source(kind, 5, ["b"], (16, 16))(200), atol=0, rtol=0)


def test_each_image_is_brought_to_its_own_level() -> None:
    x, noise = torch.rand(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    found = noised(SCHEDULE, x, torch.tensor([1, 350, 1000]), noise)
    for row, t in enumerate((1, 350, 1000)):
        torch.testing.assert_close(found[row], add_noise(SCHEDULE, x[row], t, noise[row]))
