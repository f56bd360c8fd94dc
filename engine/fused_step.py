"""A step of a chain as one module: the network, the clean image that it implies, and the draw of the next level.

``FusedStep`` is the arithmetic, with the schedule and the chain as tables. ``KeptStep`` is the same over buffers that
stay where they are, as a CUDA graph needs them; it is plain torch and runs anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from uadbench.engine.schedule import Schedule
from uadbench.engine.steps import reverse_weights

__all__ = ["FusedStep", "KeptStep", "Row", "step_row"]

TABLES = ("signal", "spread", "of_x0", "of_x_t", "of_noise")
ROWS = 1024  # of a kept step's tables: any chain over a schedule of 1000 levels fits

Row = tuple[float, ...]


def step_row(schedule: Schedule, t: int, t_prev: int, eta: float = 1.0, x0_variance: float = 0.0) -> Row:
    """What a step multiplies with, in the order of ``TABLES``; eta, x0_variance : as for ``steps.reverse_weights``."""
    abar = float(schedule.abar[t])
    return (abar**0.5, (1 - abar) ** 0.5, *reverse_weights(schedule, t, t_prev, eta, x0_variance))


class FusedStep(nn.Module):
    """One step of a chain, by its number; the arithmetic around the network is float32.

    forward(x, step, z, cond): x float32 [B, 1, H, W], the image at the step's level; step int64 [B], counted from 0 at
    the chain's start; z, like x, the noise to add, of which a step without any takes nothing; cond where the network
    is conditioned. Returns x at the next level and the clean image x0 in [-1, 1].

    network : predicts eps from (x, timesteps from 0)
    pairs : (t, t_prev) of each step, levels, as ``Schedule.pairs`` gives them
    eta, x0_variance : as for ``tools.make_tools``
    """

    timesteps: Tensor

    def __init__(
        self,
        network: Callable[..., Tensor],
        schedule: Schedule,
        pairs: Sequence[tuple[int, int]],
        eta: float = 1.0,
        x0_variance: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        rows = [
            step_row(schedule, t, t_prev, eta, x0_variance(t) if x0_variance else 0.0) for t, t_prev in pairs
        ]
        self.register_buffer("timesteps", torch.tensor([t - 1 for t, _ in pairs]), persistent=False)
        for name, column in zip(TABLES, zip(*rows, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(column, dtype=torch.float32), persistent=False)

    def forward(
        self, x: Tensor, step: Tensor, z: Tensor, cond: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        timesteps = self.timesteps[step]
        eps = self.network(x, timesteps) if cond is None else self.network(x, timesteps, cond)
        signal, spread, of_x0, of_x_t, of_noise = (
            self.get_buffer(name)[step][:, None, None, None] for name in TABLES
        )
        x0 = ((x - spread * eps) / signal).clamp(-1, 1)
        return of_x0 * x0 + of_x_t * x + of_noise * z, x0

    def write(self, number: int, t: int, row: Row) -> None:
        """Make step ``number`` one from level t with this row; in place, so whoever reads the tables sees it."""
        self.timesteps[number] = t - 1
        for name, value in zip(TABLES, row, strict=True):
            self.get_buffer(name)[number] = value


class KeptStep:
    """A step over buffers that stay, whose number goes on by itself: a chain is ``run`` again and again.

    network : as for ``FusedStep``
    shape : (B, 1, H, W) of x and all that is like it

    inputs : "x", "z" and, where the network is conditioned, "cond"; x is also where the answer at the next level lies
    x0 : the clean image of the last ``run``

    Rows of the tables are filled as steps are first asked for and shared by all chains; when none is left they are
    filled anew. ``place`` and ``run`` are to be queued on one stream.
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        shape: tuple[int, ...],
        conditioned: bool,
        device: torch.device | str = "cpu",
        rows: int = ROWS,
    ) -> None:
        self._fused = FusedStep(network, Schedule((0.5,)), [(1, 0)] * rows).to(device)
        names = ("x", "z", "cond") if conditioned else ("x", "z")
        self.inputs = {name: torch.zeros(shape, device=device) for name in names}
        self.x0 = torch.zeros(shape, device=device)
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        self._rows: dict[tuple[int, Row], int] = {}
        self._capacity = rows
        self._at: int | None = None  # what ``number`` holds once all that is queued is done; None: not known

    def place(self, t: int, row: Row) -> None:
        """Make the next ``run`` the step from level t with this row; nothing is sent where it is next in turn."""
        key = (t, row)
        if key not in self._rows:
            number = len(self._rows) % self._capacity
            if len(self._rows) == self._capacity:
                self._rows.clear()
            self._rows[key] = number
            self._fused.write(number, t, row)
        number = self._rows[key]
        if self._at != number:
            self.number.fill_(number)
        self._at = number + 1

    def forget(self) -> None:
        """``run`` was called out of turn, to warm up or to be recorded: the number is not known any more."""
        self._at = None

    def run(self) -> None:
        """One step, from the buffers to the buffers."""
        x = self.inputs["x"]
        step = self.number.expand(x.shape[0])
        x_prev, x0 = self._fused(x, step, self.inputs["z"], self.inputs.get("cond"))
        x.copy_(x_prev)
        self.x0.copy_(x0)
        self.number.add_(1)
