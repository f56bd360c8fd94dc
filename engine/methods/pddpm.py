"""pDDPM: noise in one patch at a time, the rest of the image as context (Behrendt et al. 2023, arXiv 2303.03758)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result, Tools

__all__ = ["PDDPM", "patches", "restore_patches"]


def patches(height: int, width: int, share: float, overlap: bool) -> Iterator[tuple[slice, slice]]:
    """Squares of ``share`` of the shorter side that cover the image, left to right and down; with overlap every half.

    Where the squares do not come out even the last ones are moved back into the image.
    """
    side = max(1, round(share * min(height, width)))
    stride = max(1, side // 2) if overlap else side

    def starts(length: int) -> list[int]:
        return sorted({min(start, length - side) for start in range(0, length - side + stride, stride)})

    for top in starts(height):
        for left in starts(width):
            yield slice(top, top + side), slice(left, left + side)


def restore_patches(
    x: Tensor, x_t: Tensor, predict: Callable[[Tensor], Tensor], share: float, overlap: bool
) -> Tensor:
    """Every patch of x from its own noise and everything else of x; where patches overlap, their mean.

    x : [B, 1, H, W], clean; x_t : the same all over noised
    predict : [B, 1, H, W], noised in one patch -> an estimate of the clean image
    """
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for rows, columns in patches(x.shape[2], x.shape[3], share, overlap):
        one = x.clone()
        one[..., rows, columns] = x_t[..., rows, columns]
        total[..., rows, columns] += predict(one)[..., rows, columns]
        count[..., rows, columns] += 1
    return total / count


@dataclass(frozen=True)
class PDDPM:
    """Each patch is noised to a high level and restored by one network call that sees the rest of the slice clean.

    t_test : level that a patch is noised to (the paper: 500 of 1000)
    patch : side of the patches as a share of the image's (the paper: 48 of 96 pixels)
    overlap : patches every half side and the mean of what they say, nine calls instead of four
    """

    t_test: int = 500
    patch: float = 0.5
    overlap: bool = False

    def __post_init__(self) -> None:
        if not 0.05 <= self.patch <= 1:
            raise ValueError(f"patch is {self.patch}; a share of the side from 0.05 to 1 is needed")

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        x_t = tools.add_noise(x, self.t_test, tools.noise(self.t_test))
        x_rec = restore_patches(
            x, x_t, lambda one: tools.predict_x0(one, self.t_test), self.patch, self.overlap
        )
        return Result(residual(x, x_rec), x_rec)
