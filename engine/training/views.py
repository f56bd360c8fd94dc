"""Views of healthy slices for ``training.perceptual``: what means nothing, and tissue that does not belong."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from uadbench.engine.anomaly import gaussian_smooth
from uadbench.engine.post import FOREGROUND
from uadbench.engine.training.fields import smooth_field

__all__ = ["augment_geometry", "cut_paste", "nuisance_view"]


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=rng) * (high - low) + low


def random_field(batch: int, channels: int, size: int, cells: int, rng: torch.Generator) -> Tensor:
    """Random fields [B, C, size, size] in about [-1, 1] that vary over size / cells pixels."""
    return smooth_field(uniform((batch, channels, cells, cells), -1, 1, rng), size)


def warp(image: Tensor, matrix: Tensor, displacement: Tensor) -> Tensor:
    """Sample image [B, 1, S, S] under affine maps [B, 2, 3] plus displacements [B, 2, S, S] in pixels."""
    grid = functional.affine_grid(matrix, list(image.shape), align_corners=False)
    grid = grid + displacement.permute(0, 2, 3, 1) * (2 / image.shape[-1])
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def augment_geometry(image: Tensor, rng: torch.Generator) -> Tensor:
    """Affine (10 degrees, 10 % shift, scale 0.9 .. 1.1), flip left-right, as the papers; [B, 1, S, S]."""
    batch = image.shape[0]
    angle = uniform((batch,), -math.pi / 18, math.pi / 18, rng)
    scale = uniform((batch,), 0.9, 1.1, rng)
    flip = torch.randint(0, 2, (batch,), generator=rng) * 2.0 - 1
    cos, sin, shift = angle.cos() * scale, angle.sin() * scale, uniform((batch, 2), -0.2, 0.2, rng)
    rows = [torch.stack([cos * flip, -sin, shift[:, 0]], 1), torch.stack([sin * flip, cos, shift[:, 1]], 1)]
    return warp(image, torch.stack(rows, 1), torch.zeros(batch, 2, *image.shape[2:]))


def nuisance_view(image: Tensor, rng: torch.Generator, strength: float = 1.0) -> Tensor:
    """What a reconstruction may change without meaning it; [B, 1, S, S] in [0, 1] to the same.

    Displacement up to a pixel, blur (sigma to 1.8 px), gamma 0.85 .. 1.18, gain and bias field 10 %, noise to 0.06.
    """
    batch, size = image.shape[0], image.shape[-1]
    identity = torch.eye(2, 3).expand(batch, 2, 3)
    image = warp(image, identity, strength * random_field(batch, 2, size, 8, rng))
    blurred = gaussian_smooth(image, 1.8 * strength)
    image = torch.lerp(image, blurred, uniform((batch, 1, 1, 1), 0, 1, rng))
    image = image.clamp(1e-4, 1) ** torch.exp(strength * uniform((batch, 1, 1, 1), -0.16, 0.16, rng))
    gain = uniform((batch, 1, 1, 1), -0.1, 0.1, rng) + 0.1 * random_field(batch, 1, size, 4, rng)
    image = image * (1 + strength * gain)
    sigma = uniform((batch, 1, 1, 1), 0, 0.06, rng) * strength
    return (image + sigma * torch.randn(image.shape, generator=rng)).clamp(0, 1)


def cut_paste(image: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a soft patch of another slice, moved up to a quarter of the side, into each; returns (image, mask).

    image : [B, 1, S, S] in [0, 1]; mask : [B, 1, S, S], the share of foreign tissue where both show tissue
    """
    batch, size = image.shape[0], image.shape[-1]
    shift = torch.randint(-size // 4, size // 4, (2,), generator=rng).tolist()
    foreign = torch.roll(image.roll(1, 0), shift, (2, 3))
    tissue = (image > FOREGROUND) & (foreign > FOREGROUND)
    # A blob: a random field minus a cone around a random place of tissue, cut at zero, edges softened.
    places = torch.multinomial(tissue.flatten(1) + 1e-6, 1, generator=rng)
    rows, columns = (places // size).view(-1, 1, 1, 1), (places % size).view(-1, 1, 1, 1)
    axis = torch.arange(size)
    distance = ((axis.view(1, 1, -1, 1) - rows) ** 2 + (axis.view(1, 1, 1, -1) - columns) ** 2).sqrt()
    radius = uniform((batch, 1, 1, 1), 3, 18, rng)
    blob = (distance / radius + 0.5 * random_field(batch, 1, size, 12, rng) < 1).float()
    mask = gaussian_smooth(blob, 1.0) * tissue
    return torch.lerp(image, foreign, mask), mask
