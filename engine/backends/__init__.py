"""Back ends by name. Each is imported only when it is asked for, and none stands in for another."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from torch import cuda  # `torch` in this package is the back end of that name

from uadbench.engine.backends.torch import PRECISIONS, BackendError, TorchDenoiser
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.networks.checkpoint import load_checkpoint

__all__ = ["BACKENDS", "BackendError", "check_backend", "open_backend"]

BACKENDS = ("torch", "onnxruntime", "openvino")


def check_backend(name: str, precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError unless this back end is known, installed, and has this precision on this device.

    device : "cpu", "cuda" or "cuda:N"
    Quick, and needs no weights: nothing is compiled.
    """
    _check_name(name)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise BackendError(f"unknown device {device!r}; choose cpu or cuda")
    if name == "onnxruntime":
        from uadbench.engine.backends import onnxruntime

        onnxruntime.check(precision, device)
    elif name == "openvino":
        from uadbench.engine.backends import openvino

        openvino.check(precision, device)
    elif precision not in PRECISIONS:
        raise BackendError(f"torch runs {' or '.join(PRECISIONS)}, not {precision!r}")
    elif device.startswith("cuda") and not cuda.is_available():
        raise BackendError("torch sees no CUDA device; use --device cpu, or install a CUDA build of torch")
    _, colon, index = device.partition(":")
    if colon and int(index) >= cuda.device_count():
        count = cuda.device_count()
        raise BackendError(
            f"there is no device {device!r}; torch sees {count} CUDA device{'s' * (count != 1)}"
        )


def open_backend(
    name: str,
    source: Path,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
    batch_size: int = 1,
) -> Denoiser:
    """Bind a network to a back end.

    source : a checkpoint (NAME.safetensors) for torch, an exported U-Net (NAME.onnx) for the others
    threads : CPU threads for back ends that keep their own pool, torch's number where None; torch itself takes the
        process-wide setting
    batch_size : largest batch that will be asked for; back ends with static shapes compile for it
    Raises BackendError on an unknown name or precision, where the back end is not installed or does not run here,
    and on an artifact that does not match its manifest.
    """
    check_backend(name, precision, device)
    if name == "torch":
        model, card = load_checkpoint(source)
        return TorchDenoiser(model, card, precision, device)
    from uadbench.engine.backends.artifacts import read_artifact

    artifact = read_artifact(source)
    if name == "onnxruntime":
        from uadbench.engine.backends.onnxruntime import OnnxRuntimeDenoiser

        return OnnxRuntimeDenoiser(artifact, precision, device, threads)
    from uadbench.engine.backends.openvino import OpenVinoDenoiser

    return OpenVinoDenoiser(artifact, precision, device, threads, batch_size)


def _check_name(name: str) -> None:
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BackendError(f"unknown back end {name!r}; choose from {', '.join(BACKENDS)}.{hint}")
