"""The methods against closed forms, and their promises: determinism, batch invariance, call counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from support.closed_form import AbsolutePerceptual, GaussianDenoiser, disc

from uadbench.bench.plan.walk import walk
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods import METHODS, all_methods, build_method
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule()
IDS = [f"case-{i}" for i in range(8)]
EVERY = [(name, noise) for name, info in METHODS.items() for noise in info.noises]
CELLS = [(name, noise) for name, noise in EVERY if noise != "none"]  # the others are in test_restorers


def tools_for(
    denoiser: GaussianDenoiser, noise: str, ids: list[str], size: int = 32, eta: float = 1.0
) -> Tools:
    source = noise_source(noise, 0, ids, (size, size))
    return make_tools(denoiser, SCHEDULE, source, AbsolutePerceptual(), eta)


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_ddpm_s_mean_reconstruction_is_the_posterior_mean(steps: int) -> None:
    """With the optimal denoiser for N(m, s^2), E[x_rec | x] = m + s^2 abar / (s^2 abar + 1 - abar) (x - m)."""
    mean, std, x_value, t = 0.1, 0.1, 0.5, 350
    ids = [f"{i}" for i in range(40)]
    denoiser = GaussianDenoiser(SCHEDULE, mean, std)
    x = torch.full((40, 1, 64, 64), x_value)
    result = DDPM(t_start=t, steps=steps)(x, tools_for(denoiser, "gaussian", ids, 64))
    abar = float(SCHEDULE.abar[t])
    expected = mean + std**2 * abar / (std**2 * abar + 1 - abar) * (x_value - mean)
    assert result.reconstruction.mean().item() == pytest.approx(expected, abs=2e-3)
    assert denoiser.calls == steps


def test_ddpm_s_paper_chain_gives_back_the_variance_of_the_data() -> None:
    denoiser = GaussianDenoiser(SCHEDULE, 0.0, 0.2)
    x = 0.2 * torch.from_numpy(np.random.default_rng(0).standard_normal((20, 1, 64, 64))).float()
    result = DDPM(steps=None)(x, tools_for(denoiser, "gaussian", [str(i) for i in range(20)], 64))
    assert denoiser.calls == 350
    assert result.reconstruction.mean().item() == pytest.approx(0.0, abs=3e-3)
    assert result.reconstruction.std().item() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(("name", "noise"), CELLS)
def test_a_network_that_knows_the_healthy_image_finds_exactly_the_lesion(name: str, noise: str) -> None:
    """Std 0 makes every estimate of the clean image the healthy one, whatever the noise."""
    healthy = torch.zeros(2, 1, 32, 32)
    lesion = disc(32).expand_as(healthy)
    x = torch.where(lesion, torch.tensor(-0.6), healthy)
    tools = tools_for(GaussianDenoiser(SCHEDULE, healthy, 0.0), noise, IDS[:2])
    # AutoDDPM keeps each map's own top 5 %; the lesion is larger than that.
    overrides = {"threshold": 0.1} if name == "autoddpm" else {}
    result = build_method(name, noise, None, overrides)(x, tools)
    assert result.anomaly[lesion].min() > 0.05
    assert result.anomaly[~lesion].max() < 1e-3
    torch.testing.assert_close(result.reconstruction, healthy, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("name", "noise"), CELLS)
def test_a_perfect_reconstruction_has_no_anomaly(name: str, noise: str) -> None:
    x = 0.5 * torch.from_numpy(np.random.default_rng(3).uniform(-1, 1, (2, 1, 32, 32))).float()
    tools = tools_for(GaussianDenoiser(SCHEDULE, x, 0.0), noise, IDS[:2])
    tools = dataclasses.replace(tools, against=lambda a: lambda b: ((a - b).abs() > 1e-3).float())
    result = build_method(name, noise)(x, tools)
    torch.testing.assert_close(result.reconstruction, x, atol=2e-3, rtol=0)
    assert result.anomaly.max() < 2e-3


@pytest.mark.parametrize(("name", "noise"), CELLS)
def test_a_case_alone_equals_the_same_case_in_a_batch_of_eight(name: str, noise: str) -> None:
    method = build_method(name, noise)
    x = 0.5 * torch.from_numpy(np.random.default_rng(4).uniform(-1, 1, (8, 1, 32, 32))).float()
    denoiser = GaussianDenoiser(SCHEDULE, 0.1, 0.3)
    together = method(x, tools_for(denoiser, noise, IDS))
    for i in (0, 5):
        alone = method(x[i : i + 1], tools_for(denoiser, noise, [IDS[i]]))
        torch.testing.assert_close(alone.anomaly[0], together.anomaly[i], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.reconstruction[0], together.reconstruction[i], atol=1e-5, rtol=1e-4)


def test_a_real_network_gives_a_case_the_same_result_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    net = UNet(UNetConfig(channels=(32, 32), attention=(False, True), groups=8, embedding=32)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)

    class Net(GaussianDenoiser):
        @torch.inference_mode()
        def denoise(
            self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None
        ) -> torch.Tensor:
            return net(x_t, t - 1)

    method = build_method("thor", "gaussian", 6)
    x = 0.5 * torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (4, 1, 32, 32))).float()
    denoiser = Net(SCHEDULE, 0.0, 0.1)
    together = method(x, tools_for(denoiser, "gaussian", IDS[:4]))
    alone = method(x[2:3], tools_for(denoiser, "gaussian", [IDS[2]]))
    torch.testing.assert_close(alone.reconstruction[0], together.reconstruction[2], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("name", "noise"), CELLS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_result(name: str, noise: str) -> None:
    method, x = build_method(name, noise), torch.full((1, 1, 32, 32), 0.3)

    def run(seed: int) -> bytes:
        source = noise_source(noise, seed, ["a"], (32, 32))
        tools = make_tools(GaussianDenoiser(SCHEDULE, 0.1, 0.3), SCHEDULE, source, AbsolutePerceptual())
        return method(x, tools).reconstruction.numpy().tobytes()

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize(
    ("name", "noise", "steps", "calls"),
    [
        ("ddpm", "gaussian", "paper", 350),
        ("anoddpm", "simplex", "paper", 250),
        ("thor", "gaussian", "paper", 350),
        ("thor", "simplex", "paper", 250),
        ("autoddpm", "gaussian", "paper", 200 + 50 * 5),
        ("thor", "gaussian", 25, 25),
        ("ddpm", "gaussian", 10, 10),
        ("autoddpm", "gaussian", 20, 20 + 5 * 5),
    ],
)
def test_the_number_of_network_calls_is_the_published_one(
    name: str, noise: str, steps: int | str, calls: int
) -> None:
    denoiser = GaussianDenoiser(SCHEDULE, 0.0, 0.3)
    build_method(name, noise, steps)(torch.zeros(1, 1, 16, 16), tools_for(denoiser, noise, ["a"], 16))
    assert denoiser.calls == calls


def test_thor_takes_a_map_at_each_harmonization_level_and_keeps_healthy_tissue() -> None:
    """Away from the lesion THOR gives back the input's detail, which DDPM has drowned in the noise of level 350."""
    x = 0.3 * torch.from_numpy(np.random.default_rng(8).standard_normal((1, 1, 64, 64))).float()
    x[..., :10, :10] = -1.0

    def run(name: str) -> Result:
        tools = tools_for(GaussianDenoiser(SCHEDULE, 0.0, 0.3), "gaussian", ["a"], 64)
        tools = dataclasses.replace(tools, against=lambda a: lambda b: (a < -0.99).float() + 0.01)
        return build_method(name, "gaussian")(x, tools)

    thor, ddpm = run("thor"), run("ddpm")
    far = (..., slice(40, 64), slice(40, 64))
    assert set(thor.trace) == {"map_300", "map_150", "map_50"}
    assert all(m.max() == 1 for m in thor.trace.values())
    assert (thor.reconstruction[far] - x[far]).abs().mean() < 0.5 * (
        ddpm.reconstruction[far] - x[far]
    ).abs().mean()
    assert thor.anomaly[..., 3:7, 3:7].mean() > 10 * thor.anomaly[far].mean()


def test_without_a_level_to_harmonize_at_thor_refuses() -> None:
    with pytest.raises(ValueError, match="none of harmonize_at"):
        build_method("thor", "gaussian", None, {"t_start": 40})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("thro", "gaussian"), "unknown method 'thro'; choose from .*thor"),
        (("anoddpm", "gaussian"), "anoddpm runs with simplex noise"),
        (("thor", "gaussian", None, {"windw": 3}), "thor has no setting 'windw'; it has harmonize_at"),
    ],
)
def test_a_wrong_name_is_answered_with_the_choices(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_method(*arguments)


def test_every_method_is_a_frozen_dataclass_with_a_title_and_a_source() -> None:
    for name, info in all_methods().items():
        method = info.preset(info.noises[0])
        assert dataclasses.is_dataclass(method), name
        assert info.title, name
        assert info.paper, name
        with pytest.raises(dataclasses.FrozenInstanceError):
            method.anything = 1  # type: ignore[attr-defined]


def test_a_method_that_needs_nothing_of_a_network_names_none() -> None:
    for name, info in all_methods().items():
        networks = {noise: dict(info.networks(noise)) for noise in info.noises}
        if info.floor:
            assert networks == {"none": {}}, name
        else:
            assert [set(found) for found in networks.values()] == [{"denoiser"}] * len(networks), name
            names = {found["denoiser"] for found in networks.values()}
            assert len(names) == len(networks), name
            assert all(found["denoiser"].endswith(f"-{noise}") for noise, found in networks.items()) == (
                "none" not in networks
            ), name
    needy = {"residual-median", "zscore"}
    wanted = needy | {f"{name}-fitted" for name in needy}
    assert {name for name, info in all_methods().items() if info.needs_median} == wanted


@pytest.mark.parametrize(("name", "noise"), EVERY)
def test_the_calls_that_a_list_names_are_those_that_a_walk_counts(name: str, noise: str) -> None:
    assert METHODS[name].calls == walk(build_method(name, noise), SCHEDULE).nfe
