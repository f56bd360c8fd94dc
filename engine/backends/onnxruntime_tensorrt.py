"""ONNX Runtime's TensorRT provider: the exported U-Net as an engine that it builds, in an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from uadbench.engine.backends import tensorrt_library as library
from uadbench.engine.backends.artifacts import check_precision, read_artifact
from uadbench.engine.backends.cuda_device import CudaDevice
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.onnxruntime_engines import TENSORRT, ProviderEngines
from uadbench.engine.backends.onnxruntime_gpu import GpuSessionDenoiser, preload
from uadbench.engine.backends.onnxruntime_library import import_it, load_runtime
from uadbench.engine.backends.tensorrt_library import PROVIDER
from uadbench.engine.backends.tf32 import SWITCH

__all__ = ["check", "open_denoiser"]


def check(precision: str = "fp32", device: str = "cuda") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    if device.partition(":")[0] == "cuda" and precision in library.PRECISIONS:
        import_it(PROVIDER.extra, TENSORRT)
    library.check(PROVIDER, precision, device)
    if precision == "fp32" and os.environ.get(SWITCH) != "0":
        raise BackendError(
            f"{PROVIDER.name} would compute fp32 in TF32, and ONNX Runtime has no option against it; set "
            f"{SWITCH}=0 in the environment before the start (it holds for torch, too), or use --backends tensorrt"
        )


def open_denoiser(
    source: Path,
    precision: str,
    device: str,
    threads: int | None,
    batch_size: int,
    say: Callable[[str], None] | None = None,
) -> GpuSessionDenoiser:
    """See ``backends.open_backend``; the first time an engine is built, which takes from seconds to many minutes."""
    artifact = read_artifact(source)
    check_precision(artifact, precision)
    # The import loads TensorRT's libraries, which the provider looks for by name.
    trt, onnxruntime, gpu = library.load(PROVIDER), load_runtime(), CudaDevice(device)
    preload(onnxruntime)
    engines = ProviderEngines(onnxruntime, trt, artifact, precision, gpu, batch_size, say=say)
    return engines.open()
