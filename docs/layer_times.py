"""Where a call's time goes on this CPU: ``python docs/layer_times.py TABLE.csv [CHECKPOINT TURNS]``, when it is idle.

OpenVINO's own counters, of one call of a network (``unet-gaussian``, a minute) on one image in each precision:
milliseconds by kind of layer, medians over the turns of the precisions, each the last of ``CALLS`` calls in a row,
which finds its data in the caches as the calls of a chain do. Eager torch in fp32 has turns among them. "all layers" is
their sum, "the call" what it takes by the host's clock without counters, for these cost time of their own; its error is
that of the predicted noise, relative L2 against torch fp32. Convolutions have their GFLOP/s, too, and their share of
the best convolution's, measured before and after.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from uadbench.bench.profile.ceilings import measure_ceilings
from uadbench.bench.run.calibration import slices_to_try, training_slices
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.artifacts import Artifact, feed, read_artifact
from uadbench.engine.backends.openvino import HINTS, load_runtime
from uadbench.engine.backends.torch import TorchDenoiser
from uadbench.engine.networks.checkpoint import load_denoiser, schedule_of, shipped
from uadbench.engine.steps import add_noise
from uadbench.exporters.cache import cached_artifact
from uadbench.exporters.precision import in_form

__all__ = ["ALL", "CALL", "CALLS", "EAGER", "GROUPS", "TURNS", "convolved", "group_of", "main"]

NETWORK, LEVEL, THREADS = "unet-gaussian", 250, 2
TURNS, CALLS = 50, 4
EIGHT_BITS = ("i8", "u8")
WHOLE, IN_8_BITS = "convolutions", "convolutions in 8 bits"
GROUPS = {
    "Convolution": WHOLE,
    "ConvolutionBackpropData": WHOLE,
    "Subgraph": "element-wise and attention",
    "Add": "element-wise and attention",
    "ReduceMean": "means of norms",
    "ReduceL2": "means of norms",
    "FullyConnected": "matrix products",
    "MatMul": "matrix products",
}
"""OpenVINO's kind of layer -> what it is called here; all others move data. A subgraph fuses SiLU, sums, rounding."""
ALL, CALL = "all layers", "the call"
EAGER = "torch fp32"


def group_of(kind: str, kernel: str) -> str:
    """What a layer is called here, by OpenVINO's kind of it and the name of the kernel that computed it."""
    group = GROUPS.get(kind, "moving data")
    return IN_8_BITS if group == WHOLE and kernel.lower().endswith(EIGHT_BITS) else group


def _requests(artifact: Artifact, hint: str, x: torch.Tensor) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Two calls of the network: with counters, which gives their list, and without, which gives the noise."""
    core = load_runtime().Core()
    model = core.read_model(artifact.data)
    model.reshape({one["name"]: [1, *one["shape"][1:]] for one in artifact.manifest["inputs"]})
    inputs = {name: value.numpy() for name, value in feed(artifact, x, torch.tensor([LEVEL]), None).items()}

    def made(counted: bool) -> Any:
        config = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": THREADS,
            "ENABLE_CPU_PINNING": False,
            "PERF_COUNT": counted,
        }
        return core.compile_model(model, "CPU", config).create_infer_request()

    counting, plain = made(True), made(False)

    def counted() -> Any:
        counting.infer(inputs)
        return counting.get_profiling_info()

    return counted, lambda: next(iter(plain.infer(inputs).values()))


def _sums(layers: Iterable[Any]) -> tuple[dict[str, float], Counter[str]]:
    """Milliseconds of one call, and layers, by group."""
    times: dict[str, float] = {}
    numbers: Counter[str] = Counter()
    for layer in layers:
        if layer.status.name == "EXECUTED":
            group = group_of(layer.node_type, layer.exec_type)
            times[group] = times.get(group, 0.0) + 1e3 * layer.real_time.total_seconds()
            numbers[group] += 1
    return {**times, ALL: sum(times.values())}, numbers + Counter({ALL: numbers.total()})


def convolved(model: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Operations of each convolution in a call, an addition and a multiplication as two, by its weight."""
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        model(x, torch.tensor([LEVEL - 1]))
    counts = flops.get_flop_counts()  # by class of the network and path of the module
    return {
        f"{name}.weight": counts[f"{type(model).__name__}.{name}"][torch.ops.aten.convolution]
        for name, one in model.named_modules()
        if isinstance(one, (nn.Conv2d, nn.ConvTranspose2d))
    }


def measure(checkpoint: Path, turns: int = TURNS) -> pd.DataFrame:
    """A row an arm and group of layers: precision, what, layers, ms (median), gflops, share_of_ceiling, error.

    First the call of ``EAGER``, as the back end torch makes it.
    """
    clean = slices_to_try(1)
    model, card = load_denoiser(checkpoint)
    eager = TorchDenoiser(*load_denoiser(checkpoint))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    x = add_noise(schedule_of(card), clean, LEVEL, noise)
    calls, work = {}, {}
    for arm, hint in HINTS.items():
        form = BACKENDS["openvino"].form(arm, 1, "cpu")
        artifact = read_artifact(cached_artifact(checkpoint, form=form, healthy=training_slices()))
        calls[arm] = _requests(artifact, hint, x)
        quantized = artifact.manifest.get("quantization", {}).get("quantized", ())
        operations = convolved(in_form(model, form), x)
        in_8_bits = sum(operations[name] for name in quantized)
        work[arm] = {IN_8_BITS: in_8_bits, WHOLE: sum(operations.values()) - in_8_bits}
    before = _ceilings()
    medians, numbers, eager_ms = _timed(calls, partial(eager.denoise, x, torch.tensor([LEVEL])), turns)
    ceilings = {name: max(best, before[name]) for name, best in _ceilings().items()}
    with torch.inference_mode():
        predicted = model(x, torch.tensor([LEVEL - 1]))
    rows = [(EAGER, CALL, 0, eager_ms, math.nan, math.nan, math.nan)]
    for arm, times in medians.items():
        off = torch.from_numpy(calls[arm][1]().copy()) - predicted
        for what, ms in times.items():
            gflops = work[arm].get(what, math.nan) / ms / 1e6
            share = gflops / ceilings["int8" if what == IN_8_BITS else HINTS[arm]]
            error = float(off.norm() / predicted.norm()) if what == CALL else math.nan
            rows.append((arm, what, numbers[arm][what], ms, gflops, share, error))
    columns = ["precision", "what", "layers", "ms", "gflops", "share_of_ceiling", "error"]
    return pd.DataFrame(rows, columns=columns)


def _timed(
    calls: Mapping[str, tuple[Callable[[], Any], Callable[[], Any]]], eager: Callable[[], Any], turns: int
) -> tuple[dict[str, pd.Series], dict[str, Counter[str]], float]:
    """Median milliseconds by group of layers, most first, how many layers those are, of each arm; and of ``eager``."""
    times: dict[str, list[dict[str, float]]] = {arm: [] for arm in calls}
    numbers: dict[str, Counter[str]] = {}
    eagerly = []
    for _ in range(turns):
        eagerly.append(_last(eager))
        for arm, (counted, plain) in calls.items():
            took = _last(plain)
            for _ in range(CALLS):
                sums, numbers[arm] = _sums(counted())
            times[arm].append({**sums, CALL: took})
    ordered = {arm: pd.DataFrame(found).median().sort_values(ascending=False) for arm, found in times.items()}
    return ordered, numbers, median(eagerly)


def _last(call: Callable[[], Any]) -> float:
    """Milliseconds of the last of ``CALLS`` calls."""
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        took = 1e3 * (time.perf_counter() - start)
    return took


def _ceilings() -> dict[str, float]:
    """GFLOP/s of the best convolution here, by OpenVINO's hint and for 8 bits."""
    found = measure_ceilings("cpu", ("fp32", "bf16", "int8"))["precisions"]
    return {
        name: found[of]["conv_gflops"] for name, of in (("f32", "fp32"), ("bf16", "bf16"), ("int8", "int8"))
    }


def main(arguments: list[str]) -> int:
    """Measure, and write the table; returns the exit code."""
    if len(arguments) not in (1, 3):
        print("usage: python docs/layer_times.py TABLE.csv [CHECKPOINT TURNS]", file=sys.stderr)
        return 2
    torch.set_num_threads(THREADS)
    frame = measure(Path(arguments[1]), int(arguments[2])) if arguments[1:] else measure(shipped(NETWORK))
    frame.to_csv(arguments[0], index=False, float_format="%.4g", lineterminator="\n")
    print(frame.to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
