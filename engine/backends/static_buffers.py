"""Buffers on a GPU that stay where they are, for back ends of one batch size: filled, computed from, and copied out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact, feed
from uadbench.engine.backends.cuda_device import CudaDevice
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.kept import load

__all__ = ["OUTPUT", "StaticBuffers"]

OUTPUT = "eps"


class StaticBuffers:
    """Inputs and output of an exported network, by name, for one batch size; smaller batches are padded.

    batch : where the artifact leaves it open
    """

    def __init__(self, artifact: Artifact, batch: int, gpu: CudaDevice) -> None:
        self.batch = artifact.batch or batch
        self._artifact, self._gpu = artifact, gpu
        inputs = artifact.manifest["inputs"]
        self.shapes = {entry["name"]: (self.batch, *entry["shape"][1:]) for entry in inputs}
        dtypes = {entry["name"]: getattr(torch, entry["dtype"]) for entry in inputs}
        self.tensors = {name: gpu.zeros(shape, dtypes[name]) for name, shape in self.shapes.items()}
        (sides,) = (entry["shape"] for entry in artifact.manifest["outputs"] if entry["name"] == OUTPUT)
        self.tensors[OUTPUT] = gpu.zeros((self.batch, *sides[1:]), torch.float32)

    def call(self, launch: Callable[[], None], x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        """Fill the inputs, ``launch`` on the GPU's own stream, copy the output; nothing waits on the host."""
        count = x_t.shape[0]
        if count > self.batch:
            raise BackendError(
                f"this engine takes batches of up to {self.batch}, not {count}; open it for a larger one"
            )
        inputs = feed(self._artifact, x_t, t, cond)
        with self._gpu.queued():
            load(self.tensors, inputs)
            launch()
        # Copied, because the next call writes to the same memory.
        return self.tensors[OUTPUT][:count].clone()

    def clear(self) -> None:
        """Give the memory back."""
        self.tensors.clear()
