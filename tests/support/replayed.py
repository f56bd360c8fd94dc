"""A CUDA graph without a GPU: what torch dispatched while it was recorded is dispatched again, on the same memory.

As in a real one no Python runs when it is launched, so a number that the recorded code kept in Python stays as it
was, and an answer that nobody copied is overwritten by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]


class ReplayDevice:
    """Stands for ``cuda_device.CudaDevice``: the host's memory and one queue that is always done.

    fails : what recording raises
    events : "queue" and "launch", as they came
    """

    device = torch.device("cpu")

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails, self.events = fails, list[str]()
        self.synchronized = 0

    def selected(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def queued(self) -> Iterator[None]:
        self.events.append("queue")
        yield

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        if self.fails is not None:
            raise self.fails
        with _Recorder() as recorder:
            work()

        def launch() -> None:
            self.events.append("launch")
            for call in recorder.calls:
                _again(*call)

        return launch

    def synchronize(self) -> None:
        self.synchronized += 1


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, found))
        return found


def _again(func: Any, args: Any, kwargs: Any, before: Any) -> None:
    """The same operation; its answer goes to where it went when it was recorded."""
    for old, new in zip(tree_leaves(before), tree_leaves(func(*args, **kwargs)), strict=True):
        if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
            old.copy_(new)
