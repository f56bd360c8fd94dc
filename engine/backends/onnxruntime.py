"""ONNX Runtime: the exported U-Net on the CPU in fp32 or int8, or on an NVIDIA GPU (``onnxruntime_gpu``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact, check_precision, feed, read_artifact
from uadbench.engine.backends.cuda_device import CudaDevice, check_gpu
from uadbench.engine.backends.errors import BackendError, first_line
from uadbench.engine.backends.onnxruntime_gpu import CUDA, GpuSessionDenoiser, cuda_session
from uadbench.engine.backends.onnxruntime_library import (
    import_it,
    installed_packages,
    load_runtime,
    session_options,
)
from uadbench.engine.interfaces import Denoiser

__all__ = [
    "PRECISIONS",
    "OnnxRuntimeDenoiser",
    "check",
    "installed_packages",
    "load_runtime",
    "open_denoiser",
]

PRECISIONS = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")}
# Read from the libraries of onnxruntime and onnxruntime-gpu 1.31.1.
WHY_NOT = {
    **{("cpu", name): " (its CPU provider has no bf16 arithmetic)" for name in ("bf16", "int8-bf16")},
    ("cuda", "bf16"): " (its CUDA provider resizes no bf16)",
    **{("cuda", name): " (files in int8 are for CPUs)" for name in ("int8", "int8-bf16")},
}
INSTEAD = {
    "cpu": "--precision fp32, or the back end openvino or torch for bf16",
    "cuda": "--precision fp16, or the back end torch or tensorrt for bf16",
}


class OnnxRuntimeDenoiser:
    """A session on one exported U-Net, fp32 or int8, on the CPU.

    threads : of its own pool; None takes torch's number, so that back ends are compared alike

    Raises BackendError when the package is missing or cannot load the network.
    """

    name, device = "onnxruntime", "cpu"

    def __init__(self, artifact: Artifact, precision: str = "fp32", threads: int | None = None) -> None:
        check(precision)
        check_precision(artifact, precision)
        self.precision = precision
        onnxruntime = load_runtime()
        self._artifact, self._version = artifact, onnxruntime.__version__
        self._threads = threads or torch.get_num_threads()
        options = session_options(onnxruntime, self._threads, "cpu")
        try:
            self._session = onnxruntime.InferenceSession(
                artifact.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class of their own
            raise BackendError(
                f"onnxruntime cannot load {artifact.path.name} on cpu: {first_line(error)}; export it again, or use "
                "--backends torch"
            ) from error

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``."""
        inputs = feed(self._artifact, x_t, t, cond)
        (eps,) = self._session.run(["eps"], {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(eps)[: x_t.shape[0]]

    def synchronize(self) -> None:
        """Nothing is queued: a call returns when it is done."""

    def close(self) -> None:
        """Drop the session and its threads."""
        del self._session

    def describe(self) -> dict[str, Any]:
        """Provider that really runs, its options, threads, versions and hashes."""
        providers = self._session.get_providers()
        manifest = self._artifact.manifest
        return {
            "provider": providers[0],
            "providers": providers,
            "provider_options": self._session.get_provider_options()[providers[0]],
            "package": " ".join(installed_packages()),
            "onnxruntime": self._version,
            "threads": self._threads,
            "graph_optimization": "all",
            "quantized_convolutions": self._artifact.quantized,
            "spinning": False,
            "opset": manifest["opset"],
            "batch": manifest["batch"],
            "artifact_sha256": manifest["sha256"],
            "checkpoint_sha256": manifest["source"]["sha256"],
        }


def open_denoiser(
    source: Path, precision: str, device: str, threads: int | None, batch_size: int
) -> Denoiser:
    """See ``backends.open_backend``; on the CPU an open batch size serves any."""
    check(precision, device)
    artifact = read_artifact(source)
    if device == "cpu":
        return OnnxRuntimeDenoiser(artifact, precision, threads)
    check_precision(artifact, precision)
    onnxruntime, gpu = load_runtime(), CudaDevice(device)
    start = cuda_session(onnxruntime, artifact.data, precision, gpu)
    return GpuSessionDenoiser("onnxruntime", CUDA, onnxruntime, artifact, precision, gpu, batch_size, start)


def check(precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    kind = device.partition(":")[0]
    if kind not in PRECISIONS:
        raise BackendError(f"onnxruntime runs on cpu or cuda, not on {device!r}")
    if precision not in PRECISIONS[kind]:
        raise BackendError(
            f"onnxruntime runs {', '.join(PRECISIONS[kind])} on {kind}, not {precision!r}"
            f"{WHY_NOT.get((kind, precision), '')}; use {INSTEAD[kind]}"
        )
    import_it("gpu" if kind == "cuda" else "cpu", CUDA if kind == "cuda" else None)
    if kind == "cuda":
        check_gpu()
