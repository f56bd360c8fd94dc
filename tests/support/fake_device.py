"""A GPU that is the host: for back ends that are tested without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from support.fake_tensorrt import FakeTensorRt
from uadbench.engine.backends.cuda_device import Facts

FACTS = Facts("NVIDIA Test 1", (8, 9), "580.65.06", "13.0", 8 << 30)


class CpuDevice:
    """Stands for ``cuda_device.CudaDevice``: the host's memory, one queue that is always done."""

    device = torch.device("cpu")
    handle = 42

    def __init__(self, trt: FakeTensorRt | None = None, facts: Facts = FACTS, fails: bool = False) -> None:
        self._trt, self._facts, self._fails = trt, facts, fails
        self.launched = 0
        self.queues = 0

    def facts(self) -> Facts:
        return self._facts

    def selected(self) -> AbstractContextManager[None]:
        return nullcontext()

    def zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    @contextmanager
    def queued(self) -> Iterator[None]:
        self.queues += 1
        yield

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """As CUDA does it: nothing runs while it is recorded."""
        assert self._trt is not None
        if self._fails:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")
        self._trt.recording = True
        try:
            work()
        finally:
            self._trt.recording = False

        def launch() -> None:
            self.launched += 1
            work()

        return launch

    def synchronize(self) -> None:
        pass
