"""A network is judged at the levels at which methods read its answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.closed_form import AbsolutePerceptual, Fake

from uadbench.engine.methods import METHODS, build_method
from uadbench.engine.networks.checkpoint import read_card, shipped
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools
from uadbench.exporters.levels import LEVELS, STRENGTHS_READ, levels_read
from uadbench.exporters.recorder import Recorder

RESTORERS = [name for name, info in METHODS.items() if info.noises == ("none",) and info.networks("none")]


def test_a_denoiser_has_the_levels_of_its_schedule() -> None:
    card: dict[str, Any] = {"sha256": "0"}
    assert levels_read(card) == LEVELS
    assert levels_read(card, (1, 250)) == (1, 250)
    card["schedule"] = {"kind": "linear", "length": 300, "start": 1e-4, "end": 0.02}
    assert levels_read(card) == (1, 50, 250, 300)


@pytest.mark.parametrize("name", RESTORERS)
def test_a_network_that_undoes_anomalies_has_the_strengths_that_its_method_tells_it(name: str) -> None:
    def answer(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.1 * x, x], dim=1)

    recorder = Recorder(Fake(answer))
    tools = make_tools(recorder, linear_schedule(), lambda t: torch.zeros(1), AbsolutePerceptual())
    build_method(name, "none", None)(torch.rand(1, 1, 32, 32) * 2 - 1, tools)
    card = read_card(shipped(METHODS[name].networks("none")["denoiser"]))
    assert levels_read(card) == tuple(sorted(set(recorder.levels)))


def test_one_that_was_taught_something_of_its_users_own_has_some_of_all() -> None:
    assert levels_read({"prediction": "change"}) == STRENGTHS_READ
    assert levels_read({"prediction": "change", "training": {"objective": "my own"}}) == STRENGTHS_READ
