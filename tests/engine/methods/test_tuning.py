"""A floor is tuned to the best Dice on the lesions that it is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.closed_form import AbsolutePerceptual, GaussianDenoiser

from uadbench.engine.interfaces import Fitting, Tools, to_signed
from uadbench.engine.methods import FITTED_FLOORS, FLOORS, build_method
from uadbench.engine.methods.tuning import SIGMA, SIGMAS, candidates, dice_max
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule(10)


def tools() -> Tools:
    source, network = noise_source("gaussian", 0, ["a"], (48, 48)), GaussianDenoiser(SCHEDULE, 0, 1)
    flat = to_signed(torch.full((1, 1, 48, 48), 0.5))
    shared = {"median": flat, "mean": flat, "spread": torch.full((1, 1, 48, 48), 0.1)}
    return make_tools(network, SCHEDULE, source, AbsolutePerceptual(), lesion_sign=1, **shared)


def noisy_squares() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of 0.5 with much noise and a bright square each; the squares."""
    image = 0.5 + 0.4 * torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    lesions = torch.zeros(2, 1, 48, 48, dtype=torch.bool)
    lesions[0, :, 10:26, 4:20] = lesions[1, :, 20:36, 6:20] = True
    return to_signed((image + 0.2 * lesions).clamp(0, 1)), lesions


@pytest.mark.parametrize("name", FITTED_FLOORS)
def test_the_candidate_with_the_best_dice_is_taken_and_written_down(name: str) -> None:
    floor: Any = build_method(name, "none")
    assert isinstance(floor, Fitting)
    assert floor.wants_fit()
    x, lesions = noisy_squares()
    chosen, record = floor.fit(floor.evidence(x, tools()), lesions)
    found: Any = chosen
    dice = {one: dice_max(one(x, tools()).anomaly, lesions) for one in candidates(floor)}
    assert dice[found] == max(dice.values()) == record["dice"]
    assert found.sigma == record["sigma"]
    assert not found.wants_fit()
    assert found.sigma > SIGMA  # so much noise wants more than the usual width


@pytest.mark.parametrize("name", FLOORS)
def test_a_fixed_floor_wants_no_fit(name: str) -> None:
    floor: Any = build_method(name, "none")
    assert not isinstance(floor, Fitting) or not floor.wants_fit()


def test_the_candidates_are_every_width_and_either_sign_rule_where_there_is_one() -> None:
    plain, signed = (
        candidates(build_method(f"{name}-fitted", "none")) for name in ("intensity", "asymmetry")
    )
    assert [one.sigma for one in plain] == list(SIGMAS)
    assert {(one.sigma, one.signed) for one in signed} == {
        (sigma, on) for sigma in SIGMAS for on in (True, False)
    }


def test_the_dice_is_the_best_over_the_protocols_thresholds() -> None:
    rng = np.random.default_rng(0)
    maps, lesions = rng.random((3, 1, 12, 12)).astype(np.float32), rng.random((3, 1, 12, 12)) < 0.3
    maps[0, 0, :2] = np.float32(0.29)  # on a threshold: found below it only
    thresholds = (np.arange(101) / 100).astype(np.float32)
    wanted = max(2 * (lesions & (maps > t)).sum() / ((maps > t).sum() + lesions.sum()) for t in thresholds)
    assert dice_max(torch.from_numpy(maps), torch.from_numpy(lesions)) == pytest.approx(wanted, abs=1e-12)
    assert dice_max(torch.from_numpy(maps), torch.zeros(3, 1, 12, 12, dtype=torch.bool)) == 0
