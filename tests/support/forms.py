"""Every kind of denoiser at a size that is exported in seconds, none of whose layers is zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from support import tiny_network as tiny
from support.diffusion import TINY, make_network
from uadbench.engine.networks.adapters import as_epsilon
from uadbench.engine.networks.restoration_unet import RestorationUNet, RestorationUNetConfig
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.networks.vae import VAE, VAEConfig
from uadbench.engine.schedule import linear_schedule

SMALL = UNetConfig(channels=(16,), attention=(False,), head_channels=16, groups=8, embedding=16)
SIZE = 16


class Kind(NamedTuple):
    make: Callable[[], nn.Module]
    card: dict[str, Any]
    attends: bool = True


def conditioned() -> nn.Module:
    model = tiny.make_conditioned(SMALL)
    return as_epsilon(model.eval().requires_grad_(False), "x0", linear_schedule())


def restoring(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return tiny.drawn(make(), 0.1).eval().requires_grad_(False)


def predicting(prediction: str) -> nn.Module:
    return as_epsilon(tiny.make_unet(SMALL), prediction, linear_schedule())


KINDS = {
    "unet": Kind(lambda: tiny.make_unet(SMALL), {"sha256": "0"}),
    "unet of x0": Kind(lambda: predicting("x0"), {"sha256": "0"}),
    "unet of v": Kind(lambda: predicting("v"), {"sha256": "0"}),
    "diffusion-unet": Kind(
        lambda: make_network(replace(TINY, channels=(16,), attention=(True,))),
        {"sha256": "0", "kind": "diffusion-unet"},
    ),
    "conditioned-unet": Kind(conditioned, {"sha256": "0", "kind": "conditioned-unet"}),
    "restoration-unet": Kind(
        lambda: restoring(lambda: RestorationUNet(RestorationUNetConfig(**asdict(SMALL)))),
        {"sha256": "0", "kind": "restoration-unet", "prediction": "change"},
    ),
    "vae": Kind(
        lambda: restoring(lambda: VAE(VAEConfig((8, 16), 4, 8))),
        {"sha256": "0", "kind": "vae", "prediction": "change"},
        attends=False,
    ),
}
STEPS = {name: kind for name, kind in KINDS.items() if kind.card.get("prediction") != "change"}


def inputs(card: dict[str, Any]) -> dict[str, Tensor]:
    """For a batch of 3, by name."""
    draw = torch.Generator().manual_seed(0)
    named = {"x": torch.randn(3, 1, SIZE, SIZE, generator=draw), "timesteps": torch.tensor([99, 349, 999])}
    if card.get("kind") == "conditioned-unet":
        named["cond"] = torch.rand(3, 1, SIZE, SIZE, generator=draw) * 2 - 1
    return named
