"""Validation measures a denoiser with noise that never changes, against closed forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench.engine.schedule import linear_schedule
from uadbench.engine.training.losses import OBJECTIVES
from uadbench.engine.training.validation import BANDS, clean_errors, reconstructions, validation_loss

NOISE = OBJECTIVES["noise"]
LEVELS = NOISE.validated
SCHEDULE = linear_schedule()
IMAGES = np.full((4, 16, 16), 0.75, np.float32)  # 0.5 on the network's range


class Known(nn.Module):
    """Knows the clean image, and so the noise, exactly; ``wrong`` is added to its answer."""

    def __init__(self, clean: float = 0.5, wrong: float = 0.0) -> None:
        super().__init__()
        self.clean, self.wrong = clean, wrong

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        abar = torch.from_numpy(SCHEDULE.abar)[timesteps + 1].float()[:, None, None, None]
        return (x - abar.sqrt() * self.clean) / (1 - abar).sqrt() + self.wrong


def network(**arguments: float) -> Any:
    return Known(**arguments).eval()


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_the_loss_of_a_known_error_is_its_square_in_every_band(noise: str) -> None:
    losses = validation_loss(network(wrong=0.3), IMAGES, noise)
    assert list(losses) == [f"{low}-{high}" for low, high in BANDS]
    for loss in losses.values():
        assert loss == pytest.approx(0.09, rel=1e-2)
    assert max(validation_loss(network(), IMAGES, noise).values()) < 1e-4


def test_the_noise_never_changes() -> None:
    model = network(clean=0.1)
    first = validation_loss(model, IMAGES, "gaussian")
    assert validation_loss(model, IMAGES, "gaussian") == first
    assert validation_loss(model, IMAGES, "gaussian", seed=1) != first


def test_an_estimate_of_the_clean_image_is_that_of_one_call_at_each_level() -> None:
    found = reconstructions(network(), IMAGES, "gaussian", NOISE)
    assert found.shape == (len(LEVELS), *IMAGES.shape)
    np.testing.assert_allclose(found, np.broadcast_to(IMAGES, found.shape), atol=1e-3)


def test_errors_of_the_clean_image_stand_by_source_and_level() -> None:
    """An error e of eps is one of e sqrt(1 / snr) of x0 on [-1, 1], half of that on [0, 1]."""
    wrong = 0.02
    errors = clean_errors(network(wrong=wrong), {"a": IMAGES, "b": IMAGES[:2]}, "gaussian", NOISE)
    assert list(errors) == ["a", "b"]
    for level in LEVELS:
        abar = SCHEDULE.abar[level]
        expected = (wrong * math.sqrt((1 - abar) / abar) / 2) ** 2
        assert errors["a"][str(level)] == pytest.approx(expected, rel=0.05)
        assert errors["b"][str(level)] == pytest.approx(expected, rel=0.05)
