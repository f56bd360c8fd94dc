"""Parity passes what differs by rounding, and finds each kind of difference that matters."""

from __future__ import annotations

import math

import pytest
import torch
from support.closed_form import Fake
from torch import Tensor

from uadbench.engine.interfaces import Denoiser
from uadbench.engine.schedule import linear_schedule
from uadbench.exporters.gates import GATES, gates_of
from uadbench.exporters.levels import LEVELS
from uadbench.exporters.parity import (
    compare_chains,
    network_fault,
    network_parity,
    record_chain,
    relative_l2,
    score_parity,
    trajectory_parity,
    verdict,
)

IMAGES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _half(x_t: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x_t


def _walk(denoiser: Denoiser) -> Tensor:
    """Three Euler-like steps, each feeding its error into the next."""
    x = IMAGES
    for level in (300, 200, 100):
        x = x - 0.1 * denoiser.denoise(x, torch.full((2,), level))
    return x


def test_relative_l2_is_the_ratio_of_norms() -> None:
    assert relative_l2(torch.tensor([3.0, 4.0 + 0.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_l2(torch.tensor([math.nan]), torch.tensor([1.0])) == math.inf
    assert relative_l2(torch.zeros(3), torch.zeros(3)) == 0


def test_equal_networks_agree_exactly_at_every_level_and_seed() -> None:
    result = network_parity(Fake(_half), Fake(_half), IMAGES)
    assert (result["rel_l2"], result["rel_image"], result["max_abs"]) == (0, 0, 0)
    assert result["pass"]
    assert {(call["t"], call["seed"]) for call in result["calls"]} == {
        (t, s) for t in LEVELS for s in range(3)
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_gate_is_on_what_an_error_of_eps_does_to_the_image(precision: str, factor: float) -> None:
    """eps' = (1 + e) eps with eps = x_t gives an image error of sqrt(1 - abar_t) e, at most e."""
    error = factor * gates_of(precision).network
    other = Fake(lambda x, t: x * (1 + error), precision)
    result = network_parity(Fake(lambda x, t: x), other, IMAGES)
    assert result["rel_l2"] == pytest.approx(error, rel=0.05)
    abar = linear_schedule().abar
    for call in result["calls"]:
        expected = math.sqrt(1 - abar[call["t"]]) * call["rel_l2"]
        assert call["rel_image"] == pytest.approx(expected, rel=0.05)
    assert result["pass"] is (factor < 1)


def test_a_change_is_compared_in_full_on_images_without_noise() -> None:
    """f' = (1 + e) f with f = x / 2 gives an image error of e / 2, whatever the level."""
    seen, error = list[tuple[Tensor, int]](), 4e-4

    def change(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, int(t[0])))
        return 0.5 * x

    other = Fake(lambda x, t: 0.5 * x * (1 + error))
    result = network_parity(Fake(change), other, IMAGES, levels=(1, 50), noise="none")
    assert [t for _, t in seen] == [1, 50]
    assert result["probability"] is result["probability_gate"] is None
    assert all(torch.equal(x, IMAGES) for x, _ in seen)
    assert [call["rel_image"] for call in result["calls"]] == pytest.approx([error / 2] * 2, rel=0.01)
    assert not result["pass"]


@pytest.mark.parametrize("precision", list(GATES))
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_logit_is_compared_as_a_probability_at_its_worst_pixel(precision: str, factor: float) -> None:
    """The change is right everywhere, and one pixel's probability is off from an even chance at strength 1 only."""
    gates = GATES[precision]
    off = factor * gates.probability

    def answer(x: Tensor, t: Tensor, wrong: float = 0.0) -> Tensor:
        odds = torch.full_like(x, 0.5)
        odds[0, 0, 3, 4] += wrong if int(t[0]) == 1 else 0.0
        return torch.cat([0.5 * x, odds.logit()], dim=1)

    other = Fake(lambda x, t: answer(x, t, off), precision)
    result = network_parity(Fake(answer), other, IMAGES, levels=(1, 2), noise="none")
    assert result["rel_image"] == 0
    assert [call["probability"] for call in result["calls"]] == pytest.approx([off, 0], abs=1e-7)
    assert (result["probability"], result["probability_gate"]) == (
        pytest.approx(off, abs=1e-7),
        gates.probability,
    )
    assert result["pass"] is (factor < 1)
    assert network_fault(result) == (
        ""
        if factor < 1
        else f"a pixel's probability is off by {off:.1e}, the gate is {gates.probability:.0e}"
    )


def test_large_logits_of_either_kind_are_the_same_probability() -> None:
    """100 or 120 before the sigmoid: nobody who reads a probability sees a difference."""
    reference, other = (Fake(lambda x, t, k=k: torch.cat([x, 0 * x + k], dim=1)) for k in (100.0, 120.0))
    assert network_parity(reference, other, IMAGES, levels=(1,), noise="none")["pass"]


def test_a_network_that_is_wrong_at_one_level_only_is_found() -> None:
    other = Fake(lambda x, t: 0.5 * x + (0.01 if int(t[0]) == 350 else 0.0))
    result = network_parity(Fake(_half), other, IMAGES)
    assert not result["pass"]
    assert {call["t"] for call in result["calls"] if call["rel_image"] > 1e-5} == {350}


def test_nan_never_passes() -> None:
    broken = Fake(lambda x, t: x * math.nan)
    assert network_parity(Fake(_half), broken, IMAGES)["rel_image"] == math.inf
    assert not network_parity(Fake(_half), broken, IMAGES)["pass"]
    unsure = Fake(lambda x, t: torch.cat([0.5 * x, x * math.nan], dim=1))
    sure = Fake(lambda x, t: torch.cat([0.5 * x, x], dim=1))
    assert not network_parity(sure, unsure, IMAGES, noise="none", levels=(1,))["pass"]
    assert not trajectory_parity(Fake(_half), broken, _walk)["pass"]
    assert not score_parity(_metrics(), _metrics(dice=math.nan), 0.01)["pass"]


def test_an_error_accumulates_along_the_chain_as_it_must() -> None:
    """x' = x (1 - 0.1 k): after n calls the ratio is ((1 - 0.1 k') / (1 - 0.1 k)) ** n."""
    result = trajectory_parity(Fake(_half), Fake(lambda x, t: 0.501 * x), _walk)
    ratio = (1 - 0.0501) / (1 - 0.05)
    assert result["levels"] == [300, 200, 100]
    for n, error in enumerate([*result["rel_l2"], result["final"]]):
        assert error == pytest.approx(1 - ratio**n, rel=1e-2, abs=1e-9)
    assert result["max"] == result["final"]
    assert not result["pass"]


def test_chains_of_different_methods_are_not_compared() -> None:
    short = record_chain(Fake(_half), lambda d: d.denoise(IMAGES, torch.full((2,), 300)))
    with pytest.raises(ValueError, match="visit 3 and 1 levels"):
        compare_chains(record_chain(Fake(_half), _walk), short, "fp32")


def _metrics(
    dice: float | None = 0.4, auprc: float | None = 0.3, cases: tuple[str, ...] = ("a", "b")
) -> dict:
    return {
        "n_cases": len(cases),
        "dice_max": None if dice is None else {"value": dice},
        "auprc": {"value": auprc},
        "per_case": {case: {} for case in cases},
    }


@pytest.mark.parametrize(
    ("metrics", "passes", "reason"),
    [
        pytest.param(_metrics(), True, None, id="equal"),
        pytest.param(_metrics(dice=0.391, auprc=0.309), True, None, id="within, either way"),
        pytest.param(_metrics(dice=0.389), False, "max Dice differs by -1.10 points", id="Dice below"),
        pytest.param(_metrics(auprc=0.32), False, "AUPRC differs by +2.00 points", id="AUPRC above"),
        pytest.param(_metrics(cases=("a",)), False, "different cases", id="a case less"),
        pytest.param(_metrics(dice=None), False, "only one of the cells has a max Dice", id="no Dice"),
    ],
)
def test_scores_pass_within_the_margin_on_the_same_cases(
    metrics: dict, passes: bool, reason: str | None
) -> None:
    result = score_parity(_metrics(), metrics, GATES["fp32"].scores)
    assert result["pass"] is passes
    assert (result["reason"] is None) if reason is None else (reason in result["reason"])


def test_scores_that_nobody_has_prove_nothing() -> None:
    nothing = _metrics(dice=None, auprc=None)
    result = score_parity(nothing, nothing, 0.01)
    assert not result["pass"]
    assert "no case with a lesion" in result["reason"]


def test_a_verdict_needs_all_three_parts_and_names_those_that_fail() -> None:
    network = network_parity(Fake(_half), Fake(_half), IMAGES)
    chain = trajectory_parity(Fake(_half), Fake(_half), _walk)
    scores = score_parity(_metrics(), _metrics(dice=0.401), 0.01)
    passed, why = verdict(network, chain, scores)
    assert passed == "pass"
    assert "max Dice +0.10" in why
    assert verdict(network, chain, None) == ("fail", "scores could not be compared")
    wrong = score_parity(_metrics(), _metrics(dice=0.3), 0.01)
    failed, why = verdict({**network, "rel_image": 1e-3, "pass": False}, {**chain, "pass": False}, wrong)
    assert failed == "fail"
    assert all(part in why for part in ("network: ", "trajectory: ", "scores: max Dice differs by -10.00"))


def test_boxes_are_held_against_each_other_by_their_own_scores() -> None:
    def boxes(f1: float) -> dict:
        return {
            "truth": "boxes",
            "n_cases": 1,
            "box_f1": {"value": f1},
            "froc_mean": {"value": 0.5},
            "per_case": {"a": {}},
        }

    assert score_parity(boxes(0.4), boxes(0.405), 0.01)["pass"]
    worse = score_parity(boxes(0.4), boxes(0.38), 0.01)
    assert worse["reason"] == "box F1 differs by -2.00 points, the margin is 1"
    assert "dice_max" not in worse
