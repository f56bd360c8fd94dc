"""A U-Net that takes anomalies out of an image: it says what to change, and where, in one call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uadbench.engine.networks.unet import UNet, UNetConfig

__all__ = ["RestorationUNet", "RestorationUNetConfig"]


@dataclass(frozen=True)
class RestorationUNetConfig(UNetConfig):
    """Shape of the U-Net.

    outputs : 1 for the change alone, 2 with the logit
    mirrored : whether it also sees the image left for right, so that one half can be held against the other
    """

    channels: tuple[int, ...] = (32, 64, 96)
    outputs: int = 2
    mirrored: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.outputs) is not int or self.outputs not in (1, 2) or type(self.mirrored) is not bool:
            raise ValueError(
                f"outputs is {self.outputs!r:.80}, mirrored {self.mirrored!r:.80}; "
                "1 or 2, and true or false, are allowed"
            )


class RestorationUNet(nn.Module):
    """Predicts the change that makes an image healthy.

    forward(x, timesteps): x float32 [B, 1, H, W] in [-1, 1], sides as for ``UNet``; timesteps int64 [B], counted from
    0, of the strength that is assumed where the objective has several, 0 otherwise. Returns [B, outputs, H, W]: what to
    add to x, then, with two outputs, the logit of the probability that a pixel is changed.
    """

    def __init__(self, config: RestorationUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or RestorationUNetConfig()
        self.unet = UNet(config, inputs=1 + config.mirrored, outputs=config.outputs)

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        seen = torch.cat([x, x.flip(-1)], dim=1) if self.config.mirrored else x
        out: Tensor = self.unet(seen, timesteps)
        return out
