"""Mend: what a network would change back, weighed by which way lesions differ and by the other half of the head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uadbench.engine.anomaly import gaussian_smooth
from uadbench.engine.interfaces import Result, Tools, to_unit
from uadbench.engine.methods.tuning import SIGMA, candidates, fit, sigma_is_open, width

__all__ = ["COARSE_NOISE", "PLACED", "Mend"]

# What the network is asked to undo: anomalies at some places, or coarse noise all over
PLACED, COARSE_NOISE = 1, 2


@dataclass(frozen=True)
class Mend:
    """A method of this project (docs/methods/mend.md): the geometric mean of T, e + A and D; no noise and no chain.

    T : the change that the network undoes, smoothed, as far as it points the way lesions do; of two questions, what
        both answers have
    A : how much a place differs from its mirror image, that way, as the floor ``asymmetry`` says
    D : how far the place itself is along that way, as the floor ``intensity`` says

    coarse : also ask what would have to be undone were there coarse noise in the image, as a DAE does; twice the calls
    mirrored : also show the network the mirrored image, and average; twice the calls
    sigma : of the smoothing of T and D, px; None: open, and with it ``signed``; validation lesions decide
    signed : take the way lesions point into account at all; without it, the map is T of absolute changes
    asymmetry : e, what a place counts that is like its mirror image; None leaves A out
    wide : of the smoothing of A, px
    intensity : whether D is a factor
    """

    coarse: bool = True
    mirrored: bool = True
    sigma: float | None = SIGMA
    signed: bool = True
    asymmetry: float | None = 0.05
    wide: float = 8.0
    intensity: bool = True

    wants_fit, fit = sigma_is_open, fit

    def evidence(self, x: Tensor, tools: Tools) -> Tensor:
        """The map of every candidate from the same calls: [B, candidates, H, W]."""
        changes = self._changes(x, tools)
        return torch.cat([one._map(changes, x, tools) for one in candidates(self)], dim=1)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        changes = self._changes(x, tools)
        return Result(self._map(changes, x, tools), (x + torch.stack(changes).mean(dim=0)).clamp(-1, 1))

    def _map(self, changes: list[Tensor], x: Tensor, tools: Tools) -> Tensor:
        sigma, sign, image = width(self), tools.lesion_sign, to_unit(x)
        undone = [gaussian_smooth(-change / 2, sigma) for change in changes]  # what stood out, in [0, 1]
        if not self.signed:
            return _geometric_mean([one.abs() for one in undone])
        factors = [_geometric_mean([sign * one for one in undone])]
        if self.asymmetry is not None:
            differs = gaussian_smooth(image - image.flip(-1), self.wide)
            factors.append(self.asymmetry + (sign * differs).clamp_min(0))
        if self.intensity:
            smooth = gaussian_smooth(image, sigma)
            factors.append(smooth if sign > 0 else 1 - smooth)
        return _geometric_mean(factors)

    def _changes(self, x: Tensor, tools: Tools) -> list[Tensor]:
        """What would have to be undone, for each thing that is asked; [B, 1, H, W] each."""
        return [self._change(x, tools, t) for t in ((PLACED, COARSE_NOISE) if self.coarse else (PLACED,))]

    def _change(self, x: Tensor, tools: Tools, t: int) -> Tensor:
        change: Tensor = tools.restore(x, t)[:, :1]
        if not self.mirrored:
            return change
        return torch.add(change, tools.restore(x.flip(-1), t)[:, :1].flip(-1)) / 2


def _geometric_mean(maps: list[Tensor]) -> Tensor:
    """0 where any of them is not positive."""
    return torch.stack(maps).clamp_min(0).prod(dim=0).pow(1 / len(maps))
