"""Whatever a network predicts, samplers see eps: checked against the denoiser that is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from support.closed_form import GaussianDenoiser
from torch import Tensor, nn

from uadbench.engine.networks.adapters import as_epsilon
from uadbench.engine.schedule import Schedule, linear_schedule

LINEAR = linear_schedule()
OTHER = Schedule((0.1, 0.2, 0.4, 0.8))
MEAN, STD = 0.2, 0.5


class Optimal(nn.Module):
    """E[x_0 | x_t] or E[v | x_t] for pixels that are N(MEAN, STD^2), from timesteps counted from 0."""

    def __init__(self, schedule: Schedule, prediction: str) -> None:
        super().__init__()
        self.schedule, self.prediction = schedule, prediction

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        rows = []
        for image, timestep in zip(x, timesteps.tolist(), strict=True):
            abar = float(self.schedule.abar[timestep + 1])
            signal, spread = math.sqrt(abar), math.sqrt(1 - abar)
            gain = signal * STD**2 / (abar * STD**2 + 1 - abar)
            x0 = MEAN + gain * (image - signal * MEAN)  # the posterior mean of the clean image
            v = (
                signal * image - x0
            ) / spread  # from v = signal eps - spread x0 and x_t = signal x0 + spread eps
            rows.append(x0 if self.prediction == "x0" else v)
        return torch.stack(rows)


@pytest.mark.parametrize("schedule", [pytest.param(LINEAR, id="linear"), pytest.param(OTHER, id="other")])
@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_a_prediction_of_x0_or_v_becomes_the_eps_of_the_closed_form(
    prediction: str, schedule: Schedule
) -> None:
    levels = torch.tensor([1, 2, schedule.length // 2, schedule.length])
    x_t = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    adapted = as_epsilon(Optimal(schedule, prediction), prediction, schedule)
    found = adapted(x_t, levels - 1)
    known = GaussianDenoiser(schedule, MEAN, STD)
    for row, level in enumerate(levels):
        wanted = known.denoise(x_t[row : row + 1], level[None])[0]
        torch.testing.assert_close(found[row], wanted, atol=2e-3 if int(level) < 3 else 1e-5, rtol=1e-3)


def test_a_network_that_predicts_eps_is_returned_itself() -> None:
    network = nn.Identity()
    assert as_epsilon(network, "epsilon", LINEAR) is network


def test_an_unknown_prediction_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="the prediction is 'score'; epsilon, x0, v, change are known"):
        as_epsilon(nn.Identity(), "score", LINEAR)


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_an_adapted_network_keeps_its_weights_names_and_nothing_is_trained(prediction: str) -> None:
    """Coefficients are no weights: a state dict holds the network's own and nothing else."""
    adapted = as_epsilon(nn.Linear(2, 2), prediction, LINEAR)
    assert set(adapted.state_dict()) == {"network.weight", "network.bias"}
    assert not any(weight.requires_grad for weight in adapted.parameters())
    assert not adapted.training
