"""Networks that predict something else than the noise, made to predict the noise, so that no sampler ever knows.

The identity behind all of them is x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps (Ho et al. 2020, eq. 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from uadbench.engine.schedule import Schedule

__all__ = ["PREDICTIONS", "as_epsilon", "restores"]


class FromX0(nn.Module):
    """A network that predicts the clean image, as one that predicts the noise."""

    signal: Tensor
    spread: Tensor

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        super().__init__()
        self.network = network
        for name, values in zip(("signal", "spread"), _coefficients(schedule), strict=True):
            self.register_buffer(name, values, persistent=False)

    def _call(self, x: Tensor, timesteps: Tensor, cond: Tensor | None) -> Tensor:
        return self.network(x, timesteps) if cond is None else self.network(x, timesteps, cond)

    def forward(self, x: Tensor, timesteps: Tensor, cond: Tensor | None = None) -> Tensor:
        signal, spread = (c[timesteps][:, None, None, None] for c in (self.signal, self.spread))
        return (x - signal * self._call(x, timesteps, cond)) / spread


class FromV(FromX0):
    """A network that predicts v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022, arXiv 2202.00512)."""

    def forward(self, x: Tensor, timesteps: Tensor, cond: Tensor | None = None) -> Tensor:
        signal, spread = (c[timesteps][:, None, None, None] for c in (self.signal, self.spread))
        return signal * self._call(x, timesteps, cond) + spread * x


# "change" is of networks that undo anomalies and not noise: nothing follows for eps.
PREDICTIONS = ("epsilon", "x0", "v", "change")


def restores(card: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's network undoes anomalies and not noise: t is a strength, and there are no steps."""
    return card.get("prediction") == "change"


def as_epsilon(network: nn.Module, prediction: str, schedule: Schedule) -> nn.Module:
    """The network as one that predicts eps; itself where it does so already, or predicts a change.

    prediction : one of ``PREDICTIONS``; ValueError otherwise
    Like the networks, the result takes timesteps counted from 0.
    """
    if prediction in ("epsilon", "change"):
        return network
    if prediction not in PREDICTIONS:
        raise ValueError(f"the prediction is {prediction!r}; {', '.join(PREDICTIONS)} are known")
    return (FromX0 if prediction == "x0" else FromV)(network, schedule).eval().requires_grad_(False)


def _coefficients(schedule: Schedule) -> tuple[Tensor, Tensor]:
    """sqrt(abar) and sqrt(1 - abar) by timestep, float32 [T]; timestep t - 1 is level t."""
    abar = torch.from_numpy(schedule.abar[1:])
    return abar.sqrt().float(), (1 - abar).sqrt().float()
