"""A whole step over buffers that stay is the sampler's step, whatever the chain, and goes on by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.closed_form import AbsolutePerceptual, GaussianDenoiser
from torch import Tensor

from uadbench.engine.fused_step import KeptStep, step_row
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule()
PAIRS = SCHEDULE.pairs(350, 5)
SHAPE = (2, 1, 8, 8)
CHAINS = [
    pytest.param(1.0, None, id="ancestral"),
    pytest.param(1.0, lambda t: t / 1000, id="ancestral, exact variance"),
    pytest.param(0.5, None, id="eta 0.5"),
    pytest.param(0.0, None, id="deterministic"),
]


def network(x: Tensor, timesteps: Tensor, *cond: Tensor) -> Tensor:
    """Depends on everything that it is shown."""
    shown = cond[0] if cond else 0
    return torch.tanh(x * (1 + timesteps[:, None, None, None] / 1000) + shown)


class Eager:
    """The same network as a denoiser; counts calls."""

    name, device, precision = "eager", "cpu", "fp32"

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return network(x_t, t - 1, *([] if cond is None else [cond]))

    synchronize = close = describe = lambda self: {}


def field(seed: int) -> Tensor:
    return 0.6 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize(("eta", "x0_variance"), CHAINS)
def test_a_chain_of_runs_is_the_samplers_chain(
    eta: float, x0_variance: Callable[[int], float] | None, conditioned: bool
) -> None:
    cond = field(99) if conditioned else None
    tools = make_tools(Eager(), SCHEDULE, field, AbsolutePerceptual(), eta, x0_variance=x0_variance)
    kept = KeptStep(network, SHAPE, conditioned)
    if cond is not None:
        kept.inputs["cond"].copy_(cond)
    x = field(0)
    kept.inputs["x"].copy_(x)
    for t, t_prev in PAIRS:
        kept.place(t, step_row(SCHEDULE, t, t_prev, eta, x0_variance(t) if x0_variance else 0.0))
        kept.inputs["z"].copy_(field(t))
        kept.run()
        x, x0 = tools.reverse(x, t, t_prev, cond)
        torch.testing.assert_close(kept.inputs["x"], x, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(kept.x0, x0, atol=1e-6, rtol=1e-6)
        assert x.std() > 0.05


def test_nothing_is_sent_for_a_step_that_is_next_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptStep(network, SHAPE, conditioned=False)
    rows = [(t, step_row(SCHEDULE, t, t_prev)) for t, t_prev in PAIRS]

    def chain() -> list[int]:
        """What the number was set to from outside."""
        told = []
        fill = kept.number.fill_
        monkeypatch.setattr(
            kept.number, "fill_", lambda value: told.append(value) or fill(value), raising=False
        )
        for place, row in enumerate(rows):
            kept.place(*row)
            assert int(kept.number) == place
            kept.run()
        return told

    assert chain() == [0], "the first time, as it is not known what the number holds"
    assert chain() == [0], "back to the chain's start, and no further"


def test_rows_are_filled_anew_when_none_is_left_and_chains_of_other_rows_stay_right() -> None:
    kept, x = KeptStep(network, SHAPE, conditioned=False, rows=3), field(0)
    for seed, (t, t_prev) in enumerate([*PAIRS, *PAIRS[:2], *SCHEDULE.pairs(100, 4)]):
        z, row = field(seed), step_row(SCHEDULE, t, t_prev)
        kept.place(t, row)
        kept.inputs["x"].copy_(x)
        kept.inputs["z"].copy_(z)
        kept.run()
        tools = make_tools(Eager(), SCHEDULE, lambda t, z=z: z, AbsolutePerceptual())
        torch.testing.assert_close(kept.inputs["x"], tools.reverse(x, t, t_prev)[0], atol=1e-6, rtol=1e-6)


def test_tools_take_a_denoisers_own_step_and_draw_its_noise_in_the_same_order() -> None:
    """A method sees the same numbers, and the generators of the cases are left at the same place."""
    drawn: dict[str, list[int]] = {"own": [], "put together": []}
    inner = GaussianDenoiser(SCHEDULE, 0.0, 0.5)

    class Own(GaussianDenoiser):
        def stepper(self, schedule, eta=1.0, x0_variance=None):  # type: ignore[no-untyped-def]
            def step(x_t, t, t_prev, noise, cond=None):  # type: ignore[no-untyped-def]
                tools = make_tools(inner, schedule, lambda t: noise, AbsolutePerceptual(), eta)
                return tools.reverse(x_t, t, t_prev, cond)

            return step

    ends = []
    for name, denoiser in (("own", Own(SCHEDULE, 0.0, 0.5)), ("put together", inner)):

        def noise(t: int, name: str = name) -> Tensor:
            drawn[name].append(t)
            return field(t)

        tools, x = make_tools(denoiser, SCHEDULE, noise, AbsolutePerceptual()), field(0)
        for t, t_prev in PAIRS:
            x, _ = tools.reverse(x, t, t_prev)
        ends.append(x)
    assert drawn["own"] == drawn["put together"] == [t for t, t_prev in PAIRS if t_prev > 0]
    assert torch.equal(*ends)
