"""Networks for back ends whose convolutions keep an image's channels last: the same sums, but for rounding, faster.

Nothing in between turns the image round and back, as the operator of group norms, a level's embedding that is added as
a map, and attention that asks for [B, C, H * W] would. What was doubled in size is convolved before it is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.engine.networks.diffusion_unet import DiffusionUNet, monai_blocks
from uadbench.engine.networks.unet import Attention, ShiftedNorm, Upsample

__all__ = ["PlainNorm", "channels_last"]


class PlainNorm(nn.Module):
    """A group norm from each channel's means, [B, C, ...] -> the same; two passes, as one would cancel in fp32.

    The operator's reshape to [B, groups, rest] wants the channels before the pixels.
    shift : [B, C], is added to all of a channel's pixels first, without a map of the sums: it moves the mean
    """

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps
        self.groups, self.channels = layer.num_groups, layer.num_channels

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        pixels, in_group = tuple(range(2, x.ndim)), self.channels // self.groups
        each, beside = (-1, self.groups, in_group), (-1, self.channels, *[1] * len(pixels))

        def of_group(values: Tensor) -> Tensor:
            """The mean over a group's channels, for each of them: [B, C] -> [B, groups, C / groups].

            Expanded, not multiplied by ones: where the image is in 8 bits, OpenVINO 2026.4.1 gets such a product wrong
            for more images than there are groups.
            """
            return values.reshape(each).mean(2, keepdim=True).expand(-1, -1, in_group)

        centre = of_group(x.mean(pixels) if shift is None else x.mean(pixels) + shift)
        if shift is not None:
            centre = centre - shift.reshape(each)
        x = x - centre.reshape(beside)
        squares = torch.linalg.vector_norm(x, dim=pixels).square() / math.prod(x.shape[2:])
        scale = 1 / (of_group(squares) + self.eps).sqrt()
        if self.weight is None:
            return x * scale.reshape(beside)
        scale = scale * self.weight.reshape(each)
        return x * scale.reshape(beside) + self.bias.reshape(beside)


class PlainAttention(nn.Module):
    """Attention whose heads part the channels of each pixel: [B, H * W, heads, C / heads]."""

    def __init__(self, block: Attention) -> None:
        super().__init__()
        self.norm, self.qkv, self.out, self.heads = block.norm, block.qkv, block.out, block.heads

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = (one.transpose(1, 2) for one in qkv.unbind(2))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h, w, c)
        return x + self.out(y.permute(0, 3, 1, 2))


class TokenAttention(nn.Module):
    """MONAI's spatial attention, whose linear layers take the pixels as they lie: [B, H * W, C]."""

    def __init__(self, norm: nn.Module, attn: nn.Module) -> None:
        super().__init__()
        self.norm, self.attn = norm, attn

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        return x + self.attn(tokens).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class PlainResidual(nn.Module):
    """MONAI's residual block, whose level is told to its second norm, and never added to a map."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        if block.upsample is not None or block.downsample is not None:
            raise ValueError(f"{type(block).__name__} changes the size; known is one that does not")
        self.norm1, self.conv1, self.time_emb_proj = block.norm1, block.conv1, block.time_emb_proj
        self.norm2, self.conv2, self.skip_connection = block.norm2, block.conv2, block.skip_connection

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))), self.time_emb_proj(F.silu(emb)))
        answer: Tensor = self.skip_connection(x) + self.conv2(F.silu(h))
        return answer


class TransposedUpsample(nn.Module):
    """Doubled sides and a 3 x 3 convolution as one transposed convolution of 4 x 4: four products a pixel, not nine."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        known = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        known |= {"padding_mode": "zeros"}
        if any(getattr(conv, name) != value for name, value in known.items()):
            raise ValueError(f"{conv} follows an upsampling; known is {known}")
        flipped = conv.weight.detach().flip(2, 3).transpose(0, 1)  # [in, out, 3, 3], the last tap first
        # Each of the two pixels that repeat an input hands it to three outputs, the second to those one further on.
        taps = [F.pad(flipped, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)]
        self.conv = nn.ConvTranspose2d(
            conv.in_channels, conv.out_channels, 4, stride=2, padding=1, device="meta"
        )
        self.conv.weight, self.conv.bias = nn.Parameter(torch.stack(taps).sum(0)), conv.bias

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        answer: Tensor = self.conv(x)
        return answer


def channels_last(network: nn.Module, transposed: bool = True) -> nn.Module:
    """A copy with norms, attention, upsampling and MONAI's residual blocks replaced by their like of this file.

    transposed : also upsampling. Not where convolutions are in 8 bits, which are as fast, nor in a file of bf16, for
        which TensorRT-RTX 1.7.1 has no transposed convolution
    Raises ValueError for a block of a kind that is not known here.
    """
    twins: dict[type, Callable[[Any], nn.Module]] = {
        nn.GroupNorm: PlainNorm,
        ShiftedNorm: PlainNorm,
        Attention: PlainAttention,
    }
    ups: dict[type, Callable[[Any], nn.Module]] = {Upsample: TransposedUpsample}
    if any(isinstance(one, DiffusionUNet) for one in network.modules()):
        residual, attention, upsample = monai_blocks()
        twins |= {
            residual: PlainResidual,
            attention: lambda block: TokenAttention(block.norm, block.attn),
        }
        ups[upsample] = lambda block: TransposedUpsample(block.postconv.conv)
    if transposed:
        twins |= ups

    def replace(module: nn.Module) -> None:
        for name, child in module.named_children():
            if type(child) in twins:
                child = twins[type(child)](child)
                setattr(module, name, child)
            replace(child)

    holder = nn.ModuleList([copy.deepcopy(network)])  # so that the network itself may be a norm
    replace(holder)
    return holder[0]
