"""The noise schedule: how much signal is left at each level, and which levels a chain visits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LINEAR", "Schedule", "linear_schedule", "schedule_from"]


@dataclass(frozen=True)
class Schedule:
    """Cumulative signal ``abar`` over levels 0 .. T, where level 0 is the clean image.

    betas : the T forward variances, betas[t - 1] leads from level t - 1 to t
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.betas or not all(0 < beta < 1 for beta in self.betas):
            raise ValueError("a schedule needs at least one beta, each between 0 and 1")

    @cached_property
    def abar(self) -> NDArray[np.float64]:
        """float64 [T + 1], abar[0] = 1, so the last step of a chain is no special case."""
        return np.concatenate([[1.0], np.cumprod(1 - np.asarray(self.betas))])

    @property
    def length(self) -> int:
        """T, the noisiest level."""
        return len(self.betas)

    def pairs(
        self, t_start: int, steps: int | None = None, through: Iterable[int] = ()
    ) -> list[tuple[int, int]]:
        """The visited levels as (t, t_prev), from t_start down to 0.

        steps : number of network calls on the way, evenly spread; None visits every level, as the papers do
        through : levels that must be visited whatever the spacing (THOR's harmonization steps); they take the
            place of the nearest evenly spread level, so the number of steps stays as asked for

        ValueError where a number is out of range, or the steps are fewer than the levels that must be visited.
        """
        if not 1 <= t_start <= self.length:
            raise ValueError(f"t_start is {t_start}; allowed is 1 to {self.length}")
        if steps is not None and not 1 <= steps <= t_start:
            raise ValueError(f"steps is {steps}; allowed is 1 to t_start = {t_start}")
        fixed = sorted({t_start, *(t for t in through if 0 < t <= t_start)}, reverse=True)
        if steps is None:
            levels = list(range(t_start, 0, -1))
        else:
            if len(fixed) > steps:
                raise ValueError(
                    f"{steps} steps cannot visit the {len(fixed)} levels {fixed}; {len(fixed)} is the least"
                )
            even = [round(t) for t in np.linspace(t_start, 0, steps, endpoint=False)]
            for level in fixed:
                free = [t for t in even if t not in fixed]
                if level not in even:
                    even.remove(min(free, key=lambda t: abs(t - level)))
                    even.append(level)
            levels = sorted(even, reverse=True)
        return list(zip(levels, [*levels[1:], 0], strict=True))


def linear_schedule(length: int = 1000, start: float = 1e-4, end: float = 0.02) -> Schedule:
    """Variances growing linearly, as in Ho et al. 2020 (doi:10.48550/arXiv.2006.11239), section 4."""
    return Schedule(tuple(float(beta) for beta in np.linspace(start, end, length)))


LINEAR: Mapping[str, Any] = {"kind": "linear", "length": 1000, "start": 1e-4, "end": 0.02}
"""The schedule of all methods here, as a checkpoint's card records it."""


def schedule_from(record: Mapping[str, Any]) -> Schedule:
    """The schedule that a card records, such as ``LINEAR``; ValueError where it records none."""
    if record.get("kind") != "linear":
        raise ValueError(f"the schedule's kind is {record.get('kind')!r}; 'linear' is known")
    length, start, end = record.get("length"), record.get("start"), record.get("end")
    if type(length) is not int or not 1 <= length <= 100_000:
        raise ValueError(f"the schedule's length is {length!r}; a whole number from 1 to 100000 is needed")
    if not isinstance(start, int | float) or not isinstance(end, int | float):
        raise ValueError(f"the schedule runs from {start!r} to {end!r}; two numbers are needed")
    return linear_schedule(length, float(start), float(end))
