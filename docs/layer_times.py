"""Where a call's time goes on this CPU: ``python docs/layer_times.py TABLE.csv``, on an idle machine, about a minute.

OpenVINO's own counters, of one call of ``unet-gaussian`` on one image in each precision: milliseconds by kind of layer,
medians over ``CALLS`` calls, the precisions in turns. "all layers" is their sum, "the call" what it takes by the host's
clock without counters, for these cost time of their own. Convolutions have their GFLOP/s, too.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from uadbench.bench.run.calibration import training_slices
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.artifacts import Artifact, feed, read_artifact
from uadbench.engine.backends.openvino import HINTS, load_runtime
from uadbench.engine.networks.checkpoint import load_denoiser, shipped
from uadbench.exporters.cache import cached_artifact

__all__ = ["ALL", "CALL", "CALLS", "GROUPS", "group_of", "main"]

NETWORK, SIDE, LEVEL, THREADS = "unet-gaussian", 128, 250, 2
WARM, CALLS = 20, 100
EIGHT_BITS = ("i8", "u8")
GROUPS = {
    "Convolution": "convolutions",
    "Subgraph": "element-wise and attention",
    "Add": "element-wise and attention",
    "ReduceMean": "means of norms",
    "ReduceL2": "means of norms",
    "FullyConnected": "matrix products",
    "MatMul": "matrix products",
}
"""OpenVINO's kind of layer -> what it is called here; all others move data. A subgraph fuses SiLU, sums, rounding."""
ALL, CALL = "all layers", "the call"


def group_of(kind: str, kernel: str) -> str:
    """What a layer is called here, by OpenVINO's kind of it and the name of the kernel that computed it."""
    group = GROUPS.get(kind, "moving data")
    return f"{group} in 8 bits" if group == "convolutions" and kernel.lower().endswith(EIGHT_BITS) else group


def _requests(artifact: Artifact, precision: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Two calls of the network: with counters, which gives their list, and without."""
    core = load_runtime().Core()
    model = core.read_model(artifact.data)
    model.reshape({one["name"]: [1, *one["shape"][1:]] for one in artifact.manifest["inputs"]})
    x = torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    inputs = {name: value.numpy() for name, value in feed(artifact, x, torch.tensor([LEVEL]), None).items()}

    def made(counted: bool) -> Any:
        config = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
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

    return counted, lambda: plain.infer(inputs)


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


def _convolved(checkpoint: Path) -> float:
    """Operations of a call's convolutions, a multiplication and an addition as two."""
    model, _ = load_denoiser(checkpoint)
    with torch.inference_mode(), FlopCounterMode(display=False) as flops:
        model(torch.zeros(1, 1, SIDE, SIDE), torch.tensor([LEVEL]))
    return float(flops.get_flop_counts()["Global"][torch.ops.aten.convolution])


def measure(calls: int = CALLS, warm: int = WARM) -> pd.DataFrame:
    """A row a precision and group of layers: precision, what, layers, ms (median), gflops."""
    checkpoint = shipped(NETWORK)
    both = {}
    for precision in HINTS:
        form = BACKENDS["openvino"].form(precision, 1, "cpu")
        artifact = read_artifact(cached_artifact(checkpoint, form=form, healthy=training_slices()))
        both[precision] = _requests(artifact, precision)
    times: dict[str, list[dict[str, float]]] = {precision: [] for precision in both}
    numbers: dict[str, Counter[str]] = {}
    for turn in range(warm + calls):
        for precision, (counted, plain) in both.items():
            start = time.perf_counter()
            plain()
            took = 1e3 * (time.perf_counter() - start)
            sums, numbers[precision] = _sums(counted())
            if turn >= warm:
                times[precision].append({**sums, CALL: took})
    operations = _convolved(checkpoint)
    rows = []
    for precision, found in times.items():
        medians = pd.DataFrame(found).median().sort_values(ascending=False)
        rows += [(precision, what, numbers[precision][what], ms) for what, ms in medians.items()]
    frame = pd.DataFrame(rows, columns=["precision", "what", "layers", "ms"])
    whole = frame["what"].eq("convolutions") & frame["precision"].ne("int8")  # there they are two rows
    return frame.assign(gflops=(operations / frame["ms"] / 1e6).where(whole))


def main(arguments: list[str]) -> int:
    """Measure, and write the table; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python docs/layer_times.py TABLE.csv", file=sys.stderr)
        return 2
    torch.set_num_threads(THREADS)
    frame = measure()
    frame.to_csv(arguments[0], index=False, float_format="%.4g", lineterminator="\n")
    print(frame.to_string(index=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
