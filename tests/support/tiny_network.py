"""A U-Net small enough to be exported in a test, none of whose layers is zero, and its export, made once."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from uadbench.engine.backends.artifacts import manifest_path
from uadbench.engine.backends.form import Form
from uadbench.engine.networks.checkpoint import save_checkpoint
from uadbench.engine.networks.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.exporters.onnx import export_unet

Network = TypeVar("Network", bound=nn.Module)
SIZE = 32
CONFIG = UNetConfig(channels=(16, 32), attention=(False, True), head_channels=16, groups=8, embedding=32)


def make_unet(config: UNetConfig = CONFIG, seed: int = 0) -> UNet:
    """Layers that start at zero are drawn too: a network whose answer is 0 agrees with anything."""
    torch.manual_seed(seed)
    return drawn(UNet(config), 0.02).eval().requires_grad_(False)


def make_conditioned(config: UNetConfig = CONFIG) -> ConditionedUNet:
    """The same with an encoder of the clean image, likewise drawn."""
    torch.manual_seed(0)
    return drawn(ConditionedUNet(ConditionedUNetConfig(**asdict(config), encoder=(8, 8), code=12)), 0.1)


def drawn(model: Network, std: float) -> Network:
    """The model, whose layers of zeros are drawn."""
    for weight in model.parameters():
        if not bool(weight.any()):
            nn.init.normal_(weight, std=std)
    return model


def make_checkpoint(folder: Path) -> Path:
    """unet-gaussian.safetensors with its card."""
    path = folder / "unet-gaussian.safetensors"
    save_checkpoint(path, make_unet(), {"noise": "gaussian"})
    return path


def inputs(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """x_t [B, 1, 32, 32] and levels t [B], each another."""
    x_t = torch.randn(batch, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return x_t, torch.linspace(1, 1000, batch).long()


@functools.cache
def _exported(form: Form) -> tuple[bytes, bytes, dict[str, Any]]:
    from uadbench.engine.networks.checkpoint import load_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        model, card = load_checkpoint(make_checkpoint(Path(folder)))
        path = Path(folder) / "unet.onnx"
        manifest = export_unet(model, card, path, form, size=SIZE)
        return path.read_bytes(), manifest_path(path).read_bytes(), manifest


def make_artifact(folder: Path, batch: int | None = None, layout: str = "channels-first") -> Path:
    """unet.onnx with its manifest; the network is that of ``make_checkpoint``."""
    data, manifest, _ = _exported(Form(batch=batch, layout=layout))
    path = folder / "unet.onnx"
    path.write_bytes(data)
    manifest_path(path).write_bytes(manifest)
    return path


def manifest(checkpoint_sha256: str, batch: int | None) -> dict[str, Any]:
    """What an export of that checkpoint says of itself, for a test that needs no network in it."""
    sides = ["batch" if batch is None else batch, 1, SIZE, SIZE]
    return {
        "kind": "unet",
        "opset": 23,
        "batch": "dynamic" if batch is None else batch,
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": sides},
            {"name": "timesteps", "dtype": "int64", "shape": sides[:1]},
        ],
        "outputs": [{"name": "eps", "dtype": "float32", "shape": sides}],
        "source": {"sha256": checkpoint_sha256, "noise": "gaussian"},
    }
