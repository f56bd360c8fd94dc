"""PyTorch compiled by TorchInductor: channels-last, weights as constants, one graph for one batch and image size."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from uadbench.engine.backends.cuda_device import check_gpu
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.inductor_cache import headers_are_safe, kernel_cache
from uadbench.engine.backends.kept import SIDE, KeptCall, check_call
from uadbench.engine.backends.tf32 import check_tf32
from uadbench.engine.backends.torch import computing_in, torch_record
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import load_denoiser

__all__ = ["PRECISIONS", "CompiledDenoiser", "check", "open_denoiser"]

PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "fp16", "bf16")}
NAME = "torch-compile"


class CompiledDenoiser:
    """A network compiled for batches of up to one size; smaller ones are padded.

    model, card : as for ``torch.TorchDenoiser``
    side : of the square images that it is compiled for at once, pixels; for others it is compiled when they first come,
        which is said and recorded
    say : is told before it is compiled

    Raises BackendError where anything fails; nothing runs uncompiled.
    """

    name = NAME

    def __init__(
        self,
        model: nn.Module,
        card: Mapping[str, Any],
        precision: str = "fp32",
        device: str = "cpu",
        batch_size: int = 1,
        say: Callable[[str], None] | None = None,
        side: int = SIDE,
    ) -> None:
        check(precision, device)
        self.device, self.precision = device, precision
        self._model = model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._sha256, self._batch, self._say = card["sha256"], batch_size, say
        self._conditioned = NETWORKS[card.get("kind", "unet")].conditioned
        self._calls: dict[tuple[int, ...], KeptCall] = {}
        self._seconds: dict[str, float] = {}
        self._call((side, side))

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``."""
        check_call(NAME, self._batch, self._conditioned, x_t, cond)
        kept = self._call(tuple(x_t.shape[2:]))
        kept.fill(x_t, t, cond)
        with self._state():
            kept.run()
        return kept.eps[: x_t.shape[0]].clone()

    def synchronize(self) -> None:
        """Wait for the GPU; the CPU has nothing queued."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def close(self) -> None:
        """Drop the network and what was compiled of it."""
        self._calls.clear()
        del self._model

    def describe(self) -> dict[str, Any]:
        """Versions, threads and numeric modes; for which shapes it was compiled, and how many seconds that took."""
        return {
            "provider": "torch.compile, Inductor",
            **torch_record(self.device, self.precision),
            "frozen_weights": True,
            "compile_seconds": dict(self._seconds),
            "batch": self._batch,
            "checkpoint_sha256": self._sha256,
        }

    @contextmanager
    def _state(self) -> Iterator[None]:
        """What the network is compiled and called under, whatever the caller has set; what torch raises is told."""
        with (
            _told(self.device),
            torch.inference_mode(),
            computing_in(self.precision, self.device),
        ):
            yield

    def _call(self, size: tuple[int, ...]) -> KeptCall:
        """The network for images of this size (H, W), compiled now where it is not yet."""
        if size not in self._calls:
            shape = (self._batch, 1, *size)
            title = "x".join(map(str, shape))
            if self._say is not None:
                self._say(
                    f"compiling the network for {title}, {self.precision}: a minute or more of all cores"
                )
            start = time.monotonic()
            network = self._model

            def forward(*inputs: Tensor) -> Tensor:
                return network(*inputs).float()  # type: ignore[no-any-return]

            kept = KeptCall(_own_code(forward), shape, self._conditioned, self.device)
            with self._state():
                kept.network = _compiled(kept.network, tuple(kept.inputs.values()))
            self.synchronize()
            self._seconds[title] = round(time.monotonic() - start, 1)
            self._calls[size] = kept
        return self._calls[size]


def check(precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here; compiles nothing."""
    kind = device.split(":")[0]
    if precision not in PRECISIONS[kind]:
        raise BackendError(f"{NAME} on {kind} runs {', '.join(PRECISIONS[kind])}, not {precision!r}")
    if kind == "cuda":
        check_gpu()
        if precision == "tf32":
            check_tf32(device)
        if importlib.util.find_spec("triton") is None:
            raise BackendError(
                f"{NAME} needs triton on a GPU; `pip install triton`, which CUDA builds of torch bring on Linux"
            )
        return
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        raise BackendError(
            f"{NAME} needs a C++ compiler and finds no {compiler!r}; install g++, or name one in the variable CXX"
        )


def open_denoiser(
    source: Path,
    precision: str,
    device: str,
    threads: int | None,
    batch_size: int,
    say: Callable[[str], None] | None = None,
) -> CompiledDenoiser:
    """See ``backends.open_backend``; the network is compiled here, which takes from seconds to minutes."""
    model, card = load_denoiser(source)
    return CompiledDenoiser(model, card, precision, device, batch_size, say)


def _own_code(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same with a code object of its own: torch keeps, counts and limits what it compiled by code object."""
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


def _compiled(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
    """The function compiled for these inputs as one graph, and called on them once.

    What it returns never compiles again: should torch find that it must, since one of its settings that was compiled
    in is another now, the call is an error. Otherwise that would happen within somebody's measured call.
    """
    graphs, opening = 0, True

    def lower(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Any:
        from torch._inductor.compile_fx import compile_fx

        nonlocal graphs
        if not opening:
            raise BackendError(
                f"{NAME}: a setting of torch, such as its number of threads, is another than when the network was "
                "compiled; open it again"
            )
        graphs += 1
        return compile_fx(graph, examples)

    with kernel_cache(), _settings():
        compiled = torch.compile(function, backend=lower, fullgraph=True, dynamic=False)
        compiled(*inputs)
    opening = False
    if graphs != 1:  # 0 where TORCH_COMPILE_DISABLE or the like turn compiling off, and the call ran as it is
        raise BackendError(
            f"{NAME}: torch compiled {graphs} graphs in place of one; unset TORCHDYNAMO_DISABLE and "
            "TORCH_COMPILE_DISABLE"
        )
    return compiled


@contextmanager
def _settings() -> Iterator[None]:
    """What a network is compiled under; it holds in this thread and within this block alone.

    Weights become constants only where ``freezing`` is seen while the network is traced, for which the option of that
    name to torch.compile comes too late. Inductor's cache of whole graphs is off, for these constants would be in its
    entries; that of kernels is not.
    """
    from torch._dynamo import config as tracing
    from torch._inductor import config as inductor

    options = {"freezing": True, "fx_graph_cache": False}
    if not headers_are_safe():
        options["cpp_cache_precompile_headers"] = False
    with tracing.patch(suppress_errors=False), inductor.patch(options):
        yield


@contextmanager
def _told(device: str) -> Iterator[None]:
    """What torch raises, as one BackendError."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        inner = getattr(error, "inner_exception", None)
        if isinstance(inner, BackendError):
            raise inner from error
        lines = [line.strip() for line in str(error).splitlines()]
        told = next((line for line in lines if line and not line.startswith("backend=")), "it says nothing")
        raise BackendError(
            f"{NAME} cannot compile or run the network on {device} ({type(error).__name__}: {told[:200]}); mend what "
            "is named there, or use --backends torch"
        ) from error
