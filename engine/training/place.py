"""Where a training computes: in this process on the CPU, or by Accelerate on GPUs and in several processes.

The loop is the same everywhere. What Accelerate adds is moving, mixed precision with its scaler, and the sum of the
gradients over processes; so a training of one process on the CPU needs no package for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["DEVICES", "PRECISIONS", "Place", "PlaceError", "open_place"]

DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "bf16", "fp16")


class PlaceError(Exception):
    """A training cannot compute there; the message names the remedy, in one line."""


@dataclass(frozen=True)
class Place:
    """A device, a precision, and this process's number among those that train together.

    precision : of the forward pass and the gradients; weights, their average and the optimizer stay float32
    accelerator : an ``accelerate.Accelerator``, None for one process on the CPU
    """

    precision: str = "fp32"
    accelerator: Any = None

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return torch.device("cpu") if self.accelerator is None else self.accelerator.device

    @property
    def processes(self) -> int:
        """How many train together."""
        return 1 if self.accelerator is None else int(self.accelerator.num_processes)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and prints."""
        return self.accelerator is None or bool(self.accelerator.is_main_process)

    @property
    def scaler(self) -> Any:
        """Of fp16's gradients, None otherwise; a part of the training's state."""
        return getattr(self.accelerator, "scaler", None)

    def rows(self, batch_size: int, accumulate: int) -> NDArray[np.int64]:
        """Which of a step's images are this process's: its share of each batch, batch after batch."""
        rank = 0 if self.accelerator is None else self.accelerator.process_index
        step = np.arange(batch_size * accumulate).reshape(accumulate, self.processes, -1)
        return np.asarray(step[:, rank].ravel())

    def prepare(
        self, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """What the loop calls; the weights stay those of ``model``, which is on the device already."""
        if self.accelerator is None:
            return model, optimizer
        prepared: tuple[nn.Module, torch.optim.Optimizer] = self.accelerator.prepare(model, optimizer)
        return prepared

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the forward pass."""
        if self.accelerator is not None:
            return self.accelerator.autocast()  # type: ignore[no-any-return]
        return torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")

    def apart(self, model: nn.Module, wanted: bool) -> AbstractContextManager[Any]:
        """Where wanted, gradients of this forward and backward pass are not yet summed over the processes."""
        return self.accelerator.no_sync(model) if wanted and self.accelerator is not None else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those that there are."""
        if self.accelerator is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.accelerator.backward(loss)

    def clip(self, weights: Iterable[Tensor], norm: float) -> None:
        """Shorten the gradients to that norm, where they are longer."""
        if self.accelerator is None:
            torch.nn.utils.clip_grad_norm_(weights, norm)
        else:
            self.accelerator.clip_grad_norm_(weights, norm)

    def mean(self, value: Tensor) -> float:
        """Of a scalar, over the processes."""
        if self.processes > 1:
            value = self.accelerator.reduce(value, "mean")
        return value.item()

    def agreed(self, flag: bool) -> bool:
        """Whether any process says so; all must ask."""
        return self.mean(torch.tensor(float(flag), device=self.device)) > 0 if self.processes > 1 else flag

    def describe(self) -> str:
        """The device in words."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    def close(self) -> None:
        """Part from the other processes."""
        if self.accelerator is not None:
            self.accelerator.end_training()


def open_place(device: str, precision: str, partial: bool = False) -> Place:
    """The place that was asked for; how many processes there are is in the environment, from torchrun or Accelerate.

    partial : whether some weights will have no gradient, which processes that add gradients up must know
    Raises PlaceError where the machine, the precision or the package accelerate is lacking.
    """
    if device not in DEVICES or precision not in PRECISIONS:
        raise PlaceError(
            f"training runs on {' or '.join(DEVICES)} in {', '.join(PRECISIONS)}, not on {device} in {precision}"
        )
    if precision == "fp16" and device != "cuda":
        raise PlaceError("fp16 is trained in on a GPU only; use --device cuda, or --precision bf16 or fp32")
    if device == "cuda" and not torch.cuda.is_available():
        raise PlaceError("torch sees no CUDA device; use --device cpu, or install a CUDA build of torch")
    together = int(os.environ.get("WORLD_SIZE") or 1)
    if device == "cpu" and together == 1:
        return Place(precision)
    # Accelerate imports the hub's client, which must not look for anything, nor tell anyone.
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError as error:
        what = f"training in {together} processes" if together > 1 else f"training on {device}"
        raise PlaceError(f"{what} needs accelerate ({error}); `pip install 'uadbench[train]'`") from error
    mixed = "no" if precision == "fp32" else precision
    adding = DistributedDataParallelKwargs(find_unused_parameters=partial)
    return Place(precision, Accelerator(cpu=device == "cpu", mixed_precision=mixed, kwargs_handlers=[adding]))
