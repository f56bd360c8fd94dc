"""One NVIDIA GPU as a back end needs it: facts, buffers, a stream beside torch's, graphs of what runs on it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.backends.errors import BackendError, first_line

__all__ = ["CudaDevice", "Facts", "check_gpu", "driver_version", "record"]


@dataclass(frozen=True)
class Facts:
    """What an engine is built for.

    capability : compute capability, (9, 0)
    driver : version of the NVIDIA driver, "580.65.06"; "unknown" where it does not tell
    cuda : version of the CUDA runtime that torch brings
    memory : of the GPU, bytes
    """

    gpu: str
    capability: tuple[int, int]
    driver: str
    cuda: str
    memory: int

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"capability": list(self.capability)}


class CudaDevice:
    """A GPU and a stream on it that is not torch's default one, on which TensorRT would synchronize the device.

    name : "cuda" or "cuda:N"
    """

    def __init__(self, name: str) -> None:
        self.device = torch.device("cuda", torch.device(name).index or 0)
        self._stream = torch.cuda.Stream(self.device)
        # Of memory within graphs, shared: they are replayed one after the other on one stream.
        self._pool: Any = None

    def facts(self) -> Facts:
        """See ``Facts``."""
        properties = torch.cuda.get_device_properties(self.device)
        capability = (properties.major, properties.minor)
        driver, memory = driver_version(), int(properties.total_memory)
        return Facts(properties.name, capability, driver, str(torch.version.cuda), memory)

    def selected(self) -> AbstractContextManager[Any]:
        """Within it this is the current device, which TensorRT takes."""
        return torch.cuda.device(self.device)

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A buffer that stays where it is."""
        return torch.zeros(shape, dtype=dtype, device=self.device)

    @property
    def handle(self) -> int:
        """The stream's, as C libraries take it."""
        return int(self._stream.cuda_stream)

    @contextmanager
    def queued(self) -> Iterator[None]:
        """Work on the own stream: it comes after what torch has queued so far, and before what it queues next."""
        with self.selected():
            outer = torch.cuda.current_stream(self.device)
            self._stream.wait_stream(outer)
            with torch.cuda.stream(self._stream):
                yield
            outer.wait_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` queues as a CUDA graph, without running it; returns what launches the graph.

        To be called after ``work`` has run once. Raises RuntimeError where it cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        with self.selected(), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        self._pool = graph.pool()
        return graph.replay

    def synchronize(self) -> None:
        """Wait for everything that is queued on the GPU."""
        torch.cuda.synchronize(self.device)


def record(
    device: CudaDevice, work: Callable[[], None], runs: int = 1, refusal: Callable[[], str] = lambda: ""
) -> tuple[Callable[[], None], str]:
    """(what queues ``work`` once, "yes" where that is a CUDA graph, else "no: why" and it is ``work`` itself).

    work : reads and writes buffers that stay, and leaves nothing elsewhere; it is run ``runs`` times before
    refusal : asked after these runs; why it cannot be recorded where that is known, else ""
    """
    with device.queued():
        for _ in range(runs):
            work()
    device.synchronize()
    if why := refusal():
        return work, f"no: {why}"
    try:
        return device.capture(work), "yes"
    except (RuntimeError, BackendError) as error:
        return work, f"no: {first_line(error)}"


def check_gpu(only: str = "") -> None:
    """Raise BackendError where torch sees no GPU.

    only : the back end's name where it runs on nothing else
    """
    if torch.cuda.is_available():
        return
    if only:
        raise BackendError(
            f"torch sees no CUDA device, and {only} needs one; use another --backends with --device cpu, or "
            "install a CUDA build of torch"
        )
    raise BackendError("torch sees no CUDA device; use --device cpu, or install a CUDA build of torch")


def driver_version() -> str:
    """The NVIDIA driver's version as its management library tells it; "unknown" where there is none."""
    try:
        nvml = ctypes.CDLL("nvml.dll" if os.name == "nt" else "libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() != 0:
            return "unknown"
        text = ctypes.create_string_buffer(80)
        failed = nvml.nvmlSystemGetDriverVersion(text, ctypes.c_uint(len(text)))
        nvml.nvmlShutdown()
    except (OSError, AttributeError):
        return "unknown"
    return "unknown" if failed else text.value.decode("ascii", "replace")
