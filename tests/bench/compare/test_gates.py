"""``--fail-on``: what breaks a limit, and what cannot be judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.compared import Made, N, read, values, write_run

from uadbench.bench.compare.gates import parse_gate, verdicts
from uadbench.bench.compare.pairs import CompareError
from uadbench.bench.compare.runs import compare_runs

THOR = Made()
RAMP = np.linspace(90, 110, N)


def judged(tmp_path: Path, limit: str, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The reasons to fail of two runs with one cell each."""
    gate = parse_gate(limit)
    runs = read(*(write_run(tmp_path / n, replace(THOR, **more)) for n, more in (("a", a), ("b", b))))
    return verdicts(compare_runs(runs, [gate.measure], n_boot=400), [gate])


@pytest.mark.parametrize(
    ("limit", "loss", "slower", "broken"),
    [
        pytest.param("dice=-0.02", 0.03, 0.0, True, id="loss beyond the limit"),
        pytest.param("dice_case=-0.02", 0.03, 0.0, True, id="by its whole name"),
        pytest.param("dice=-0.02", 0.01, 0.0, False, id="loss within the limit"),
        pytest.param("dice=-0.02", -0.03, 0.0, False, id="gain"),
        pytest.param("dice=0", 0.001, 0.0, True, id="any sure loss"),
        pytest.param("dice=-5%", 0.03, 0.0, True, id="relative loss beyond"),
        pytest.param("dice=-20%", 0.03, 0.0, False, id="relative loss within"),
        pytest.param("latency=+10%", 0.0, 0.2, True, id="slower beyond"),
        pytest.param("latency=10%", 0.0, 0.05, False, id="slower within"),
        pytest.param("latency=+10%", 0.0, -0.5, False, id="faster"),
        pytest.param("latency=+5", 0.0, 0.2, True, id="milliseconds"),
        pytest.param("network=+10%", 0.0, 0.2, True, id="network"),
    ],
)
def test_a_limit_on_cases_or_times_is_broken_by_a_sure_change_beyond_it(
    tmp_path: Path, limit: str, loss: float, slower: float, broken: bool
) -> None:
    before = {"dice": values(), "latency": RAMP}
    after = {"dice": values() - loss, "latency": RAMP * (1 + slower)}
    reasons = judged(tmp_path, limit, before, after)
    assert len(reasons) == broken
    assert all(reason.startswith(f"thor-gaussian-25-torch-fp32: {limit}: ") for reason in reasons)


@pytest.mark.parametrize("measure", ["dice_max", "dice_average"])
@pytest.mark.parametrize(
    ("limit", "signal", "broken"),
    [
        pytest.param("-0.02", 0.1, True, id="weaker map"),
        pytest.param("-0.9", 0.1, False, id="within"),
        pytest.param("-0.02", 0.3, False, id="stronger map"),
        pytest.param("-10%", 0.1, True, id="relative"),
    ],
)
def test_a_limit_on_the_headline_scores_is_broken_by_weaker_maps(
    tmp_path: Path, measure: str, limit: str, signal: float, broken: bool
) -> None:
    assert bool(judged(tmp_path, f"{measure}={limit}", {}, {"signal": signal})) == broken


def test_a_loss_that_chance_explains_does_not_fail(tmp_path: Path) -> None:
    noise = np.repeat(np.random.default_rng(3).normal(0, 0.3, N // 2), 2)
    noise += -0.03 - noise.mean()
    assert judged(tmp_path, "dice=-0.02", {"dice": values()}, {"dice": values() + noise}) == []


def test_a_time_taken_beside_other_batches_cannot_pass_its_gate(tmp_path: Path) -> None:
    (reason,) = judged(tmp_path, "latency=+50%", {}, {"streams": 2})
    assert reason.endswith("latency=+50%: not judged: 2 batches ran at a time")


def test_a_time_taken_under_load_cannot_pass_its_gate(tmp_path: Path) -> None:
    (reason,) = judged(tmp_path, "latency=+50%", {}, {"load": 3.9})
    assert reason.endswith("latency=+50%: not judged: load 3.9 with 1 thread")


def test_a_case_that_only_a_finished_fails_every_gate(tmp_path: Path) -> None:
    reasons = judged(tmp_path, "latency=+50%", {}, {"failed": (3, 4)})
    assert reasons == ["thor-gaussian-25-torch-fp32: 2 cases with a value in A but not in B"]


def test_cases_that_b_never_tried_do_not_fail(tmp_path: Path) -> None:
    assert judged(tmp_path, "dice=-0.5", {}, {"ids": range(N - 2)}) == []


def test_a_measure_that_is_missing_cannot_pass_its_gate(tmp_path: Path) -> None:
    reasons = judged(tmp_path, "dice=-0.02", {}, {"dice": [None] * N})
    assert reasons[0].endswith("dice=-0.02: no case has it on both sides")


def test_too_few_subjects_for_a_verdict_cannot_pass(tmp_path: Path) -> None:
    (reason,) = judged(tmp_path, "dice_max=-0.02", {"ids": range(2)}, {"ids": range(2)})
    assert "dice_max=-0.02: not judged: 1 subject, 10 needed" in reason


def test_a_relative_limit_on_nothing_asks_for_an_absolute_one(tmp_path: Path) -> None:
    with pytest.raises(CompareError, match="A's value is 0; give an absolute limit"):
        judged(tmp_path, "dice=-5%", {"dice": np.zeros(N)}, {"dice": np.zeros(N)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("dice", "MEASURE=LIMIT", id="no limit"),
        pytest.param("dice=abc", "MEASURE=LIMIT", id="no number"),
        pytest.param("dice=-0.02;rm", "MEASURE=LIMIT", id="rubbish after it"),
        pytest.param("speed=+1", "choose from latency, network, dice, .*more", id="unknown measure"),
        pytest.param("dice=+0.02", "below 0, such as dice=-0.02", id="dice limit for the better"),
        pytest.param("fpr_healthy_test=-0.02", "above 0, such as", id="lower is better"),
        pytest.param("latency=-10%", r"above 0 .* such as latency=\+10%", id="latency limit for the better"),
    ],
)
def test_a_gate_that_cannot_be_read_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(CompareError, match=message):
        parse_gate(text)
