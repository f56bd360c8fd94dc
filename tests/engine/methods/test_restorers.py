"""Methods whose networks undo anomalies, held against networks that know the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.closed_form import AbsolutePerceptual
from torch import Tensor

from uadbench.bench.plan.walk import walk
from uadbench.engine.interfaces import Tools
from uadbench.engine.methods import build_method
from uadbench.engine.methods.disyre import Disyre
from uadbench.engine.methods.mend import Mend
from uadbench.engine.methods.one_step import OneStep
from uadbench.engine.methods.reflect import Reflect
from uadbench.engine.methods.restored import Restored
from uadbench.engine.methods.tuning import candidates, dice_max
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.steps import add_noise
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule()
HEALTHY = torch.linspace(-0.8, 0.6, 256).reshape(1, 1, 16, 16)
LESION = torch.zeros_like(HEALTHY)
LESION[..., 4:8, 5:10] = 0.5
X = HEALTHY + LESION


class Network:
    """Whatever it is told to be; keeps what it was shown."""

    name, device, precision = "known", "cpu", "fp32"

    def __init__(self, answer: Callable[[Tensor, int], Tensor]) -> None:
        self.answer, self.shown = answer, list[tuple[Tensor, int]]()

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.shown.append((x_t.clone(), int(t[0])))
        return self.answer(x_t, int(t[0]))


def tools(network: Any, noise: Callable[[int], Tensor] | None = None) -> Tools:
    return make_tools(network, SCHEDULE, noise or (lambda t: torch.zeros_like(X)), AbsolutePerceptual())


@pytest.mark.parametrize("method", [Restored(), Disyre(), Reflect()])
def test_a_network_that_knows_the_healthy_image_makes_the_lesion_the_map(method: Any) -> None:
    found = method(X, tools(Network(lambda x, t: HEALTHY - x)))
    torch.testing.assert_close(found.reconstruction, HEALTHY)
    torch.testing.assert_close(found.anomaly, LESION / 2)


def test_only_the_first_output_is_a_change() -> None:
    network = Network(lambda x, t: torch.cat([HEALTHY - x, torch.full_like(x, 99.0)], dim=1))
    torch.testing.assert_close(Restored()(X, tools(network)).reconstruction, HEALTHY)


def test_disyre_mixes_in_at_each_step_what_is_left_of_the_anomaly() -> None:
    """Bansal et al. 2022, algorithm 2, from strength 80 over 40 to 0, with a network that finds half of the change."""
    network = Network(lambda x, t: 0.5 * (HEALTHY - x))
    found = Disyre(assumed=(80,), steps=2)(X, tools(network))
    first = X + 0.5 * (HEALTHY - X)
    mixed = first + 0.5 * (X - first)
    torch.testing.assert_close(network.shown[0][0], X)
    torch.testing.assert_close(network.shown[1][0], mixed)
    assert [t for _, t in network.shown] == [80, 40]
    torch.testing.assert_close(found.reconstruction, mixed + 0.5 * (HEALTHY - mixed))


def test_disyre_averages_the_residuals_of_the_assumed_strengths() -> None:
    network = Network(lambda x, t: (t / 100) * (HEALTHY - X))
    found = Disyre(assumed=(20, 60), steps=1)(X, tools(network))
    torch.testing.assert_close(found.anomaly, 0.4 * LESION / 2)


def test_reflect_walks_a_straight_path_in_equal_steps() -> None:
    network = Network(lambda x, t: HEALTHY - X)  # a velocity that is the same everywhere on the path
    found = Reflect(steps=4)(X, tools(network))
    torch.testing.assert_close(found.reconstruction, HEALTHY)
    assert [t for _, t in network.shown] == [100, 75, 50, 25]
    for k, (x, _) in enumerate(network.shown):
        torch.testing.assert_close(x, X + k / 4 * (HEALTHY - X))


def test_one_step_averages_the_clean_images_of_its_draws() -> None:
    torch.manual_seed(0)
    fields = [torch.randn_like(X) for _ in range(3)]
    queue = list(fields)
    network = Network(lambda x_t, t: torch.zeros_like(x_t))
    found = OneStep(t_test=200, draws=3)(X, tools(network, lambda t: queue.pop(0)))
    signal = SCHEDULE.abar[200] ** 0.5
    estimates = [(add_noise(SCHEDULE, X, 200, noise) / signal).clamp(-1, 1) for noise in fields]
    torch.testing.assert_close(found.reconstruction, torch.stack(estimates).mean(0))
    assert [t for _, t in network.shown] == [200] * 3


@pytest.mark.parametrize(
    ("method", "calls", "restores"),
    [
        (OneStep(draws=2), 2, False),
        (Restored(), 1, True),
        (Disyre(), 8, True),
        (Reflect(steps=3), 3, True),
        (Mend(), 4, True),
        (Mend(mirrored=False), 2, True),
        (Mend(mirrored=False, placed=False), 1, True),
    ],
)
def test_the_dry_walk_counts_calls_and_tells_restoring_from_denoising(
    method: Any, calls: int, restores: bool
) -> None:
    found = walk(method, SCHEDULE)
    assert (found.nfe, found.restores, found.chain) == (calls, restores, False)
    assert found.levels == (() if restores else (250,))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("one-step", {"draws": 0}, "draws is 0"),
        ("disyre", {"assumed": ()}, "assumed is ()"),
        ("disyre", {"assumed": (0,)}, "strengths of 1 to 100"),
        ("disyre", {"steps": 0}, "steps 0"),
        ("reflect", {"steps": 101}, "1 to 100 are possible"),
        ("mend", {"asymmetry": -0.1}, "asymmetry is -0.1; 0 or more is needed"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    noise = "gaussian" if name == "one-step" else "none"
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        build_method(name, noise, overrides=settings)


def test_methods_are_frozen_dataclasses() -> None:
    for method in (OneStep(), Restored(), Disyre(), Reflect()):
        assert dataclasses.is_dataclass(method)


def lopsided() -> Tensor:
    """A slice that is bright in one place, on the left."""
    image = torch.full((1, 1, 16, 16), 0.2)
    image[..., 4:8, 3:6] = 0.8
    return image


def two_answers(x: Tensor, t: int) -> Tensor:
    """Of a network that finds what is bright: another change for either question, and where it is certain of it."""
    bright = x > 0.5
    change = torch.where(bright, {1: -0.3, 2: -0.6}[t], 0.0)
    return torch.cat([change, torch.where(bright, {1: 0.0, 2: 9.0}[t], -30.0)], dim=1)


def test_mends_map_is_the_geometric_mean_of_its_three_factors() -> None:
    """The change that takes coarse noise out, the probability of a placed anomaly, and the other half."""
    image, network = lopsided(), Network(two_answers)
    found = Mend(sigma=0, wide=0)(image, dataclasses.replace(tools(network), lesion_sign=1))
    undone, probable, differs = 0.3, 0.5, 0.3
    wanted = torch.zeros_like(image)
    wanted[..., 4:8, 3:6] = (undone * probable * (0.02 + differs)) ** (1 / 3)
    torch.testing.assert_close(found.anomaly, wanted)
    torch.testing.assert_close(found.reconstruction, torch.full_like(image, 0.2))
    assert [t for _, t in network.shown] == [2, 2, 1, 1]
    torch.testing.assert_close(network.shown[1][0], image.flip(-1))


@pytest.mark.parametrize(
    ("settings", "sign", "value"),
    [
        ({}, -1, 0.0),  # lesions are said to be dark, and this one is bright
        ({"signed": False}, -1, (0.3 * 0.5) ** 0.5),
        ({"asymmetry": None}, 1, (0.3 * 0.5) ** 0.5),
        ({"placed": False}, 1, (0.3 * 0.32) ** 0.5),
        ({"asymmetry": None, "placed": False}, 1, 0.3),
    ],
)
def test_each_factor_of_mend_can_be_left_out(settings: dict[str, Any], sign: int, value: float) -> None:
    bright = dataclasses.replace(tools(Network(two_answers)), lesion_sign=sign)
    found = Mend(sigma=0, wide=0, **settings)(lopsided(), bright)
    assert found.anomaly[..., 4:8, 3:6].unique().tolist() == pytest.approx([value])


def test_an_open_width_of_mend_is_fitted_from_the_same_calls() -> None:
    """The maps of all candidates are what each gives alone, and the best on the lesions is chosen."""
    image = torch.rand((1, 1, 16, 16), generator=torch.Generator().manual_seed(0)) * 0.1
    image[..., 4:8, 3:6] += 0.7
    network = Network(two_answers)
    bright, method = dataclasses.replace(tools(network), lesion_sign=1), Mend(sigma=None)
    maps = method.evidence(image, bright)
    assert len(network.shown) == 4
    alone = [candidate(image, bright).anomaly for candidate in candidates(method)]
    torch.testing.assert_close(maps, torch.cat(alone, dim=1))
    chosen, record = method.fit(maps, image > 0.5)
    assert method.wants_fit()
    assert not chosen.wants_fit()
    assert (record["sigma"], record["dice"]) == (
        chosen.sigma,
        max(dice_max(one, image > 0.5) for one in alone),
    )


def test_mend_answers_a_mirrored_image_with_the_mirrored_map() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(2, 1, 3, 3)
    network = Network(lambda x, t: torch.nn.functional.conv2d(x, kernel, padding=1))
    image = torch.rand(2, 1, 16, 16) * 2 - 1
    one, other = (Mend()(x, tools(network)).anomaly for x in (image, image.flip(-1)))
    torch.testing.assert_close(other, one.flip(-1))
