"""NVIDIA's TensorRT: the exported U-Net as an engine that is built for the GPU that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from uadbench.engine.backends import tensorrt_library as library
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.cuda_device import CudaDevice
from uadbench.engine.backends.tensorrt_library import TENSORRT
from uadbench.engine.backends.tensorrt_run import TensorRtDenoiser

__all__ = ["check", "open_denoiser"]


def check(precision: str = "fp32", device: str = "cuda") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    library.check(TENSORRT, precision, device)


def open_denoiser(
    source: Path,
    precision: str,
    device: str,
    threads: int | None,
    batch_size: int,
    say: Callable[[str], None] | None = None,
) -> TensorRtDenoiser:
    """See ``backends.open_backend``; the first time an engine is built, which takes from seconds to many minutes."""
    trt, artifact = library.load(TENSORRT), read_artifact(source)
    return TensorRtDenoiser(TENSORRT, trt, artifact, precision, CudaDevice(device), batch_size, say=say)
