"""Exports of the tiny networks in the forms that TensorRT is given, each made once."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch
from torch import nn

from support import tiny_network as tiny
from uadbench.engine.backends.artifacts import Artifact, manifest_path, read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.networks.checkpoint import load_denoiser, save_checkpoint
from uadbench.engine.networks.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from uadbench.exporters.onnx import export_unet

CONDITIONED = ConditionedUNetConfig(
    channels=(16, 32),
    attention=(False, True),
    head_channels=16,
    groups=8,
    embedding=32,
    encoder=(8, 8),
    code=12,
)


def make_network(folder: Path, conditioned: bool = False) -> Path:
    """A checkpoint; the network that is not conditioned is that of ``tiny_network``."""
    if not conditioned:
        return tiny.make_checkpoint(folder)
    torch.manual_seed(0)
    model = ConditionedUNet(CONDITIONED)
    for weight in model.parameters():
        if not bool(weight.any()):
            nn.init.normal_(weight, std=0.1)
    path = folder / "conditioned.safetensors"
    save_checkpoint(path, model, {"noise": "gaussian"})
    return path


def make_engine_source(
    folder: Path,
    precision: str = "fp32",
    batch: int = 2,
    conditioned: bool = False,
    fused: bool | None = None,
) -> Path:
    """unet.onnx with its manifest: fp32 with attention written out, below that as one operator, as engines take it."""
    fused = precision != "fp32" if fused is None else fused
    path = folder / "unet.onnx"
    data, manifest = _exported(precision, batch, conditioned, fused)
    path.write_bytes(data)
    manifest_path(path).write_bytes(manifest)
    return path


def engine_source(folder: Path, *args: object, **more: object) -> Artifact:
    """The same, read."""
    return read_artifact(make_engine_source(folder, *args, **more))  # type: ignore[arg-type]


@functools.cache
def _exported(precision: str, batch: int, conditioned: bool, fused: bool) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        model, card = load_denoiser(make_network(Path(folder), conditioned))
        path = Path(folder) / "unet.onnx"
        form = Form(precision, "fused" if fused else "plain", batch)
        export_unet(model, card, path, form, size=tiny.SIZE)
        return path.read_bytes(), manifest_path(path).read_bytes()
