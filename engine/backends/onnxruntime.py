"""ONNX Runtime: the exported U-Net on the CPU in fp32 or int8, or in fp32 on an NVIDIA GPU with onnxruntime-gpu."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact, check_precision, feed, read_artifact
from uadbench.engine.backends.errors import BackendError

__all__ = [
    "PRECISIONS",
    "OnnxRuntimeDenoiser",
    "check",
    "installed_packages",
    "load_runtime",
    "open_denoiser",
]

PRECISIONS = ("fp32", "int8")
PACKAGES = ("onnxruntime", "onnxruntime-gpu")
CUDA = "CUDAExecutionProvider"


class OnnxRuntimeDenoiser:
    """A session on one exported U-Net, fp32 or int8.

    threads : of its own pool on the CPU; None takes torch's number, so that back ends are compared alike

    Raises BackendError when the package is missing, or would run elsewhere than asked for.
    """

    name = "onnxruntime"

    def __init__(
        self, artifact: Artifact, precision: str = "fp32", device: str = "cpu", threads: int | None = None
    ) -> None:
        check(precision, device)
        check_precision(artifact, precision)
        onnxruntime = load_runtime()
        self.device, self.precision = device, precision
        self._artifact, self._version = artifact, onnxruntime.__version__
        self._threads = threads or torch.get_num_threads()
        self._options = _session_options(onnxruntime, self._threads, device)
        providers = _providers(onnxruntime, device)
        try:
            self._session = onnxruntime.InferenceSession(artifact.data, self._options, providers=providers)
        except Exception as error:  # its exceptions share no base class of their own
            line = str(error).strip().splitlines()[0]
            raise BackendError(f"onnxruntime cannot load {artifact.path.name} on {device}: {line}") from error
        wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
        if self._session.get_providers()[0] != wanted:
            # It logs that the CUDA libraries do not load and goes on with the CPU; a figure must not hide that.
            raise BackendError(
                f"onnxruntime could not start {wanted} and would run on {self._session.get_providers()[0]}; "
                "install CUDA 13 and cuDNN 9 with `pip install 'uadbench[gpu]'`, or use --device cpu"
            )

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``."""
        inputs = feed(self._artifact, x_t, t, cond)
        run = self._run_cpu if self.device == "cpu" else self._run_cuda
        return run(inputs)[: x_t.shape[0]]

    def _run_cpu(self, inputs: Mapping[str, Tensor]) -> Tensor:
        (eps,) = self._session.run(["eps"], {name: value.numpy() for name, value in inputs.items()})
        return torch.from_numpy(eps)

    def _run_cuda(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Reads and writes torch's own memory on the device; nothing passes through the host."""
        index = torch.device(self.device).index or 0
        inputs = {name: value.to(self.device) for name, value in inputs.items()}
        eps = torch.empty_like(inputs["x"])
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            dtype = np.int64 if tensor.dtype == torch.int64 else np.float32
            binding.bind_input(name, "cuda", index, dtype, tuple(tensor.shape), tensor.data_ptr())
        binding.bind_output("eps", "cuda", index, np.float32, tuple(eps.shape), eps.data_ptr())
        torch.cuda.current_stream(self.device).synchronize()  # the session has a stream of its own
        self._session.run_with_iobinding(binding)  # returns when its stream is done
        return eps

    def synchronize(self) -> None:
        """Wait for torch's queue; the session's own calls return when they are done."""
        if self.device != "cpu":
            torch.cuda.synchronize(self.device)

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
) -> OnnxRuntimeDenoiser:
    """See ``backends.open_backend``; an open batch size serves any."""
    return OnnxRuntimeDenoiser(read_artifact(source), precision, device, threads)


def installed_packages() -> list[str]:
    """Which of the two packages that provide the module ``onnxruntime`` are installed."""
    found = []
    for package in PACKAGES:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        found.append(package)
    return found


def load_runtime() -> Any:
    """The module ``onnxruntime``, imported with its telemetry off; raises ImportError.

    From 1.31 on it reports to its makers unless told otherwise before the import, and writes an id into the user's
    cache folder when imported. Medical work wants neither; a user's own setting of the variable stands.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def check(precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    if precision not in PRECISIONS:
        raise BackendError(
            f"onnxruntime runs {', '.join(PRECISIONS)}, not {precision!r} (its CPU provider has no bf16 arithmetic); "
            "use --precision fp32, or the back end openvino or torch for bf16"
        )
    if precision == "int8" and device != "cpu":
        raise BackendError(f"onnxruntime runs int8 on cpu, not on {device!r}; use --precision fp32 there")
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise BackendError(f"onnxruntime runs on cpu or cuda, not on {device!r}")
    if installed_packages() == list(PACKAGES):
        raise BackendError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; uninstall both, "
            "then `pip install 'uadbench[cpu]'` or `pip install 'uadbench[gpu]'`"
        )
    try:
        onnxruntime = load_runtime()
    except ImportError as error:
        extra = "gpu" if kind == "cuda" else "cpu"
        raise BackendError(
            f"onnxruntime cannot be imported ({error}); `pip install 'uadbench[{extra}]'`"
        ) from error
    if kind == "cuda" and CUDA not in onnxruntime.get_available_providers():
        raise BackendError(
            f"this onnxruntime has no {CUDA}; uninstall onnxruntime, then `pip install 'uadbench[gpu]'`"
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise BackendError("torch sees no CUDA device; use --device cpu, or install a CUDA build of torch")


def _session_options(onnxruntime: Any, threads: int, device: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # explicit: the default counts cores that a container may not use
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Between two calls torch and Numba work on the same cores; threads that spin would steal them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # session.set_denormal_as_zero stays off: it switches the calling thread, hence torch's and NumPy's arithmetic.
    # Without VNNI 8-bit products of mixed sign saturate; then weights are made unsigned, which does not.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if device != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.log_severity_level = 3
    return options


def _providers(onnxruntime: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if hasattr(onnxruntime, "preload_dlls") and os.name == "posix":
        onnxruntime.preload_dlls()  # the CUDA libraries that came with torch or with the extra
    index = torch.device(device).index or 0
    cuda = {
        "device_id": str(index),
        "use_tf32": "0",  # fp32 means fp32; TF32 keeps 10 bits of the mantissa
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }
    return [(CUDA, cuda)]
