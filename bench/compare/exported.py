"""Does an exported file compute what torch computes in fp32? One call, and a line that says how far it is off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.onnxruntime import check, load_runtime
from uadbench.exporters.parity import relative_l2

__all__ = ["TOLERANCES", "hold_against"]

# Relative L2 against torch fp32, as the gates of parity. The perceptual net scales its features to unit length, which
# makes rounding of near-zero features visible (bf16 9e-2 measured, and 1e-3 of the distance that is made of them).
DENOISER = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 3e-2, "int8": 3e-2}
TOLERANCES = {
    "unet": DENOISER,
    "step": {name: gate for name, gate in DENOISER.items() if name != "int8"},
    "perceptual-features": {"fp32": 1e-4, "fp16": 3e-2, "bf16": 0.3},
    "perceptual-distance": {"fp32": 1e-4, "fp16": 3e-3, "bf16": 3e-2},
}


def hold_against(
    path: Path,
    manifest: dict[str, Any],
    inputs: tuple[Tensor, ...],
    full: Callable[..., Any],
    lower: Callable[..., Any],
) -> float:
    """Hold the written file against torch fp32; prints a line; returns the error over what is tolerated.

    It runs in ONNX Runtime, which on a CPU knows no bf16 and computes fp16 in fp32: that shows that the graph is right.
    What a precision rounds is seen in torch, by the module that the file was written from.
    full, lower : the module in fp32, and in the precision of the file
    """
    precision = manifest["precision"]
    with torch.inference_mode():
        wanted, found = _several(full(*inputs)), []
        if precision != "bf16":
            found.append(_run(path, manifest, inputs))
        if precision in ("fp16", "bf16"):
            found.append(_several(lower(*inputs)))
    errors = [[relative_l2(a, b) for a, b in zip(each, wanted, strict=True)] for each in found]
    # A step's second answer, x0, divides an error of the first levels by next to nothing; the chain does not.
    worst = max(each[0] if manifest["kind"] == "step" else max(each) for each in errors)
    at = f"  step {int(inputs[1][0])}" if manifest["kind"] == "step" else ""
    click.echo(
        f"{path}{at}  {manifest['bytes'] / 2**20:.1f} MiB  opset {manifest['opset']}  batch {manifest['batch']}  "
        f"{precision}  sha256 {manifest['sha256'][:12]}  relative L2 against torch fp32 {worst:.1e}"
    )
    return worst / TOLERANCES[manifest["kind"]][precision]


def _several(answer: Any) -> tuple[Tensor, ...]:
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)


def _run(path: Path, manifest: dict[str, Any], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    check()
    data = read_artifact(path, manifest["kind"]).data
    session = load_runtime().InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [entry["name"] for entry in manifest["inputs"]]
    found = session.run(None, {n: value.numpy() for n, value in zip(names, inputs, strict=True)})
    return tuple(torch.from_numpy(value) for value in found)
