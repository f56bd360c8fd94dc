"""A denoiser that keeps what it is shown, for the comparison of chains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from uadbench.engine.interfaces import Denoiser
from uadbench.engine.schedule import Schedule
from uadbench.engine.tools import stepper_of

__all__ = ["Recorder"]


class Recorder:
    """A denoiser that keeps a copy of every x_t that it is shown, in a call or in a whole step, and its level."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.name, self.device, self.precision = inner.name, inner.device, inner.precision
        self.levels: list[int] = []
        self.states: list[Tensor] = []

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self._keep(x_t, int(t[0]))
        return self.inner.denoise(x_t, t, cond)

    def stepper(
        self, schedule: Schedule, eta: float = 1.0, x0_variance: Callable[[int], float] | None = None
    ) -> Callable[..., tuple[Tensor, Tensor]] | None:
        inner = stepper_of(self.inner, schedule, eta, x0_variance)
        if inner is None:
            return None

        def step(
            x_t: Tensor, t: int, t_prev: int, noise: Tensor | None, cond: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            self._keep(x_t, t)
            return inner(x_t, t, t_prev, noise, cond)

        return step

    def synchronize(self) -> None:
        self.inner.synchronize()

    def close(self) -> None:
        self.inner.close()

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def _keep(self, x_t: Tensor, level: int) -> None:
        self.levels.append(level)
        self.states.append(x_t.detach().cpu().clone())
