"""What a perceptual distance takes: checks that name the shapes."""

from __future__ import annotations

from torch import Tensor

__all__ = ["check_image", "check_pair"]


def check_image(x: Tensor, smallest: int) -> None:
    """ValueError unless x is [B, 1 or 3, H, W] with sides of at least ``smallest`` pixels."""
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < smallest:
        raise ValueError(
            f"expected images [B, 1 or 3, H, W] of at least {smallest} x {smallest}, got {tuple(x.shape)}"
        )


def check_pair(x: Tensor, x_rec: Tensor) -> None:
    """ValueError unless both have one shape."""
    if x.shape != x_rec.shape:
        raise ValueError(f"both images must have one shape, got {tuple(x.shape)} and {tuple(x_rec.shape)}")
