"""The kinds of network by name: what a checkpoint's card calls ``kind``, its configuration and its module."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from uadbench.engine.networks.unet import UNet, UNetConfig

__all__ = ["NETWORKS", "NetworkKind"]


class NetworkKind(NamedTuple):
    """config : a frozen dataclass, stored in the card as ``network``; module : built from it alone."""

    config: type[Any]
    module: type[nn.Module]


NETWORKS: dict[str, NetworkKind] = {"unet": NetworkKind(UNetConfig, UNet)}
