"""The kinds of network by name: what a checkpoint's card calls ``kind``, its configuration and its module."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from uadbench.engine.networks.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from uadbench.engine.networks.image_encoder import EncoderConfig, MaskedEncoder
from uadbench.engine.networks.restoration_unet import RestorationUNet, RestorationUNetConfig
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.networks.vae import VAE, VAEConfig

__all__ = ["NETWORKS", "NetworkKind", "kind_of"]


class NetworkKind(NamedTuple):
    """A kind of network.

    config : a frozen dataclass, stored in the card as ``network``; module : built from it alone
    denoises : whether it is called with (x_t, timesteps), so that samplers can use it; with ``conditioned`` also with
        the clean image
    """

    config: type[Any]
    module: type[nn.Module]
    conditioned: bool = False
    denoises: bool = True


NETWORKS: dict[str, NetworkKind] = {
    "unet": NetworkKind(UNetConfig, UNet),
    "diffusion-unet": NetworkKind(DiffusionUNetConfig, DiffusionUNet),
    "conditioned-unet": NetworkKind(ConditionedUNetConfig, ConditionedUNet, conditioned=True),
    "restoration-unet": NetworkKind(RestorationUNetConfig, RestorationUNet),
    "vae": NetworkKind(VAEConfig, VAE),
    "masked-encoder": NetworkKind(EncoderConfig, MaskedEncoder, denoises=False),
}


def kind_of(config: Any) -> str:
    """The kind of network that a configuration is of; TypeError where it is of none."""
    for name, kind in NETWORKS.items():
        if type(config) is kind.config:
            return name
    raise TypeError(f"{type(config).__name__} is no configuration of {', '.join(NETWORKS)}")
