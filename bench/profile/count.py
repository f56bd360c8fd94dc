"""FLOPs and bytes of one network call, counted on tensors without data and not assumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from uadbench.engine.backends.form import IN_8_BITS
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import load_denoiser

__all__ = ["Count", "count_call", "count_network"]

ITEM_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "int8": 4, "int8-bf16": 2}
"""Bytes of a real number, by precision; in the last two of those that are not in 8 bits."""

_ALLOCATING = (
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
)  # these write nothing


_CONVOLUTIONS = ("aten::conv2d", "aten::convolution")


@dataclass(frozen=True)
class Count:
    """What one call computes and moves.

    flops : of matrix products, convolutions and attention, a multiplication and an addition as two
    reals : real numbers read and written, where every operation but views reads its inputs and writes its outputs once
    other_bytes : bytes of whole numbers read and written
    operations : how many there are, views left out
    convolved : of the reals, those of the convolutions that ``exporters.int8`` has in 8 bits, their images and weights:
        of larger windows than 1 x 1, the first and the last left out
    """

    flops: int
    reals: int
    other_bytes: int
    operations: int
    convolved: int = 0

    def bytes(self, precision: str) -> int | None:
        """Bytes moved with reals in that precision; None for one that is not in ``ITEM_BYTES``."""
        size = ITEM_BYTES.get(precision)
        if size is None:
            return None
        in_8_bits = self.convolved if precision in IN_8_BITS else 0
        return (self.reals - in_8_bits) * size + in_8_bits + self.other_bytes


def count_network(path: Path, batch: int, side: int) -> Count:
    """One call of a checkpoint's network, as an eps predictor, on ``batch`` images of ``side`` x ``side`` pixels.

    Raises CheckpointError.
    """
    model, card = load_denoiser(path)
    with torch.device("meta"):
        x, t = torch.zeros(batch, 1, side, side), torch.zeros(batch, dtype=torch.int64)
        cond = (torch.zeros_like(x),) if NETWORKS[card.get("kind", "unet")].conditioned else ()
    return count_call(model.to("meta"), x, t, *cond)


def count_call(model: nn.Module, *inputs: Tensor) -> Count:
    """One call of a network whose weights and inputs are on the device "meta"."""
    moved = _Moved()
    with torch.inference_mode(), FlopCounterMode(display=False) as flops, moved:
        model(*inputs)
    return Count(
        flops.get_total_flops(), moved.reals, moved.other_bytes, moved.operations, sum(moved.windows[1:-1])
    )


@dataclass(eq=False)
class _Moved(TorchDispatchMode):
    """Adds up what operations read and write. A view's output shares memory with an input and costs nothing."""

    reals: int = 0
    other_bytes: int = 0
    operations: int = 0
    windows: list[int] = field(default_factory=list)  # reals of each convolution, 0 for one of 1 x 1
    _ignored: frozenset[str] = field(default=frozenset(_ALLOCATING))

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        read, written = list(_tensors((args, kwargs))), list(_tensors(out))
        if not written or function._schema.name.rpartition("::")[2] in self._ignored:
            return out
        shared = {_memory(tensor) for tensor in read}
        if not function._schema.is_mutable and all(_memory(tensor) in shared for tensor in written):
            return out
        self.operations += 1
        if function._schema.name in _CONVOLUTIONS:
            reals = sum(tensor.numel() for tensor in (args[0], args[1], *written))
            self.windows.append(reals if max(args[1].shape[2:]) > 1 else 0)
        for tensor in (*read, *written):
            if tensor.is_floating_point() or tensor.is_complex():
                self.reals += tensor.numel() * (2 if tensor.is_complex() else 1)
            else:
                self.other_bytes += tensor.numel() * tensor.element_size()
        return out


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.numel())


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
