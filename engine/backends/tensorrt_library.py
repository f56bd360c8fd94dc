"""What differs between TensorRT and TensorRT for RTX, and how each says that something failed.

Nothing in their Python API raises: a failure is None, False or a TypeError about a null pointer, and the reason stands
only in the log. Here the log is kept, and a failure becomes a BackendError of one line with that reason and a remedy.
"""

from __future__ import annotations

import importlib
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

from uadbench.engine.backends.cuda_device import check_gpu
from uadbench.engine.backends.errors import BackendError

__all__ = [
    "PRECISIONS",
    "PROVIDER",
    "RTX",
    "TENSORRT",
    "Library",
    "Log",
    "check",
    "failure",
    "load",
    "make_log",
]

PRECISIONS = ("fp32", "fp16", "bf16")
WIDEST = 400  # characters of a log line that a message repeats

# What the log says -> what to do about it.
REMEDIES = (
    (r"cudaError 35|error: 35\b|driver version is insufficient", "install or update the NVIDIA driver"),
    (r"OutOfMemory|[Oo]ut of memory", "use a smaller --batch-size, or --precision fp16 or bf16"),
    (
        r"not supported by a dedicated kernel",
        "this network needs plain attention here; use --precision fp16 or bf16",
    ),
    (
        r"[Cc]ompute capability|SM version|target GPU",
        "this GPU is not one that the library supports; use another --backends",
    ),
    (r"[Vv]ersion tag|[Ss]erialization|plan file", "remove the user's cache folder of engines and run again"),
)
REMEDY = "use --backends torch, or another version of the library"


@dataclass(frozen=True)
class Library:
    """A library with TensorRT's Python API, or what needs it.

    name : of the back end
    title : as a message calls it
    extra : of uadbench, that installs it
    least : the oldest version that is supported, as (major, minor)
    targets : engines are built for a compute capability that is named, and some only; else for the GPU that is there
    timing : kernels are timed on the GPU while an engine is built, and the times can be kept; RTX does neither
    major : the only major version that will do; None where any from ``least`` on
    """

    name: str
    title: str
    module: str
    extra: str
    least: tuple[int, int]
    targets: bool
    timing: bool
    major: int | None = None


# 10.13 is the first with CUDA 13; networks are strongly typed on request from 10.12 on, and always from 11.
TENSORRT = Library("tensorrt", "TensorRT", "tensorrt", "tensorrt", (10, 13), targets=False, timing=True)
RTX = Library(
    "tensorrt-rtx", "TensorRT for RTX", "tensorrt_rtx", "tensorrt-rtx", (1, 7), targets=True, timing=False
)
# onnxruntime-gpu 1.31.1 has it linked against TensorRT 10, which reads the operator Attention from 10.14 on.
PROVIDER = Library(
    "onnxruntime-tensorrt",
    "ONNX Runtime's TensorRT provider",
    "tensorrt",
    "onnxruntime-tensorrt",
    (10, 14),
    targets=False,
    timing=True,
    major=10,
)


@dataclass
class Log:
    """The last errors and warnings of the library; ``logger`` is what it is given."""

    lines: deque[tuple[bool, str]]
    logger: Any = None

    def take(self) -> str:
        """The last errors, or warnings where there is none, as one line; then forgotten."""
        errors = [text for serious, text in self.lines if serious]
        told = errors or [text for _, text in self.lines]
        self.lines.clear()
        return "; ".join(dict.fromkeys(told[-2:]))


def load(library: Library) -> Any:
    """The module; raises BackendError with the remedy where it is missing, broken or too old."""
    remedy = f"`pip install 'uadbench[{library.extra}]'`"
    try:
        trt = importlib.import_module(library.module)
    except (ImportError, OSError) as error:
        reason = _one_line(str(error))
        if "libnvinfer" in reason or "libnvonnxparser" in reason:
            remedy += ", with NVIDIA's own package index added, which has its native libraries"
        raise BackendError(f"{library.module} cannot be imported ({reason}); {remedy}") from error
    version = str(getattr(trt, "__version__", "of an unknown version"))
    if _numbers(version) < library.least:
        least = ".".join(map(str, library.least))
        raise BackendError(f"{library.module} {version} is too old, {least} is needed; {remedy}")
    if library.major is not None and _numbers(version)[0] != library.major:
        raise BackendError(
            f"{library.title} needs {library.module} {library.major}, not {version}; {remedy} in an environment of its "
            "own"
        )
    return trt


def check(library: Library, precision: str = "fp32", device: str = "cuda") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    if precision not in PRECISIONS:
        raise BackendError(f"{library.name} runs {', '.join(PRECISIONS)}, not {precision!r}")
    if device.partition(":")[0] != "cuda":
        raise BackendError(
            f"{library.name} runs on cuda, not on {device!r}; use --device cuda, or another --backends"
        )
    trt = load(library)
    check_gpu(library.name)
    index = torch.device(device).index or 0
    if library.targets and index < torch.cuda.device_count():
        target(trt, library, torch.cuda.get_device_capability(index))


def target(trt: Any, library: Library, capability: tuple[int, int]) -> Any:
    """The library's name for a compute capability; BackendError where it has none."""
    known = {
        name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")
    }
    name = f"SM{capability[0]}{capability[1]}"
    if name not in known:
        there = ", ".join(f"{found[2:-1]}.{found[-1]}" for found in sorted(known, key=lambda sm: int(sm[2:])))
        raise BackendError(
            f"{library.title} runs on compute capability {there}, this GPU has {capability[0]}.{capability[1]}; "
            "use --backends tensorrt"
        )
    return known[name]


def make_log(trt: Any) -> Log:
    """A log that keeps what the library says instead of printing it."""
    log = Log(deque(maxlen=20))

    class Kept(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.WARNING):
                log.lines.append((int(severity) <= int(trt.ILogger.Severity.ERROR), _one_line(msg)))

    log.logger = Kept()
    return log


def failure(library: Library, what: str, log: Log, cause: object = "") -> BackendError:
    """The error of a call that failed.

    what : "cannot build an engine"
    cause : what was raised or returned besides, if that tells anything
    """
    said = "; ".join(part for part in (_one_line(str(cause)), log.take()) if part) or "it gives no reason"
    remedy = next((remedy for pattern, remedy in REMEDIES if re.search(pattern, said)), REMEDY)
    return BackendError(f"{library.title} {what}: {said}; {remedy}")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else f"{line[:WIDEST]} ..."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
