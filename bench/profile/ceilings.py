"""What this device can do at best, measured on the spot with torch: matrix product, convolution, copy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from uadbench.engine.backends.form import IN_8_BITS
from uadbench.engine.backends.tf32 import in_tf32
from uadbench.engine.plugins import first_line

__all__ = ["int8_calls", "measure_ceilings"]

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
"""Precisions that torch can be asked for; beside them there are those in 8 bits."""

SIZES = {  # kind of device -> (matrix side, images of the convolution, MiB of the copy)
    "cpu": (2048, 1, 256),
    "cuda": (8192, 32, 1024),
}
QUICK = {"cpu": (1024, 1, 128), "cuda": (4096, 16, 512)}
LEAST, MOST, BUDGET_S = 3, 30, 1.0

Call = Callable[[], Tensor]


def measure_ceilings(
    device: str,
    precisions: Iterable[str],
    quick: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """The best of several calls of each.

    Returns {"copy_gb_s", "sizes", "precisions": {name: {"matmul_gflops", "conv_gflops"}}, "left_out": {name: why}}: a
    square matrix product, a 3 x 3 convolution of 256 channels to 256 on 64 x 64 pixels, channels last, and a copy,
    bytes read and written. int8, and int8-bf16, is uint8 times int8, as in the files for int8 back ends. A precision
    that torch cannot compute with on this device is left out.
    """
    side, images, mib = (QUICK if quick else SIZES)[device.partition(":")[0]]
    work = 2 * side**3, 2 * images * 256 * 256 * 9 * 64 * 64
    found, left_out = {}, {}
    for name in precisions:
        if name not in (*DTYPES, *IN_8_BITS):
            left_out[name] = "torch has no such precision"
            continue
        with torch.inference_mode(), in_tf32(device, name == "tf32"):
            try:
                calls = (
                    int8_calls(device, side, images)
                    if name in IN_8_BITS
                    else _real_calls(device, DTYPES[name], side, images)
                )
                rates = [
                    flop / _best_seconds(call, device, clock, quick) / 1e9
                    for flop, call in zip(work, calls, strict=True)
                ]
                found[name] = dict(zip(("matmul_gflops", "conv_gflops"), rates, strict=True))
            # "not implemented for 'Half'", no memory; no such operator
            except (RuntimeError, AttributeError) as error:
                left_out[name] = first_line(error)
    source = torch.zeros(mib * 2**18, device=device)
    target = torch.empty_like(source)
    seconds = _best_seconds(lambda: target.copy_(source), device, clock, quick)
    return {
        "copy_gb_s": 2 * mib * 2**20 / seconds / 1e9,
        "sizes": {"matrix": side, "images": images, "copy_mib": mib},
        "precisions": found,
        "left_out": left_out,
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


def _real_calls(device: str, dtype: torch.dtype, side: int, images: int) -> tuple[Call, Call]:
    """The matrix product and the convolution in a precision that torch has tensors of."""
    a = torch.ones(side, side, device=device, dtype=dtype)
    x = torch.ones(images, 256, 64, 64, device=device, dtype=dtype)
    w = torch.ones(256, 256, 3, 3, device=device, dtype=dtype)
    x, w = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, w))
    return lambda: a @ a, lambda: F.conv2d(x, w, padding=1)


def int8_calls(device: str, side: int, images: int) -> tuple[Call, Call]:
    """The same in 8 bits: uint8 times int8, summed in 32 bits; the convolution's answer is uint8 again.

    These are oneDNN's kernels, by the operators that torch's own compiler calls for quantized networks: torch has no
    public function for either. Ones everywhere, and weights that are worth 1 / 2304 each, so the convolution gives 1.
    Raises RuntimeError or AttributeError where they are not to be had.
    """
    packing, convolve = torch.ops.onednn.qconv_prepack, torch.ops.onednn.qconv_pointwise
    x = torch.ones(images, 256, 64, 64, device=device, dtype=torch.uint8)
    x = x.contiguous(memory_format=torch.channels_last)
    scale, zero = torch.full((256,), 1 / (256 * 9)), torch.zeros(256, dtype=torch.int32)
    around = [1, 1], [1, 1], [1, 1], 1  # stride, padding, dilation, groups
    out = (1.0, 0, torch.uint8)  # scale, zero and type of the answer
    w = packing(torch.ones(256, 256, 3, 3, dtype=torch.int8), scale, 1.0, 0, *around, list(x.shape))
    a, b = (torch.ones(side, side, device=device, dtype=kind) for kind in (torch.uint8, torch.int8))

    def convolution() -> Tensor:
        found: Tensor = convolve(x, 1.0, 0, w, scale, zero, None, *around, *out, "none", [], "")
        return found

    return lambda: torch._int_mm(a, b), convolution


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
