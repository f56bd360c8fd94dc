"""A variational auto-encoder of whole slices (Kingma and Welling 2014, arXiv 1312.6114), convolutional throughout."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.engine.networks.unet import check_sizes

__all__ = ["VAE", "VAEConfig"]

LARGEST = {"channels": 4096, "code": 4096, "groups": 4096}
LEVELS = 8


@dataclass(frozen=True)
class VAEConfig:
    """Shape of the network; each level halves the image.

    code : channels of the code, at each position of the last level: 512 numbers for 128 x 128 pixels
    """

    channels: tuple[int, ...] = (32, 64, 128, 128)
    code: int = 8
    groups: int = 16

    def __post_init__(self) -> None:
        check_sizes(self, LARGEST)
        if not 1 <= len(self.channels) <= LEVELS or any(c % self.groups for c in self.channels):
            raise ValueError(
                f"channels is {self.channels}; 1 to {LEVELS} levels that divide by {self.groups} are allowed"
            )

    def code_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Of the code of one image."""
        stride = 2 ** len(self.channels)
        return self.code, height // stride, width // stride


class Block(nn.Module):
    """A residual block of two 3 x 3 convolutions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class VAE(nn.Module):
    """Says what to change so that an image is one that its code can hold.

    forward(x, timesteps): x float32 [B, 1, H, W] in [-1, 1], sides multiples of 2 ** levels; timesteps mean nothing.
    Returns the difference of the code's mean, decoded, from x.
    """

    def __init__(self, config: VAEConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VAEConfig()
        last, down, up = config.channels[-1], list[nn.Module](), list[nn.Module]()
        for a, b in pairwise((1, *config.channels)):
            down += [nn.Conv2d(a, b, 4, stride=2, padding=1), Block(b, config.groups)]
        for a, b in pairwise((*reversed(config.channels), config.channels[0])):
            up += [
                nn.Upsample(scale_factor=2.0, mode="nearest"),
                nn.Conv2d(a, b, 3, padding=1),
                Block(b, config.groups),
            ]
        self.encoder = nn.Sequential(*down, nn.SiLU(), nn.Conv2d(last, 2 * config.code, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(config.code, last, 3, padding=1),
            Block(last, config.groups),
            *up,
            nn.SiLU(),
            nn.Conv2d(config.channels[0], 1, 3, padding=1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the code, each [B, code, H / stride, W / stride]."""
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 6)

    def forward(
        self, x: Tensor, timesteps: Tensor, z: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """z : standard normal, like the code, which is drawn by it; then (change, mean, log variance) is returned."""
        mean, log_variance = self.encode(x)
        if z is None:
            return self.decoder(mean) - x
        drawn = mean + (log_variance / 2).exp() * z
        return self.decoder(drawn) - x, mean, log_variance
