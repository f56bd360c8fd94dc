"""What networks are taught that undo anomalies: each loss is nothing for the right answer, and what it weighs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.datasets import DATASETS
from uadbench.engine.interfaces import to_signed
from uadbench.engine.methods.mend import COARSE_NOISE, PLACED
from uadbench.engine.methods.restored import STRENGTHS
from uadbench.engine.networks.vae import VAEConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.contract import Step
from uadbench.engine.training.losses import OBJECTIVES
from uadbench.engine.training.restoring import (
    BEND,
    CHANGED,
    RESTORING,
    SPREAD,
    WEIGHT_CHANGED,
    WEIGHT_CODE,
    WEIGHT_RESTORED,
)

DRAWN = ("coarse", "cold", "flow", "restoration")


@pytest.fixture(scope="module")
def x() -> Tensor:
    dataset = DATASETS["phantom"](None, 0, 8)
    images = [dataset.load(case).image for case in dataset.split("test")]
    return to_signed(torch.from_numpy(np.stack(images)).unsqueeze(1))


def step(count: int, number: int = 0) -> Step:
    config = TrainingConfig(batch_size=count)
    return Step(number, case_generator(0, f"s{number}"), config, linear_schedule(), np.arange(count))


class Answer(nn.Module):
    """Answers what it is told to."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.answer, self.shown = answer, list[tuple[Tensor, Tensor]]()

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        self.shown.append((x, timesteps))
        return self.answer(x, timesteps)


def weighed(error: Tensor, undone: Tensor) -> Tensor:
    """Half of the square over the bend, beyond it the error less half of the bend; ten times where changed."""
    size = error.abs()
    huber = torch.where(size < BEND, size.square() / (2 * BEND), size - BEND / 2)
    return (torch.where(undone.abs() > 2 * CHANGED, WEIGHT_CHANGED, 1.0) * huber).mean()


WANTED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "coarse": lambda error, undone: error.square().mean(),
    "cold": weighed,
}
"""Objective -> the loss of an error, given what an anomaly changed."""


def drawn(name: str, x: Tensor) -> tuple[Tensor, ...]:
    return OBJECTIVES[name].draw(x, step(len(x)), None)


def test_restoring_objectives_are_among_all_objectives() -> None:
    assert set(RESTORING) < set(OBJECTIVES)
    assert {OBJECTIVES[name].prediction for name in RESTORING} == {"change"}


@pytest.mark.parametrize("name", ["coarse", "cold"])
def test_the_change_to_the_clean_image_costs_nothing(name: str, x: Tensor) -> None:
    batch = drawn(name, x)
    clean, shown = batch[0], batch[1] if name == "coarse" else batch[2]
    assert not torch.equal(clean, shown)
    right = Answer(lambda seen, t: clean - shown)
    assert OBJECTIVES[name].loss(right, *batch).item() == pytest.approx(0, abs=1e-12)
    assert torch.equal(right.shown[0][0], shown)
    nothing = OBJECTIVES[name].loss(Answer(lambda seen, t: torch.zeros_like(seen)), *batch)
    assert nothing.item() == pytest.approx(WANTED[name](clean - shown, clean - batch[1]).item())


def test_the_flow_is_taught_the_whole_way_at_every_place_of_the_path(x: Tensor) -> None:
    clean, corrupted, between, t = batch = drawn("flow", x)
    share = (t / STRENGTHS).view(-1, 1, 1, 1)
    torch.testing.assert_close(between, (1 - share) * clean + share * corrupted)
    assert OBJECTIVES["flow"].loss(Answer(lambda seen, t: clean - corrupted), *batch).item() == 0
    nothing = OBJECTIVES["flow"].loss(Answer(lambda seen, t: torch.zeros_like(seen)), *batch)
    assert nothing.item() == pytest.approx(weighed(clean - corrupted, clean - corrupted).item())
    assert int(t.min()) >= 1
    assert int(t.max()) <= STRENGTHS


@pytest.mark.parametrize("name", DRAWN)
def test_networks_are_told_the_strength_from_zero_on(name: str, x: Tensor) -> None:
    batch, outputs = drawn(name, x), 2 if name == "restoration" else 1
    model = Answer(lambda seen, t: torch.zeros_like(seen).repeat(1, outputs, 1, 1))
    OBJECTIVES[name].loss(model, *batch)
    ((_, timesteps),) = model.shown
    wanted = torch.zeros(len(x), dtype=torch.int64) if name == "coarse" else batch[-1] - 1
    assert torch.equal(timesteps, wanted)


def test_every_second_image_of_restoration_has_coarse_noise_and_no_place_to_name(x: Tensor) -> None:
    clean, corrupted, t = drawn("restoration", x)
    assert t.tolist() == [PLACED, COARSE_NOISE] * (len(x) // 2)
    assert torch.equal(corrupted[1::2], drawn("coarse", x)[1][1::2])
    named = Answer(lambda seen, t: torch.cat([clean - corrupted, 9 * torch.ones_like(seen)], dim=1))
    noisy = OBJECTIVES["restoration"].loss(named, clean, corrupted, torch.full_like(t, COARSE_NOISE))
    assert noisy.item() == pytest.approx(0, abs=1e-9)


def test_restoration_weighs_changed_pixels_and_asks_where_they_are(x: Tensor) -> None:
    clean, corrupted, t = batch = drawn("restoration", x)
    placed = (t == PLACED).float().view(-1, 1, 1, 1)
    changed = ((clean - corrupted).abs() > 2 * CHANGED).float() * placed
    assert 0 < changed.mean() < 0.3
    model = Answer(lambda seen, t: torch.cat([clean - corrupted, 40 * (2 * changed - 1)], dim=1))
    assert OBJECTIVES["restoration"].loss(model, *batch).item() == pytest.approx(0, abs=1e-9)
    undecided = Answer(lambda seen, t: torch.zeros_like(seen).repeat(1, 2, 1, 1))
    error = (clean - corrupted).abs()
    weights = torch.where(changed > 0, WEIGHT_CHANGED, 1.0)
    where = F.binary_cross_entropy_with_logits(
        torch.zeros_like(x[::2]), changed[::2], pos_weight=torch.tensor(2.0)
    )
    wanted = WEIGHT_RESTORED * (weights * error).mean() + where / 2
    torch.testing.assert_close(OBJECTIVES["restoration"].loss(undecided, *batch), wanted)


def test_coarse_noise_is_coarse_of_its_spread_and_in_the_foreground_only(x: Tensor) -> None:
    clean, noised = drawn("coarse", x)
    noise = (noised - clean) / 2
    assert not noise[clean == -1].any()
    inside = noise[clean > -0.5]
    # linear interpolation between two draws of a grid lowers the variance to (2 / 3) ** 2 of theirs
    assert inside.std() == pytest.approx(SPREAD * 2 / 3, rel=0.2)
    steps = (noise[..., 1:] - noise[..., :-1])[(clean[..., 1:] > -0.5) & (clean[..., :-1] > -0.5)]
    assert steps.std() < 0.3 * inside.std()


def test_the_code_costs_its_divergence_from_a_standard_normal(x: Tensor) -> None:
    config = VAEConfig()
    shown, z = OBJECTIVES["code"].draw(x, step(len(x)), config)
    assert z.shape == (len(x), *config.code_shape(128, 128)) == (len(x), 8, 8, 8)

    class Known(nn.Module):
        def forward(self, x: Tensor, timesteps: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return torch.zeros_like(x), torch.full_like(z, 0.5), torch.full_like(z, -1.0)

    one = 0.5 * (0.25 + np.exp(-1.0) - 1 + 1)
    wanted = WEIGHT_CODE * one * z.numel() / shown.numel()
    assert OBJECTIVES["code"].loss(Known(), shown, z).item() == pytest.approx(wanted, rel=1e-5)


def test_lesions_are_looked_for_by_the_logit_where_there_is_one(x: Tensor) -> None:
    score: Any = OBJECTIVES["restoration"].score
    model = Answer(lambda seen, t: torch.cat([seen, seen], dim=1))
    torch.testing.assert_close(score(model, x), x.sigmoid())
    assert all(OBJECTIVES[name].score is None for name in OBJECTIVES if name != "restoration")
