"""Mend: what a network would change back, where it says that something was put in, and what the other half says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uadbench.engine.anomaly import gaussian_smooth
from uadbench.engine.interfaces import Result, Tools, to_unit
from uadbench.engine.methods.tuning import SIGMA, candidates, fit, sigma_is_open, width

__all__ = ["COARSE_NOISE", "PLACED", "Mend"]

# What the network is asked about: anomalies at some places, or coarse noise all over
PLACED, COARSE_NOISE = 1, 2


@dataclass(frozen=True)
class Mend:
    """A method of this project (docs/methods/mend.md): the geometric mean of T, P and e + A; no noise and no chain.

    T : what would have to be undone were there coarse noise in the image, smoothed, as far as it points the way
        lesions do
    P : how probable it is that an anomaly was put there, smoothed
    A : how much a place differs from its mirror image, that way, as the floor ``asymmetry`` says

    placed : whether P is asked for and a factor; twice the calls
    mirrored : also show the network the mirrored image, and average; twice the calls
    sigma : of the smoothing of T and P, px; None: open, and with it ``signed``; validation lesions decide
    signed : take the way lesions point into account at all; without it, T is of absolute changes and A is left out
    asymmetry : e, what a place counts that is like its mirror image; None leaves A out
    wide : of the smoothing of A, px
    """

    placed: bool = True
    mirrored: bool = True
    sigma: float | None = SIGMA
    signed: bool = True
    asymmetry: float | None = 0.02
    wide: float = 8.0

    wants_fit, fit = sigma_is_open, fit

    def __post_init__(self) -> None:
        if self.asymmetry is not None and not self.asymmetry >= 0:
            raise ValueError(f"asymmetry is {self.asymmetry}; 0 or more is needed, or none")

    def evidence(self, x: Tensor, tools: Tools) -> Tensor:
        """The map of every candidate from the same calls: [B, candidates, H, W]."""
        answers = self._answers(x, tools)
        return torch.cat([one._map(*answers, x, tools) for one in candidates(self)], dim=1)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        change, probability = self._answers(x, tools)
        return Result(self._map(change, probability, x, tools), (x + change).clamp(-1, 1))

    def _map(self, change: Tensor, probability: Tensor | None, x: Tensor, tools: Tools) -> Tensor:
        sigma, sign, image = width(self), tools.lesion_sign, to_unit(x)
        undone = gaussian_smooth(-change / 2, sigma)  # what stood out, in [0, 1]
        factors = [(sign * undone).clamp_min(0) if self.signed else undone.abs()]
        if probability is not None:
            factors.append(gaussian_smooth(probability, sigma))
        if self.signed and self.asymmetry is not None:
            differs = gaussian_smooth(image - image.flip(-1), self.wide)
            factors.append(self.asymmetry + (sign * differs).clamp_min(0))
        return torch.stack(factors).prod(dim=0).pow(1 / len(factors))

    def _answers(self, x: Tensor, tools: Tools) -> tuple[Tensor, Tensor | None]:
        """The change that takes coarse noise out, and the probability of an anomaly; [B, 1, H, W] each."""
        change = self._asked(x, tools, COARSE_NOISE)[:, :1]
        return change, self._asked(x, tools, PLACED)[:, 1:].sigmoid() if self.placed else None

    def _asked(self, x: Tensor, tools: Tools, t: int) -> Tensor:
        answer = tools.restore(x, t)
        return (answer + tools.restore(x.flip(-1), t).flip(-1)) / 2 if self.mirrored else answer
