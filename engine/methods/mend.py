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

    T : the change that the network undoes, smoothed, as far as it points the way lesions do
    A : how much a place differs from its mirror image, that way, as the floor ``asymmetry`` says
    D : how far the place itself is along that way, as the floor ``intensity`` says

    mirrored : also show the network the mirrored image, and average; two calls instead of one
    sigma : of the smoothing, px; None: open, and with it ``signed``; validation lesions decide, as for the floors
    signed : take the way lesions point into account at all; without it, the map is the absolute change
    asymmetry : e, what a place counts that is like its mirror image; None leaves A out
    intensity : whether D is a factor
    """

    mirrored: bool = True
    sigma: float | None = SIGMA
    signed: bool = True
    asymmetry: float | None = 0.1
    intensity: bool = True

    wants_fit, fit = sigma_is_open, fit

    def evidence(self, x: Tensor, tools: Tools) -> Tensor:
        """The map of every candidate from the same calls: [B, candidates, H, W]."""
        change = self._change(x, tools)
        return torch.cat([one._map(change, x, tools) for one in candidates(self)], dim=1)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        change = self._change(x, tools)
        return Result(self._map(change, x, tools), (x + change).clamp(-1, 1))

    def _map(self, change: Tensor, x: Tensor, tools: Tools) -> Tensor:
        sigma = width(self)
        undone = gaussian_smooth(-change / 2, sigma)  # what stood out of the healthy image, in [0, 1]
        if not self.signed:
            return undone.abs()
        sign, image = tools.lesion_sign, to_unit(x)
        factors = [sign * undone]
        if self.asymmetry is not None:
            differs = gaussian_smooth(image - image.flip(-1), sigma)
            factors.append(self.asymmetry + (sign * differs).clamp_min(0))
        if self.intensity:
            smooth = gaussian_smooth(image, sigma)
            factors.append(smooth if sign > 0 else 1 - smooth)
        product = torch.stack(factors).clamp_min(0).prod(dim=0)
        return torch.pow(product, 1 / len(factors))

    def _change(self, x: Tensor, tools: Tools) -> Tensor:
        change: Tensor = tools.restore(x, 1)[:, :1]
        if not self.mirrored:
            return change
        return torch.add(change, tools.restore(x.flip(-1), 1)[:, :1].flip(-1)) / 2
