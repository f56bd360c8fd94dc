"""The papers' network at a size for tests, none of whose layers is zero, and files as the authors publish them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from support import tiny_network as tiny
from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig

TINY = DiffusionUNetConfig(channels=(16, 32), attention=(False, True), head_channels=16, groups=8)


def make_network(config: DiffusionUNetConfig = TINY, seed: int = 0) -> DiffusionUNet:
    """Layers that start at zero are drawn too: a network whose answer is 0 agrees with anything."""
    torch.manual_seed(seed)
    return tiny.drawn(DiffusionUNet(config), 0.05).eval().requires_grad_(False)


def older(name: str) -> str:
    """The name that a weight has in the authors' files."""
    for now, then in ((".attn.out_proj.", ".proj_attn."), (".attn.", "."), (".postconv.", ".conv.")):
        name = name.replace(now, then)
    return name


def published(config: DiffusionUNetConfig = TINY, old_names: bool = True) -> dict[str, Any]:
    """What the authors' trainer saves, with random weights; the perceptual net is part of their class."""
    weights: dict[str, Tensor] = {
        older(name) if old_names else name: weight.clone()
        for name, weight in make_network(config).state_dict().items()
    }
    weights["l_pips_sq.lin0.model.1.weight"] = torch.ones(1, 64, 1, 1)
    return {"model_weights": weights, "optimizer_weights": {"state": {}, "param_groups": []}, "epoch": 1499}


def write_published(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def inputs(size: int = 32) -> tuple[Tensor, Tensor]:
    """x_t [3, 1, size, size] and timesteps counted from 0."""
    x_t = torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(0))
    return x_t, torch.tensor([0, 249, 999])
