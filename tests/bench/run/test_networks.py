"""Networks are opened as the run's settings say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from support.cells import BLUR, Recording, make_dataset, method_cell

from uadbench.bench.plan.config import ConfigError, RunConfig, make_config
from uadbench.bench.plan.plan import Plan, make_plan
from uadbench.bench.predict.setup import one_cell
from uadbench.bench.run import networks
from uadbench.bench.run.timing import Stopwatch


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_every_network_of_a_run_is_opened_with_its_hint(monkeypatch: pytest.MonkeyPatch, hint: Any) -> None:
    told: list[Any] = []

    def opened(*_: Any, say: Any, hint: str) -> Recording:
        told.append(hint)
        return Recording()

    monkeypatch.setattr(networks, "open_denoiser", opened)
    plan = Plan(RunConfig(hint=hint), (BLUR, method_cell()), make_dataset(), (), 1)
    with ExitStack() as stack:
        networks.open_denoisers(plan, stack, Stopwatch(), print)
    assert told == [hint]


def test_a_hint_that_no_back_end_of_the_run_takes_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match="hint is 'throughput', and none of the back ends takes one; openvino would"
    ):
        make_plan(make_config({}, {"methods": "ddpm", "hint": "throughput"}))
    with pytest.raises(ConfigError, match="none of the back ends takes one"):
        one_cell(make_config({}, {"methods": "ddpm", "hint": "throughput"}), "bench predict")
