"""THOR's switches: by default the loop of the paper, and each switch changes what it names and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from support.closed_form import AbsolutePerceptual, GaussianDenoiser, disc
from torch import Tensor

from uadbench.engine.anomaly import anomaly_map, gaussian_smooth, harmonic_mean, normalize_max
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods import build_method
from uadbench.engine.methods.thor import Thor
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule()
LEVELS = {"gaussian": (300, 150, 50), "simplex": (200, 150, 100, 50)}
EVERY_50 = {"gaussian": (350, 300, 250, 200, 150, 100, 50, 0), "simplex": (250, 200, 150, 100, 50, 0)}
AUTHORS = {"map_at": "every-50", "renoise": "t", "perceptual_norm": "twice"}


@dataclass
class Seen:
    """What a run did: the range that the perceptual net was fed, the chain's steps, noised estimates."""

    images: list[tuple[float, float]] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)
    noised: list[int] = field(default_factory=list)

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        def distance(x_rec: Tensor) -> Tensor:
            self.images.append((float(x_rec.min()), float(x_rec.max())))
            return (x - x_rec).abs()

        self.images.append((float(x.min()), float(x.max())))
        return distance


def image() -> Tensor:
    x = 0.5 * torch.from_numpy(np.random.default_rng(11).uniform(-1, 1, (2, 1, 32, 32))).float()
    x[disc(32).expand_as(x)] = -0.9
    x[..., 0, 0] = 1.0
    return x


def tools_for(noise: str) -> Tools:
    source = noise_source(noise, 0, ["a", "b"], (32, 32))
    return make_tools(GaussianDenoiser(SCHEDULE, 0.1, 0.3), SCHEDULE, source, AbsolutePerceptual())


def run(noise: str = "gaussian", steps: int | str | None = None, **settings: Any) -> tuple[Result, Seen]:
    """The method's result, and what it did on the way."""
    tools, seen = tools_for(noise), Seen()

    def reverse(x_t: Tensor, t: int, t_prev: int) -> tuple[Tensor, Tensor]:
        seen.pairs.append((t, t_prev))
        return tools.reverse(x_t, t, t_prev)

    def add_noise(x0: Tensor, t: int, field: Tensor) -> Tensor:
        seen.noised.append(t)
        return tools.add_noise(x0, t, field)

    watched = replace(tools, reverse=reverse, add_noise=add_noise, against=seen.against)
    return build_method("thor", noise, steps, settings)(image(), watched), seen


def paper_loop(method: Thor, x: Tensor, tools: Tools) -> Result:
    """Eqs. 3 to 5 written out once more, without a switch."""
    perceptual, maps, noise = tools.against(x), {}, tools.noise(method.t_start)
    x_t = tools.add_noise(x, method.t_start, noise)
    for t, t_prev in tools.schedule.pairs(method.t_start, method.steps, through=method.harmonize_at):
        x_t, x0 = tools.reverse(x_t, t, t_prev)
        if t in method.harmonize_at:
            s = gaussian_smooth(perceptual(x0), method.sigma).clamp(0, 1)
            m = maps[f"map_{t}"] = normalize_max(anomaly_map(x, x0, s))
            cd = ((tools.dilate(tools.close(m, method.window), method.window) + m) / 2).clamp(0, 1)
            x_t = tools.add_noise(cd * x0 + (1 - cd) * x, t_prev, noise)
    return Result(harmonic_mean(list(maps.values())), x_t.clamp(-1, 1), maps)


@pytest.mark.parametrize("noise", LEVELS)
@pytest.mark.parametrize("steps", [5, None, "paper"])
def test_by_default_it_is_the_loop_of_the_equations_to_the_byte(noise: str, steps: int | str | None) -> None:
    method = build_method("thor", noise, steps)
    assert isinstance(method, Thor)
    expected, found = paper_loop(method, image(), tools_for(noise)), method(image(), tools_for(noise))
    assert list(found.trace) == list(expected.trace) == [f"map_{t}" for t in LEVELS[noise]]
    assert torch.equal(found.anomaly, expected.anomaly)
    assert torch.equal(found.reconstruction, expected.reconstruction)


@pytest.mark.parametrize(
    ("noise", "anomaly", "reconstruction"),
    [
        pytest.param(
            "gaussian",
            (0.8543544, 0.1622734, 0.0445631, 0.1060233),
            (0.0283442, -0.2330521, 0.3100005, 0.0274153),
            id="gaussian",
        ),
        pytest.param(
            "simplex",
            (0.9915707, 0.0813353, 0.0168883, 0.1037516),
            (0.1358422, -0.3399227, 0.4740611, 0.0165181),
            id="simplex",
        ),
    ],
)
def test_by_default_it_gives_what_it_gave_before_there_were_switches(
    noise: str, anomaly: tuple[float, ...], reconstruction: tuple[float, ...]
) -> None:
    """Three pixels and the mean, recorded before."""
    result, _ = run(noise)
    assert _few(result.anomaly) == pytest.approx(anomaly, abs=1e-5)
    assert _few(result.reconstruction) == pytest.approx(reconstruction, abs=1e-5)


def _few(x: Tensor) -> tuple[float, ...]:
    return (float(x[1, 0, 10, 16]), float(x[0, 0, 20, 5]), float(x[0, 0, 31, 31]), float(x.mean()))


@pytest.mark.parametrize("steps", [None, "paper"])
@pytest.mark.parametrize("noise", LEVELS)
def test_maps_at_every_50th_level_are_averaged_and_harmonize_nothing(
    noise: str, steps: int | str | None
) -> None:
    _, usual = run(noise, steps)
    result, seen = run(noise, steps, map_at="every-50")
    levels = EVERY_50[noise]
    assert list(result.trace) == [f"map_{t}" for t in levels]
    assert {t for t, _ in seen.pairs} >= set(levels) - {0}
    assert len(seen.pairs) == len(usual.pairs)
    assert len(seen.noised) == 1 + len(LEVELS[noise])
    torch.testing.assert_close(result.anomaly, harmonic_mean(list(result.trace.values())))


def test_maps_at_every_50th_level_leave_the_papers_chain_alone() -> None:
    (usual, _), (other, _) = run(steps="paper"), run(steps="paper", map_at="every-50")
    assert torch.equal(usual.reconstruction, other.reconstruction)
    assert all(torch.equal(m, other.trace[name]) for name, m in usual.trace.items())
    assert not torch.equal(usual.anomaly, other.anomaly)


def test_the_map_at_0_is_that_of_the_reconstruction() -> None:
    result, _ = run(map_at="every-50")
    s = gaussian_smooth((image() - result.reconstruction).abs(), 2.0).clamp(0, 1)
    expected = normalize_max(anomaly_map(image(), result.reconstruction, s))
    torch.testing.assert_close(result.trace["map_0"], expected)


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        pytest.param({"t_start": 310}, (310, 300, 250, 200, 150, 100, 50, 0), id="start between"),
        pytest.param({"t_start": 120, "harmonize_at": (70,)}, (120, 100, 70, 50, 0), id="own levels"),
        pytest.param({"t_start": 50, "harmonize_at": (50,)}, (50, 0), id="start at the lowest"),
    ],
)
def test_every_50_counts_the_start_the_multiples_below_and_the_end(
    settings: dict[str, Any], levels: tuple[int, ...]
) -> None:
    result, _ = run(map_at="every-50", **settings)
    assert list(result.trace) == [f"map_{t}" for t in levels]


def test_too_few_steps_for_the_levels_of_the_maps_are_refused() -> None:
    run(steps=7, map_at="every-50")
    with pytest.raises(ValueError, match="6 steps cannot visit the 7 levels"):
        run(steps=6, map_at="every-50")


@pytest.mark.parametrize("steps", [None, "paper"])
def test_an_estimate_is_noised_to_the_level_that_the_switch_names_and_the_chain_goes_on_from_t_prev(
    steps: int | str | None,
) -> None:
    (usual, by_default), (other, seen) = run(steps=steps), run(steps=steps, renoise="t")
    after = dict(by_default.pairs)
    assert by_default.noised == [350, *(after[t] for t in LEVELS["gaussian"])]
    assert seen.noised == [350, *LEVELS["gaussian"]]
    assert seen.pairs == by_default.pairs
    assert list(other.trace) == list(usual.trace)
    assert torch.equal(usual.trace["map_300"], other.trace["map_300"]), "all is the same up to there"
    assert not torch.equal(usual.trace["map_150"], other.trace["map_150"])
    assert seen.images[:2] == by_default.images[:2]


def test_a_chain_that_ends_with_a_harmonization_ends_clean_whatever_the_switch() -> None:
    (usual, _), (other, seen) = run(steps=4), run(steps=4, renoise="t")
    assert seen.pairs[-1] == (50, 0)
    assert seen.noised == [350, 300, 150, 0]
    assert (other.reconstruction - usual.reconstruction).abs().mean() < 0.1


def test_the_perceptual_net_is_shown_2x_minus_1_once_more_and_nothing_else_is() -> None:
    (usual, by_default), (other, seen) = run(), run(perceptual_norm="twice")
    assert by_default.images[0] == pytest.approx((-0.9, 1.0))
    assert all(low >= -1 and high <= 1 for low, high in by_default.images)
    assert seen.images[0] == pytest.approx((-2.8, 1.0))
    assert seen.images[1] == pytest.approx(tuple(2 * end - 1 for end in by_default.images[1]))
    assert len(seen.images) == len(by_default.images) == 4
    assert (seen.pairs, seen.noised) == (by_default.pairs, by_default.noised)
    assert usual.trace.keys() == other.trace.keys()


@pytest.mark.parametrize("noise", LEVELS)
def test_with_every_switch_as_the_authors_have_it_the_calls_stay_the_papers(noise: str) -> None:
    result, seen = run(noise, "paper", **AUTHORS)
    assert len(result.trace) == len(EVERY_50[noise])
    assert len(seen.images) == 1 + len(EVERY_50[noise])
    assert len(seen.pairs) == EVERY_50[noise][0]
    assert seen.noised[1:] == list(LEVELS[noise])
    assert bool(torch.isfinite(result.anomaly).all())
    assert float(result.reconstruction.abs().max()) <= 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("map_at", "every-25"), ("renoise", "t-1"), ("perceptual_norm", "thrice"), ("renoise", None)],
)
def test_a_switch_of_another_value_is_refused_with_the_choices(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value!r}; allowed: '[a-z_0-9-]+' or '[a-z_0-9-]+'"):
        Thor(**{name: value})  # type: ignore[arg-type]
