"""TF32 on a GPU: products of fp32 with 10 bits of the mantissa, which torch computes convolutions in by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from uadbench.engine.backends.errors import BackendError

__all__ = ["SWITCH", "check_tf32", "in_tf32"]

SWITCH = "NVIDIA_TF32_OVERRIDE"  # 0 switches it off in NVIDIA's libraries, whatever they are told
CAPABILITY = (8, 0)  # that has it
_TURN = threading.RLock()  # torch's setting is the process's


@contextmanager
def in_tf32(device: str, on: bool) -> Iterator[None]:
    """Torch's products of fp32 in TF32, or not, within; nothing on a CPU. Threads on GPUs wait for each other.

    Raises BackendError where torch's settings contradict each other.
    """
    if not device.startswith("cuda"):
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    with _TURN:
        try:
            before = products.allow_tf32, convolutions.allow_tf32
        except RuntimeError as error:  # it has an old and a new name for each, which may say different things
            raise BackendError(
                "torch's settings of TF32 contradict each other; set torch.backends.cuda.matmul.allow_tf32 and "
                "torch.backends.cudnn.allow_tf32, or none"
            ) from error
        products.allow_tf32 = convolutions.allow_tf32 = on
        try:
            yield
        finally:
            products.allow_tf32, convolutions.allow_tf32 = before


def check_tf32(device: str) -> None:
    """Raise BackendError, naming the remedy, where products would be in fp32 in spite of all."""
    if os.environ.get(SWITCH) == "0":
        raise BackendError(f"{SWITCH}=0 switches TF32 off; unset it, or use --precision fp32")
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        raise BackendError(f"{torch.cuda.get_device_name(device)} has no TF32; use --precision fp32")
