"""A dry walk tells what a method does to a case, without a network."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch import Tensor

from uadbench.bench.plan.walk import Walk, walk
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods import FLOORS, build_method
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.schedule import linear_schedule

SCHEDULE = linear_schedule()


@pytest.mark.parametrize(
    ("method", "eta", "found"),
    [
        # the step from 25 to 0 draws no noise
        pytest.param(
            DDPM(t_start=100, steps=4), 1.0, Walk(4, (50, 75, 100), False, True, False), id="ancestral"
        ),
        pytest.param(DDPM(t_start=100, steps=4), 0.0, Walk(4, (100,), False, True, False), id="DDIM"),
        pytest.param(DDPM(t_start=3, steps=None), 1.0, Walk(3, (2, 3), False, True, False), id="every level"),
    ],
)
def test_calls_and_levels_are_those_of_the_chain(method: Any, eta: float, found: Walk) -> None:
    assert walk(method, SCHEDULE, eta) == found


def test_with_the_exact_variance_the_last_step_draws_noise_too() -> None:
    assert walk(DDPM(t_start=100, steps=4), SCHEDULE, exact=True) == Walk(
        4, (25, 50, 75, 100), False, True, False
    )


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_does_nothing_that_costs_but_one_look_through_the_perceptual_net(name: str) -> None:
    assert walk(build_method(name, "none"), SCHEDULE) == Walk(0, (), name == "perceptual-blur", False, False)


@pytest.mark.parametrize(("name", "looks"), [("thor", True), ("autoddpm", True), ("ddpm", False)])
def test_a_method_that_looks_through_a_perceptual_net_is_found(name: str, looks: bool) -> None:
    assert walk(build_method(name, "gaussian", 5), SCHEDULE).perceptual is looks


@dataclasses.dataclass(frozen=True)
class TwoWays:
    """Calls the network by every tool that does."""

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        tools.denoise(x, 7)
        tools.predict_x0(x, 8)
        tools.reverse(x, 9, 5)
        tools.diffuse(x, 5, 9)
        return Result(x.abs(), x)


def test_every_tool_that_calls_the_network_or_draws_noise_is_counted() -> None:
    assert walk(TwoWays(), SCHEDULE) == Walk(3, (9,), False, True, False)


def test_what_a_method_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="allowed is 1 to t_start = 3"):
        walk(DDPM(t_start=3, steps=9), SCHEDULE)
