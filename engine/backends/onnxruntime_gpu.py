"""ONNX Runtime on an NVIDIA GPU: sessions bound to kept buffers and a stream of their own, one CUDA graph a call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact
from uadbench.engine.backends.cuda_device import CudaDevice
from uadbench.engine.backends.errors import BackendError, first_line
from uadbench.engine.backends.onnxruntime_library import (
    REMEDY,
    installed_packages,
    make_session,
    placement,
    session_options,
)
from uadbench.engine.backends.static_buffers import OUTPUT, StaticBuffers

__all__ = ["CUDA", "GpuSessionDenoiser", "Start", "cuda_session", "preload"]

CUDA = "CUDAExecutionProvider"
# Given whether calls are to be recorded as a CUDA graph.
Start = Callable[[bool], Any]
# Of this process; they say nothing in a record.
ADDRESSES = ("user_compute_stream", "has_user_compute_stream")


class GpuSessionDenoiser:
    """One exported U-Net on one provider and GPU, for batches of up to one size; smaller ones are padded.

    provider : that runs every node
    artifact : exported in ``precision``
    batch_size : where the artifact leaves it open
    start : makes the session, whose work goes to ``device``'s own stream
    about : what the record says besides

    Raises BackendError where the session cannot be made, runs elsewhere, or fails.
    """

    def __init__(
        self,
        name: str,
        provider: str,
        onnxruntime: Any,
        artifact: Artifact,
        precision: str,
        device: CudaDevice,
        batch_size: int,
        start: Start,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.device, self.precision = name, str(device.device), precision
        self._provider, self._onnxruntime, self._artifact = provider, onnxruntime, artifact
        self._gpu, self._facts, self.about = device, device.facts(), dict(about or {})
        self._run_options = onnxruntime.RunOptions()
        # Else every call waits on the host; streams keep the order. Replayed graphs obey it from 1.28 on.
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        with device.selected():
            self._buffers = StaticBuffers(artifact, batch_size, device)
            self._session, self._binding, self._graph = self._open(start)

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``; the answer is on the GPU."""
        return self._buffers.call(lambda: self._run(self._session, self._binding), x_t, t, cond)

    def synchronize(self) -> None:
        """Wait for what is queued on the GPU."""
        self._gpu.synchronize()

    def close(self) -> None:
        """Drop binding, session with its graph, and buffers, in this order."""
        self._gpu.synchronize()
        del self._binding, self._session
        self._buffers.clear()

    def describe(self) -> dict[str, Any]:
        """Provider and its options as the session tells them, nodes by provider, graph, versions and hashes."""
        manifest, options = self._artifact.manifest, self._session.get_provider_options()[self._provider]
        nodes = placement(self._session)
        return {
            "provider": self._provider,
            "providers": self._session.get_providers(),
            "provider_options": {key: value for key, value in options.items() if key not in ADDRESSES},
            "nodes_by_provider": {name: sum(kinds.values()) for name, kinds in nodes.items()},
            "package": " ".join(installed_packages()),
            "onnxruntime": str(self._onnxruntime.__version__),
            "gpu": self._facts.gpu,
            "compute_capability": "{}.{}".format(*self._facts.capability),
            "driver": self._facts.driver,
            "cuda": self._facts.cuda,
            "cuda_graph": self._graph,
            "graph_optimization": "all",
            **self.about,
            "batch": self._buffers.batch,
            "opset": manifest["opset"],
            "artifact_sha256": manifest["sha256"],
            "checkpoint_sha256": manifest["source"]["sha256"],
        }

    def _open(self, start: Start) -> tuple[Any, Any, str]:
        """(session, its binding, whether calls are a CUDA graph); without a graph where that fails, and only then."""
        try:
            session = start(True)
        except BackendError as error:
            if "graph capture" not in str(error):  # not the graph is at fault
                raise
            return *self._warm(start(False)), _no(error)
        try:
            return *self._warm(session), "yes"
        except BackendError as error:
            reason = _no(error)
        del session
        return *self._warm(start(False)), reason

    def _warm(self, session: Any) -> tuple[Any, Any]:
        """Bind the buffers and run once: algorithms are chosen, then the graph, if any, is recorded."""
        index = self._gpu.device.index or 0
        binding = session.io_binding()
        for name, tensor in self._buffers.tensors.items():
            dtype = np.int64 if tensor.dtype == torch.int64 else np.float32
            bind = binding.bind_output if name == OUTPUT else binding.bind_input
            bind(name, "cuda", index, dtype, tuple(tensor.shape), tensor.data_ptr())
        with self._gpu.queued():
            self._run(session, binding)
        self._gpu.synchronize()
        return session, binding

    def _run(self, session: Any, binding: Any) -> None:
        try:
            session.run_with_iobinding(binding, self._run_options)
        except Exception as error:  # its exceptions share no base class of their own
            raise BackendError(
                f"onnxruntime cannot run the network on {self._provider}: {first_line(error)}; {REMEDY}"
            ) from error


def _no(error: BackendError) -> str:
    """What a record says of a graph that could not be had; the remedy is none of its affair."""
    return f"no: {str(error).rpartition(';')[0]}"


def cuda_session(onnxruntime: Any, data: bytes, precision: str, device: CudaDevice) -> Start:
    """Makes sessions of an exported network on the CUDA provider."""
    preload(onnxruntime)

    def start(graph: bool) -> Any:
        choices = {
            "device_id": str(device.device.index or 0),
            "use_tf32": "0",  # fp32 means fp32; TF32 keeps 10 bits of the mantissa
            "prefer_nhwc": str(int(precision == "fp16")),  # as tensor cores want it; fp32 runs on none
            "enable_cuda_graph": str(int(graph)),
            "user_compute_stream": str(device.handle),
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "cudnn_conv_use_max_workspace": "1",
            "arena_extend_strategy": "kSameAsRequested",
        }
        return make_session(onnxruntime, data, session_options(onnxruntime, 1, "cuda"), CUDA, choices)

    return start


def preload(onnxruntime: Any) -> None:
    """Load the CUDA libraries that came with torch or with the extra."""
    if hasattr(onnxruntime, "preload_dlls") and os.name == "posix":
        onnxruntime.preload_dlls()
