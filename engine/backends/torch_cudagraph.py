"""PyTorch as CUDA graphs: one of the network, and one of a whole step of a chain, each recorded once and replayed.

A step's graph holds network, clean image, update and the step's number, which goes on by itself on the GPU: a chain of
N steps is N replays, between which the host queues copies and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from uadbench.engine.backends.cuda_device import CudaDevice, check_gpu, record
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.kept import SIDE, KeptCall, check_call, load
from uadbench.engine.backends.tf32 import check_tf32
from uadbench.engine.backends.torch import HALF, computing_in, torch_record
from uadbench.engine.fused_step import KeptStep, step_row
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.adapters import restores
from uadbench.engine.networks.checkpoint import load_denoiser
from uadbench.engine.schedule import Schedule

__all__ = ["PRECISIONS", "WARM_UP", "CudaGraphDenoiser", "check", "open_denoiser"]

NAME = "torch-cudagraph"
PRECISIONS = ("fp32", "tf32", "bf16")
WARM_UP = 3  # runs beside torch's stream before one is recorded, as torch asks for
PRODUCTS = (nn.modules.conv._ConvNd, nn.Linear)

Work = TypeVar("Work", KeptCall, KeptStep)


class CudaGraphDenoiser:
    """A network and its step as CUDA graphs, for batches of up to one size; smaller ones are padded.

    model, card : as for ``torch.TorchDenoiser``
    side : of the square images that are recorded for at once, pixels; other sizes are recorded when they first come,
        which the record shows

    A network that undoes anomalies has no step. bf16 is autocast, as of the back end torch, with the
    weights of convolutions and linear layers in bf16 already, so that no graph converts them anew in each call. Raises
    BackendError where a graph cannot be recorded.
    """

    name = NAME

    def __init__(
        self,
        model: nn.Module,
        card: Mapping[str, Any],
        precision: str,
        device: CudaDevice,
        batch_size: int = 1,
        side: int = SIDE,
    ) -> None:
        self.device, self.precision = str(device.device), precision
        self._gpu, self._batch, self._sha256 = device, batch_size, card["sha256"]
        self._conditioned = NETWORKS[card.get("kind", "unet")].conditioned
        self._steps_down = not restores(card)
        model = _with_weights_in(model.eval(), precision)
        self._model = model.to(device=device.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._calls: dict[tuple[int, ...], tuple[KeptCall, Callable[[], None]]] = {}
        self._steps: dict[tuple[int, ...], tuple[KeptStep, Callable[[], None]]] = {}
        self._call((side, side))
        if self._steps_down:
            self._step((side, side))

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``; the answer is on the GPU."""
        check_call(NAME, self._batch, self._conditioned, x_t, cond)
        kept, launch = self._call(tuple(x_t.shape[2:]))
        with self._gpu.queued():
            kept.fill(x_t, t, cond)
            launch()
        # Copied, because the next call writes to the same memory.
        return kept.eps[: x_t.shape[0]].clone()

    def stepper(
        self,
        schedule: Schedule,
        eta: float = 1.0,
        x0_variance: Callable[[int], float] | None = None,
    ) -> Callable[..., tuple[Tensor, Tensor]] | None:
        """See ``interfaces.Stepping``."""
        if not self._steps_down:
            return None

        @torch.inference_mode()
        def step(
            x_t: Tensor, t: int, t_prev: int, noise: Tensor | None, cond: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            check_call(NAME, self._batch, self._conditioned, x_t, cond)
            kept, launch = self._step(tuple(x_t.shape[2:]))
            row = step_row(schedule, t, t_prev, eta, x0_variance(t) if x0_variance else 0.0)
            with self._gpu.queued():
                kept.place(t, row)
                load(kept.inputs, {"x": x_t, "z": noise, "cond": cond})
                if noise is None:
                    kept.inputs["z"].zero_()  # it weighs 0, but what is there might not be finite
                launch()
            count = x_t.shape[0]
            return kept.inputs["x"][:count].clone(), kept.x0[:count].clone()

        return step

    def synchronize(self) -> None:
        """Wait for what is queued on the GPU."""
        self._gpu.synchronize()

    def close(self) -> None:
        """Drop graphs, buffers and the network."""
        self._gpu.synchronize()
        self._calls.clear()
        self._steps.clear()
        del self._model

    def describe(self) -> dict[str, Any]:
        """Versions and numeric modes; which shapes were recorded."""
        return {
            "provider": "torch, CUDA graphs",
            **torch_record(self.device, self.precision),
            "weights": self.precision,
            "cuda_graph": "yes",
            "recorded": [
                "x".join(map(str, (self._batch, 1, *size))) + part
                for part, found in (("", self._calls), (" step", self._steps))
                for size in found
            ],
            "cudnn_benchmark": True,
            "batch": self._batch,
            "checkpoint_sha256": self._sha256,
        }

    def _network(self, *inputs: Tensor) -> Tensor:
        images = [i.contiguous(memory_format=torch.channels_last) if i.ndim == 4 else i for i in inputs]
        with computing_in(self.precision, self.device):
            return self._model(*images).float()  # type: ignore[no-any-return]

    def _call(self, size: tuple[int, ...]) -> tuple[KeptCall, Callable[[], None]]:
        """A call of the network for images of this size (H, W) and what launches it; recorded now if need be."""
        if size not in self._calls:
            shape = (self._batch, 1, *size)
            kept = KeptCall(self._network, shape, self._conditioned, self._gpu.device)
            self._calls[size] = self._recorded(kept)
        return self._calls[size]

    def _step(self, size: tuple[int, ...]) -> tuple[KeptStep, Callable[[], None]]:
        if size not in self._steps:
            shape = (self._batch, 1, *size)
            kept = KeptStep(self._network, shape, self._conditioned, self._gpu.device)
            found = self._recorded(kept)
            kept.forget()
            self._steps[size] = found
        return self._steps[size]

    def _recorded(self, kept: Work) -> tuple[Work, Callable[[], None]]:
        with torch.inference_mode(), _tuned():
            launch, told = record(self._gpu, kept.run, WARM_UP)
        if told != "yes":
            raise BackendError(
                f"{NAME}: torch cannot record this network as a CUDA graph ({told.removeprefix('no: ')}); "
                "use --backends torch"
            )
        return kept, launch


def check(precision: str = "fp32", device: str = "cuda") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    if precision not in PRECISIONS:
        raise BackendError(f"{NAME} runs {', '.join(PRECISIONS)}, not {precision!r}")
    if not device.startswith("cuda"):
        raise BackendError(f"the back end {NAME} runs on cuda, not on {device!r}; give --device cuda")
    check_gpu(NAME)
    if precision == "tf32":
        check_tf32(device)


def open_denoiser(
    source: Path, precision: str, device: str, threads: int | None, batch_size: int
) -> CudaGraphDenoiser:
    """See ``backends.open_backend``; its graphs are recorded here."""
    model, card = load_denoiser(source)
    return CudaGraphDenoiser(model, card, precision, CudaDevice(device), batch_size)


def _with_weights_in(model: nn.Module, precision: str) -> nn.Module:
    """The model with what autocast would convert in each call converted once; changed in place."""
    if precision in HALF:
        for module in model.modules():
            if isinstance(module, PRODUCTS):
                module.to(HALF[precision])
    return model


@contextmanager
def _tuned() -> Iterator[None]:
    """Within it cuDNN tries its algorithms for each convolution and takes the fastest, which the graph then keeps."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
