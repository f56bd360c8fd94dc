"""A compact denoising U-Net for CPUs: about 4 M parameters and 6 GFLOP for a 128 x 128 image.

The image is folded by pixel-unshuffle before the first convolution, so that the expensive full-resolution level is
never computed; attention runs at the lowest level only. Pure tensor code, exportable as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "ResidualBlock", "ShiftedNorm", "UNet", "UNetConfig", "Upsample", "check_sizes"]


LARGEST = {
    "fold": 16,
    "channels": 65536,
    "blocks": 64,
    "head_channels": 4096,
    "groups": 4096,
    "embedding": 65536,
}
LEVELS = 12


def check_sizes(config: Any, largest: Mapping[str, int]) -> None:
    """ValueError unless the named fields of a network's shape are whole numbers, or tuples of them, from 1 up to these.

    Cards come from files, so nothing of any size may be built before this.
    """
    for name, most in largest.items():
        given = getattr(config, name)
        values = given if isinstance(given, tuple) else (given,)
        if not all(type(value) is int and 1 <= value <= most for value in values):
            raise ValueError(f"{name} is {given!r:.80}; whole numbers from 1 to {most} are allowed")


@dataclass(frozen=True)
class UNetConfig:
    """Shape of the network; stored in every checkpoint's card."""

    fold: int = 2
    channels: tuple[int, ...] = (64, 96, 128)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, False, True)
    head_channels: int = 32
    groups: int = 16
    embedding: int = 256

    def __post_init__(self) -> None:
        check_sizes(self, LARGEST)
        if not 1 <= len(self.channels) <= LEVELS:
            raise ValueError(f"channels has {len(self.channels)} levels; 1 to {LEVELS} are allowed")
        if len(self.attention) != len(self.channels):
            raise ValueError(f"attention has {len(self.attention)} entries for {len(self.channels)} levels")
        if any(c % self.groups or c % self.head_channels for c in self.channels):
            raise ValueError(
                f"channels {self.channels} must divide by {self.groups} and {self.head_channels}"
            )


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of t at geometrically spaced frequencies (Ho et al. 2020); [B] -> [B, width]."""
    half = width // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(10_000) / half * steps)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ShiftedNorm(nn.GroupNorm):
    """A group norm of x + shift, shift [B, C]: a level's embedding belongs to a norm, not to a map of its own."""

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        return super().forward(x if shift is None else x + shift[:, :, None, None])


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, the level's embedding added between them."""

    def __init__(self, c_in: int, c_out: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.embed = nn.Linear(config.embedding, c_out)
        self.norm2 = ShiftedNorm(config.groups, c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))), self.embed(embedding))
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Self-attention over all positions of one level."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.heads = channels // config.head_channels
        self.norm = nn.GroupNorm(config.groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(3, 4)
        q, k, v = qkv.unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, h, w)
        return x + self.out(y)


class Upsample(nn.Conv2d):
    """Sides doubled, each pixel repeated, and a 3 x 3 convolution; is one, so that checkpoints name its weights so."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class UNet(nn.Module):
    """Predicts the noise in an image.

    forward(x, timesteps): x float32 [B, 1, H, W], H and W multiples of fold * 2 ** (levels - 1);
    timesteps int64 [B], counted from 0 (level t is timestep t - 1); returns eps, same shape as x.

    block : (c_in, c_out, config) -> the residual block, called with (h, embedding)
    inputs, outputs : channels of x and of what is returned, where another network is built on this one
    """

    def __init__(
        self,
        config: UNetConfig | None = None,
        block: Callable[..., nn.Module] = ResidualBlock,
        inputs: int = 1,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.config = config = config or UNetConfig()
        widths, folded = config.channels, config.fold**2
        self.embed = nn.Sequential(
            nn.Linear(widths[0], config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        self.conv_in = nn.Conv2d(inputs * folded, widths[0], 3, padding=1)

        def stage(c_in: int, c_out: int, attention: bool) -> nn.ModuleList:
            layers: list[nn.Module] = [block(c_in, c_out, config)]
            return nn.ModuleList([*layers, Attention(c_out, config)] if attention else layers)

        self.down, self.downsample, skips, width = nn.ModuleList(), nn.ModuleList(), [widths[0]], widths[0]
        for level, c in enumerate(widths):
            for _ in range(config.blocks):
                self.down.append(stage(width, c, config.attention[level]))
                skips.append(width := c)
            if level < len(widths) - 1:
                self.downsample.append(nn.Conv2d(c, c, 3, stride=2, padding=1))
                skips.append(c)

        self.middle = nn.ModuleList(
            [
                block(width, width, config),
                Attention(width, config),
                block(width, width, config),
            ]
        )

        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        for level, c in reversed(list(enumerate(widths))):
            for _ in range(config.blocks + 1):
                self.up.append(stage(width + skips.pop(), c, config.attention[level]))
                width = c
            if level > 0:
                self.upsample.append(Upsample(c))

        self.norm_out = nn.GroupNorm(config.groups, width)
        self.conv_out = nn.Conv2d(width, outputs * folded, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        return self.body(x, self.embed_time(timesteps))

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """int64 [B] -> [B, embedding], what every block is told of the level."""
        return F.silu(self.embed(timestep_embedding(timesteps, self.config.channels[0])))

    def body(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The network itself; embedding [B, E] is handed to every block."""
        config = self.config

        def run(stage: nn.Module, h: Tensor) -> Tensor:
            for layer in stage:  # type: ignore[attr-defined]
                h = layer(h, embedding)
            return h

        h = self.conv_in(F.pixel_unshuffle(x, config.fold))
        skips = [h]
        for i, stage in enumerate(self.down):
            skips.append(h := run(stage, h))
            level, last = divmod(i + 1, config.blocks)
            if last == 0 and level <= len(self.downsample):
                skips.append(h := self.downsample[level - 1](h))
        h = run(self.middle, h)
        for i, stage in enumerate(self.up):
            h = run(stage, torch.cat([h, skips.pop()], dim=1))
            level, last = divmod(i + 1, config.blocks + 1)
            if last == 0 and level <= len(self.upsample):
                h = self.upsample[level - 1](h)
        h = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(h, config.fold)
