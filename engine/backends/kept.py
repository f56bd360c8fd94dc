"""Inputs that stay where they are, of one batch size and image size: what is compiled or recorded reads them there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import check_cond, check_levels, pad
from uadbench.engine.backends.errors import BackendError

__all__ = ["SIDE", "KeptCall", "check_call", "load"]

SIDE = 128  # of the images that a network is opened for, pixels; data sets have no other


class KeptCall:
    """One call of a network from buffers to a buffer.

    network : (x, timesteps from 0) -> eps, all of fixed shapes, with the clean image as a third argument where
        ``conditioned``
    shape : (B, 1, H, W)
    """

    def __init__(
        self,
        network: Callable[..., Tensor],
        shape: tuple[int, ...],
        conditioned: bool,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network = network
        self.inputs = {
            "x": torch.zeros(shape, device=device),
            "timesteps": torch.zeros(shape[:1], dtype=torch.int64, device=device),
        }
        if conditioned:
            self.inputs["cond"] = torch.zeros(shape, device=device)
        self.eps = torch.zeros(shape, device=device)

    def fill(self, x_t: Tensor, t: Tensor, cond: Tensor | None) -> None:
        """Copy in what ``Denoiser.denoise`` is given, of a batch that ``check_call`` has let pass."""
        check_levels(x_t, t)
        load(self.inputs, {"x": x_t, "timesteps": t - 1, "cond": cond})

    def run(self) -> None:
        """From the buffers to ``eps``; the first run finds out how many channels that has."""
        answer = self.network(*self.inputs.values())
        if answer.shape != self.eps.shape:
            self.eps = torch.zeros_like(answer, dtype=torch.float32)
        self.eps.copy_(answer)


def load(buffers: Mapping[str, Tensor], values: Mapping[str, Tensor | None]) -> None:
    """Copy a batch into buffers of at least its size; rows that are left over repeat its last image."""
    for name, value in values.items():
        if value is not None:
            buffers[name].copy_(pad(value, buffers[name].shape[0]), non_blocking=True)


def check_call(name: str, batch: int, conditioned: bool, x_t: Tensor, cond: Tensor | None) -> None:
    """BackendError unless the images are [B, 1, H, W], at most ``batch``, with a clean image just where one is wanted.

    name : the back end's
    """
    check_cond(conditioned, x_t, cond)
    if x_t.ndim != 4 or x_t.shape[1] != 1:
        raise BackendError(f"{name} takes images [B, 1, H, W], not {list(x_t.shape)}")
    if x_t.shape[0] > batch:
        raise BackendError(
            f"{name} was opened for batches of up to {batch}, not {x_t.shape[0]}; open it for a larger one"
        )
