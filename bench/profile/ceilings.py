"""What this device can do at best, measured on the spot with torch: matrix product, convolution, copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F

__all__ = ["measure_ceilings"]

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Precisions that torch can be asked for; others have no ceiling."""

SIZES = {  # kind of device -> (matrix side, images of the convolution, MiB of the copy)
    "cpu": (2048, 1, 256),
    "cuda": (8192, 32, 1024),
}
QUICK = {"cpu": (1024, 1, 128), "cuda": (4096, 16, 512)}
LEAST, MOST, BUDGET_S = 3, 30, 1.0


def measure_ceilings(
    device: str,
    precisions: Iterable[str],
    quick: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """The best of several calls of each.

    Returns {"copy_gb_s", "sizes", "precisions": {name: {"matmul_gflops", "conv_gflops"}}}: a square matrix product, a
    3 x 3 convolution of 256 channels to 256 on 64 x 64 pixels, channels last, and a copy, bytes read and written. A
    precision that torch cannot compute with on this device is left out.
    """
    side, images, mib = (QUICK if quick else SIZES)[device.partition(":")[0]]
    found = {}
    for name in precisions:
        if name in DTYPES:
            with torch.inference_mode(), _tf32(device, name == "tf32"):
                try:
                    found[name] = {
                        "matmul_gflops": _matmul(device, DTYPES[name], side, clock, quick),
                        "conv_gflops": _convolution(device, DTYPES[name], images, clock, quick),
                    }
                except RuntimeError:  # "not implemented for 'Half'", out of memory
                    continue
    source = torch.zeros(mib * 2**18, device=device)
    target = torch.empty_like(source)
    seconds = _best_seconds(lambda: target.copy_(source), device, clock, quick)
    return {
        "copy_gb_s": 2 * mib * 2**20 / seconds / 1e9,
        "sizes": {"matrix": side, "images": images, "copy_mib": mib},
        "precisions": found,
    }


def _best_seconds(call: Callable[[], Any], device: str, clock: Callable[[], float], quick: bool) -> float:
    """The shortest of 3 to 30 calls, as many as fit into a second (a fifth of one where ``quick``)."""
    budget = BUDGET_S / 5 if quick else BUDGET_S
    call()
    times: list[float] = []
    while len(times) < LEAST or (len(times) < MOST and sum(times) < budget):
        _wait(device)
        start = clock()
        call()
        _wait(device)
        times.append(clock() - start)
    return min(times)


def _matmul(device: str, dtype: torch.dtype, side: int, clock: Callable[[], float], quick: bool) -> float:
    a = torch.ones(side, side, device=device, dtype=dtype)
    return 2 * side**3 / _best_seconds(lambda: a @ a, device, clock, quick) / 1e9


def _convolution(
    device: str, dtype: torch.dtype, images: int, clock: Callable[[], float], quick: bool
) -> float:
    x = torch.ones(images, 256, 64, 64, device=device, dtype=dtype)
    w = torch.ones(256, 256, 3, 3, device=device, dtype=dtype)
    x, w = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, w))
    seconds = _best_seconds(lambda: F.conv2d(x, w, padding=1), device, clock, quick)
    return 2 * images * 256 * 256 * 9 * 64 * 64 / seconds / 1e9


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


@contextmanager
def _tf32(device: str, on: bool) -> Iterator[None]:
    """TF32 on or off on a GPU while a ceiling is measured; nothing on a CPU."""
    if not device.startswith("cuda"):
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
