"""The reference back end: PyTorch, eager."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uadbench.engine.backends.artifacts import check_cond
from uadbench.engine.backends.cuda_device import check_gpu
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.tf32 import check_tf32, in_tf32
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import load_denoiser

__all__ = [
    "HALF",
    "PRECISIONS",
    "TorchDenoiser",
    "check",
    "computing_in",
    "open_denoiser",
    "torch_record",
]

PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp32", "tf32", "bf16")}
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16}


class TorchDenoiser:
    """A network run by PyTorch: fp32, its products in TF32, or bf16 autocast; channels-last in each case.

    model : (x, timesteps from 0) -> eps, with the clean image as a third argument where the card's kind is conditioned
    card : the checkpoint's model card; its hash goes into the record
    """

    name = "torch"

    def __init__(
        self, model: nn.Module, card: Mapping[str, Any], precision: str = "fp32", device: str = "cpu"
    ) -> None:
        check(precision, device)
        self.device, self.precision = device, precision
        self._model = model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._sha256 = card["sha256"]
        self._conditioned = NETWORKS[card.get("kind", "unet")].conditioned

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``; the network's timesteps count from 0."""
        check_cond(self._conditioned, x_t, cond)
        images = [
            image.contiguous(memory_format=torch.channels_last) for image in (x_t, cond) if image is not None
        ]
        with computing_in(self.precision, self.device):
            eps = self._model(images[0], t - 1, *images[1:])
        return eps.float().contiguous()

    def synchronize(self) -> None:
        """Wait for the GPU; the CPU has nothing queued."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def close(self) -> None:
        """Drop the network."""
        del self._model

    def describe(self) -> dict[str, Any]:
        """Versions, threads and numeric modes that decide speed and rounding."""
        return {
            "provider": "torch eager",
            **torch_record(self.device, self.precision),
            "checkpoint_sha256": self._sha256,
        }


@contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """Within it torch computes products on this device in a precision, what needs more by itself in fp32.

    fp32 is fp32, "tf32" what torch makes of a GPU's convolutions by itself.
    """
    kind = device.partition(":")[0]
    # autocast takes a type even where it is off, and none but half ones
    lowered = torch.autocast(kind, HALF.get(precision, torch.bfloat16), enabled=precision in HALF)
    with lowered, in_tf32(device, precision == "tf32"):
        yield


def torch_record(device: str, precision: str) -> dict[str, Any]:
    """What torch runs on and how, for ``describe``."""
    record: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "memory_format": "channels_last",
        "autocast": precision in HALF,
    }
    if device.startswith("cuda"):
        record["gpu"] = torch.cuda.get_device_name(device)
        record["cuda"] = torch.version.cuda
        record["tf32"] = precision == "tf32"
    return record


def check(precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    kind = device.partition(":")[0]
    if kind not in PRECISIONS:
        raise BackendError(f"the back end torch runs on {' or '.join(PRECISIONS)}, not on {device!r}")
    if precision not in PRECISIONS[kind]:
        raise BackendError(f"torch on {kind} runs {', '.join(PRECISIONS[kind])}, not {precision!r}")
    if kind == "cuda":
        check_gpu()
    if precision == "tf32":
        check_tf32(device)


def open_denoiser(
    source: Path, precision: str, device: str, threads: int | None, batch_size: int
) -> TorchDenoiser:
    """See ``backends.open_backend``."""
    model, card = load_denoiser(source)
    return TorchDenoiser(model, card, precision, device)
