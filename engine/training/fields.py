"""Smooth random fields from few numbers, whoever draws them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

__all__ = ["smooth_field"]


def smooth_field(coarse: Tensor, size: int) -> Tensor:
    """Fields [B, C, size, size] through coarse ones [B, C, cells, cells], which vary over size / cells pixels."""
    return functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
