"""A U-Net told what the clean image looks like: cDDPM's network (Behrendt et al. 2023, arXiv 2312.04215).

An encoder's vector of the clean image scales and shifts the feature maps of every residual block. It says how bright
what is, not where: healthy anatomy is still to be found under the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.engine.networks.image_encoder import EncoderConfig, ImageEncoder
from uadbench.engine.networks.unet import ResidualBlock, UNet, UNetConfig

__all__ = ["ConditionedUNet", "ConditionedUNetConfig"]


@dataclass(frozen=True)
class ConditionedUNetConfig(UNetConfig):
    """Shape of the U-Net, and of the encoder: the channels of its levels and the length of its vector."""

    encoder: tuple[int, ...] = (32, 64, 128, 256)
    code: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        self.encoder_config.__post_init__()

    @property
    def encoder_config(self) -> EncoderConfig:
        """The encoder's shape."""
        return EncoderConfig(self.encoder, self.code)


class ModulatedBlock(ResidualBlock):
    """A residual block whose features the code scales and shifts, after the second norm.

    The weights that do so start at zero, so that a U-Net's own weights go on computing what they did.
    """

    def __init__(self, c_in: int, c_out: int, config: UNetConfig, code: int) -> None:
        super().__init__(c_in, c_out, config)
        self.widths = (config.embedding, code)
        self.modulate = nn.Linear(code, 2 * c_out)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        time, code = embedding.split(self.widths, dim=1)
        # Halved before it is given its two axes: OpenVINO 2026.4 crashes on the other order in fp32.
        scale, shift = (half[:, :, None, None] for half in self.modulate(code).chunk(2, dim=1))
        h = self.norm2(self.conv1(F.silu(self.norm1(x))), self.embed(time))
        return self.skip(x) + self.conv2(F.silu(h * (1 + scale) + shift))


class ConditionedUNet(nn.Module):
    """Predicts the clean image from a noised one and what the encoder says of the clean one.

    forward(x, timesteps, cond): x and timesteps as for ``UNet``; cond float32 [B, 1, H, W] in [-1, 1], the image
    without noise, its sides also multiples of 2 ** (levels of the encoder); returns like x.
    """

    def __init__(self, config: ConditionedUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ConditionedUNetConfig()
        self.encoder = ImageEncoder(config.encoder_config)
        self.unet = UNet(config, partial(ModulatedBlock, code=config.code))

    def forward(self, x: Tensor, timesteps: Tensor, cond: Tensor) -> Tensor:
        code = F.silu(self.encoder(cond))
        return self.unet.body(x, torch.cat([self.unet.embed_time(timesteps), code], dim=1))
