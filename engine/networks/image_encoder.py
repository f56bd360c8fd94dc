"""A convolutional encoder of a whole image into one vector, which can also be shown an image with patches hidden.

Hidden patches follow SparK (Tian et al. 2023, arXiv 2301.03580): a sparse convolution never sees them. Here that is a
dense convolution whose input is zero there and whose output is set to zero there; the norms work on each position by
itself, so nothing hidden leaks into their statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.engine.networks.unet import check_sizes

__all__ = ["EncoderConfig", "ImageEncoder", "MaskedEncoder"]

LARGEST = {"channels": 4096, "code": 65536}
LEVELS = 8


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of the encoder; each level halves the image."""

    channels: tuple[int, ...] = (32, 64, 128, 256)
    code: int = 512

    def __post_init__(self) -> None:
        check_sizes(self, LARGEST)
        if not 1 <= len(self.channels) <= LEVELS:
            raise ValueError(f"channels has {len(self.channels)} levels; 1 to {LEVELS} are allowed")

    @property
    def stride(self) -> int:
        """Side of the square of pixels that one position of the last level stands for."""
        return 2 ** len(self.channels)


class PositionNorm(nn.Module):
    """Layer norm over the channels of each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class EncoderLevel(nn.Module):
    """Half the side, then one residual block of two 3 x 3 convolutions."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(c_in, c_out, 2, stride=2)
        self.norm1, self.conv1 = PositionNorm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.norm2, self.conv2 = PositionNorm(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        x = _shown(self.down(x), seen)
        h = self.conv1(_shown(F.silu(self.norm1(x)), seen))
        h = self.conv2(_shown(F.silu(self.norm2(h)), seen))
        return x + _shown(h, seen)


def _shown(h: Tensor, seen: Tensor | None) -> Tensor:
    """h [B, C, h, w] with zeros where the patch is hidden; seen [B, 1, rows, columns] of patches, 1 or 0."""
    return h if seen is None else h * F.interpolate(seen, size=h.shape[2:], mode="nearest")


class ImageEncoder(nn.Module):
    """An image as one vector.

    forward(x): x float32 [B, 1, H, W] in [-1, 1], H and W multiples of the stride; returns [B, code].
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        widths = (1, *config.channels)
        self.levels = nn.ModuleList(EncoderLevel(a, b) for a, b in pairwise(widths))
        self.norm = PositionNorm(widths[-1])
        self.summary = nn.Linear(widths[-1], config.code)

    def features(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """The last level [B, C, H / stride, W / stride]; seen [B, 1, H / stride, W / stride], None shows everything."""
        h = _shown(x, seen)
        for level in self.levels:
            h = level(h, seen)
        return _shown(self.norm(h), seen)

    def forward(self, x: Tensor) -> Tensor:
        return self.summary(self.features(x).mean(dim=(2, 3)))


class MaskedEncoder(nn.Module):
    """The encoder with what its pre-training needs: a light decoder that fills hidden patches in.

    forward(x, seen): x float32 [B, 1, H, W]; seen float32 [B, 1, H / stride, W / stride], 1 where a patch is shown;
    returns the whole image as guessed from the patches shown, like x.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or EncoderConfig()
        width = config.channels[-1]
        self.encoder = ImageEncoder(config)
        self.hidden = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, config.stride**2, 1),
            nn.PixelShuffle(config.stride),
        )

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        h = self.encoder.features(x, seen)
        return self.decoder(h * seen + self.hidden * (1 - seen))
