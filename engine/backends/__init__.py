"""Back ends by name. Each is imported only when it is asked for, and none stands in for another."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.form import IN_8_BITS, Form
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.plugins import first_line

__all__ = [
    "BACKENDS",
    "HINTS",
    "PRECISIONS",
    "Backend",
    "BackendError",
    "check_backend",
    "open_backend",
]


HINTS = ("latency", "throughput")
"""One call as soon as can be, or as many images a second as can be."""

OURS = "uadbench.engine.backends"
INT8 = Form("int8", layout="channels-last")


def _default_form(precision: str, batch_size: int, device: str) -> Form:
    """fp32 and any batch size; the int8 file is the one that OpenVINO takes, and so channels last."""
    return INT8 if precision in IN_8_BITS else Form()


def _channels_last(precision: str, batch_size: int, device: str) -> Form:
    """For OpenVINO, which lowers to bf16 itself, and keeps channels last wherever it is let."""
    return INT8 if precision in IN_8_BITS else Form(layout="channels-last")


def _fixed_on_gpus(precision: str, batch_size: int, device: str) -> Form:
    """On a GPU a file for each precision and batch size, for a CUDA graph holds for one shape."""
    return (
        _default_form(precision, batch_size, device)
        if device == "cpu"
        else Form(precision, "fused", batch_size)
    )


def _own_precision(precision: str, batch_size: int, device: str) -> Form:
    """A file for each precision and batch size; fp32 with attention written out, for which there is no fused kernel."""
    return Form(precision, "plain" if precision == "fp32" else "fused", batch_size)


@dataclass(frozen=True)
class Backend:
    """What is known of a back end before it is imported.

    module : below ``uadbench.engine.backends``. It has ``check(precision, device)``, which raises BackendError where
        the package or the device is missing, and ``open_denoiser(source, precision, device, threads, batch_size)``
    precisions : kind of device -> precisions
    source : "checkpoint" (NAME.safetensors) or "onnx" (an exported network, NAME.onnx)
    form : (precision, batch size, kind of device) -> how the network is exported for it, where the source is "onnx"
    own_threads : on a CPU it has threads of its own and none of torch's, so that torch's are to be few beside it
    hinted : its ``open_denoiser`` also takes ``hint``, what it is to be fast at: one of ``HINTS``
    package : that the module is in, another one's of a plug-in; "" where it is a module of its own
    slow : opening may take minutes; its ``open_denoiser`` also takes ``say``, for a line to the user before that
    """

    module: str
    precisions: Mapping[str, tuple[str, ...]]
    source: str
    form: Callable[[str, int, str], Form] = _default_form
    slow: bool = False
    hinted: bool = False
    own_threads: bool = False
    package: str = OURS


BACKENDS: dict[str, Backend] = {
    "torch": Backend("torch", {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16")}, "checkpoint"),
    "torch-compile": Backend(
        "torch_compile",
        {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "fp16", "bf16")},
        "checkpoint",
        slow=True,
    ),
    "torch-cudagraph": Backend("torch_cudagraph", {"cuda": ("fp32", "tf32", "bf16")}, "checkpoint"),
    "onnxruntime": Backend(
        "onnxruntime",
        {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")},
        "onnx",
        _fixed_on_gpus,
        own_threads=True,
    ),
    "openvino": Backend(
        "openvino",
        {"cpu": ("fp32", "bf16", "int8", "int8-bf16")},
        "onnx",
        _channels_last,
        hinted=True,
        own_threads=True,
    ),
    "tensorrt": Backend("tensorrt", {"cuda": ("fp32", "fp16", "bf16")}, "onnx", _own_precision, slow=True),
    "tensorrt-rtx": Backend(
        "tensorrt_rtx", {"cuda": ("fp32", "fp16", "bf16")}, "onnx", _own_precision, slow=True
    ),
    "onnxruntime-tensorrt": Backend(
        "onnxruntime_tensorrt", {"cuda": ("fp32", "fp16", "bf16")}, "onnx", _own_precision, slow=True
    ),
}
PRECISIONS = tuple(
    dict.fromkeys(p for backend in BACKENDS.values() for each in backend.precisions.values() for p in each)
)


def check_backend(name: str, precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError unless this back end is known, installed, and has this precision on this device.

    device : "cpu", "cuda" or "cuda:N"
    Quick, and needs no weights: nothing is compiled.
    """
    module = _module(name)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise BackendError(f"unknown device {device!r}; choose cpu or cuda")
    module.check(precision, device)
    _, colon, index = device.partition(":")
    if colon:
        from torch import cuda

        if int(index) >= (count := cuda.device_count()):
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
    say: Callable[[str], None] | None = None,
    hint: str = "latency",
) -> Denoiser:
    """Bind a network to a back end.

    source : a checkpoint (NAME.safetensors) or an exported network (NAME.onnx), as ``BACKENDS[name].source`` says
    threads : CPU threads for back ends that keep their own pool, torch's number where None; torch itself takes the
        process-wide setting
    batch_size : largest batch that will be asked for; back ends with static shapes compile for it
    say : is told before work of minutes
    hint : one of ``HINTS``, for back ends that take one
    Raises BackendError on an unknown name, precision or hint, where the back end is not installed or does not run here,
    and on an artifact that does not match its manifest.
    """
    check_backend(name, precision, device)
    if hint not in HINTS:
        raise BackendError(f"unknown hint {hint!r}; choose {' or '.join(HINTS)}")
    more: dict[str, Any] = {"say": say} if BACKENDS[name].slow else {}
    if BACKENDS[name].hinted:
        more["hint"] = hint
    opened: Denoiser = _module(name).open_denoiser(source, precision, device, threads, batch_size, **more)
    return opened


def _module(name: str) -> Any:
    if name not in BACKENDS:
        raise BackendError(f"unknown back end {name!r}; choose from {', '.join(BACKENDS)}")
    module, package = BACKENDS[name].module, BACKENDS[name].package
    if package == OURS:
        return import_module(f"{OURS}.{module}")
    try:
        return import_module(f"{package}.{module}" if package else module)
    except Exception as error:  # a package of others may raise anything
        raise BackendError(
            f"{name} cannot be imported: {type(error).__name__}: {first_line(error)}"
        ) from error
