"""Does an exported file compute what torch computes in fp32? A few calls, and a line that says how far it is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.onnxruntime import check, load_runtime
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import schedule_of
from uadbench.exporters.calibration import noise_of
from uadbench.exporters.gates import gates_of
from uadbench.exporters.levels import levels_read
from uadbench.exporters.parity import network_parity, relative_l2

__all__ = ["hold_against", "hold_network"]

LEVEL = 250  # at which a file that predicts eps is tried

Answers = tuple[Tensor, ...]
Function = Callable[..., Any]


def hold_network(
    path: Path,
    manifest: Mapping[str, Any],
    card: Mapping[str, Any],
    images: Tensor,
    full: nn.Module,
    lower: nn.Module,
) -> float:
    """Hold a denoiser's file against torch fp32, as the first part of parity does; see ``hold_against``.

    It is shown inputs such as it knows: the images noised to level 250, or as they are, at the least and the largest of
    the strengths that methods tell it.
    images : healthy, float32 [B, 1, H, W] in [-1, 1], as many as the file takes
    """
    levels = levels_read(card, (LEVEL,))
    tried = tuple(sorted({levels[0], levels[-1]}))
    conditioned = NETWORKS[card.get("kind", "unet")].conditioned
    with torch.inference_mode():
        results = [
            network_parity(
                _Called("fp32", full),
                _Called(manifest["precision"], function),
                images,
                seeds=(0,),
                levels=tried,
                schedule=schedule_of(card),
                noise=noise_of(card),
                conditioned=conditioned,
            )
            for function in _ways(path, manifest, lower)
        ]
    image = max(result["rel_image"] for result in results)
    odds = max(
        (result["probability"] for result in results if result["probability"] is not None), default=None
    )
    gates = gates_of(manifest["precision"])
    told = "" if odds is None else f", of a pixel's probability {odds:.1e}"
    _say(path, manifest, f"error at {' and '.join(map(str, tried))} as a part of the image {image:.1e}{told}")
    return max(image / gates.network, (odds or 0) / gates.probability)


def hold_against(
    path: Path, manifest: Mapping[str, Any], inputs: tuple[Tensor, ...], full: Function, lower: Function
) -> float:
    """Hold the written file against torch fp32; prints a line; returns the error over what is tolerated.

    It runs in ONNX Runtime, which on a CPU knows no bf16 and computes fp16 in fp32: that shows that the graph is right.
    What a precision rounds is seen in torch, by the module that the file was written from.
    full, lower : the module in fp32, and in the precision of the file
    """
    step = manifest["kind"] == "step"
    with torch.inference_mode():
        wanted = _several(full(*inputs))
        found = [_several(function(*inputs)) for function in _ways(path, manifest, lower)]
    errors = [[relative_l2(a, b) for a, b in zip(each, wanted, strict=True)] for each in found]
    # A step's second answer, x0, divides an error of the first levels by next to nothing; the chain does not.
    worst = max(each[0] if step else max(each) for each in errors)
    at = f" at step {int(inputs[1][0])}" if step else ""
    _say(path, manifest, f"relative L2 against torch fp32{at} {worst:.1e}")
    gate: float | None = getattr(gates_of(manifest["precision"]), manifest["kind"].rpartition("-")[2])
    if gate is None:
        raise ValueError(f"no gate is set for a {manifest['kind']} in {manifest['precision']}")
    return worst / gate


@dataclass
class _Called:
    """A function (x, timesteps, cond) as the denoiser that parity asks for."""

    precision: str
    function: Function
    name: str = "export"
    device: str = "cpu"

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return _several(self.function(x_t, t - 1, *(() if cond is None else (cond,))))[0]

    def synchronize(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}


def _ways(path: Path, manifest: Mapping[str, Any], lower: Function) -> Iterator[Function]:
    """What stands for the file: itself in ONNX Runtime, or torch in its precision, or both."""
    precision = manifest["precision"]
    if precision != "bf16":
        yield _in_runtime(path, manifest)
    if precision in ("fp16", "bf16"):
        yield lower


def _in_runtime(path: Path, manifest: Mapping[str, Any]) -> Function:
    check()
    data = read_artifact(path, manifest["kind"]).data
    session = load_runtime().InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [entry["name"] for entry in manifest["inputs"]]

    def call(*inputs: Tensor) -> Answers:
        found = session.run(None, {n: value.numpy() for n, value in zip(names, inputs, strict=True)})
        return tuple(torch.from_numpy(value) for value in found)

    return call


def _several(answer: Any) -> Answers:
    return tuple(answer) if isinstance(answer, tuple | list) else (answer,)


def _say(path: Path, manifest: Mapping[str, Any], error: str) -> None:
    click.echo(
        f"{path}  {manifest['bytes'] / 2**20:.1f} MiB  opset {manifest['opset']}  batch {manifest['batch']}  "
        f"{manifest['precision']}  sha256 {manifest['sha256'][:12]}  {error}"
    )
