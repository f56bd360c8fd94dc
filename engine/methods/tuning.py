"""How a floor is tuned: of a few widths and sign rules, the one with the best Dice on validation lesions.

These are the ``wants_fit``, ``evidence`` and ``fit`` (``interfaces.Fitting``) of every floor that has a ``sigma``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.interfaces import Tools

__all__ = ["SIGMA", "SIGMAS", "candidates", "dice_max", "evidence", "fit", "sigma_is_open", "width"]

SIGMA = 1.5  # the usual width, px
SIGMAS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 16.0)
THRESHOLDS = 100  # of the Dice: 0, 0.01, .. 1


def width(floor: Any) -> float:
    """The floor's smoothing in px; the usual one where it is open."""
    return SIGMA if floor.sigma is None else float(floor.sigma)


def sigma_is_open(floor: Any) -> bool:
    """Whether the width is to be fitted."""
    return floor.sigma is None


def candidates(floor: Any) -> list[Any]:
    """The floor with every width, and either sign rule where it has one."""
    rules = [{"signed": signed} for signed in (True, False)] if hasattr(floor, "signed") else [{}]
    return [replace(floor, sigma=sigma, **rule) for sigma, rule in product(SIGMAS, rules)]


def evidence(floor: Any, x: Tensor, tools: Tools) -> Tensor:
    """The map of every candidate: [B, candidates, H, W]."""
    return torch.cat([candidate(x, tools).anomaly for candidate in candidates(floor)], dim=1)


def fit(floor: Any, evidence: Tensor, lesions: Tensor) -> tuple[Any, Mapping[str, float]]:
    """The candidate with the best pooled Dice, the first of equals; see ``Fitting.fit``."""
    found = [dice_max(evidence[:, place : place + 1], lesions) for place in range(evidence.shape[1])]
    best = max(range(len(found)), key=found.__getitem__)
    chosen = candidates(floor)[best]
    rule = {"signed": float(chosen.signed)} if hasattr(chosen, "signed") else {}
    return chosen, {"sigma": chosen.sigma, **rule, "dice": found[best], "n_candidates": float(len(found))}


def dice_max(maps: Tensor, lesions: Tensor) -> float:
    """Dice over all pixels pooled where map > threshold, at the best of 0, 0.01, .. 1; 0 where nothing is lesion.

    maps : float32, >= 0; lesions : bool, of the same form
    """
    thresholds = torch.arange(THRESHOLDS + 1, dtype=torch.float64).div(THRESHOLDS).float()
    place = torch.bucketize(maps.contiguous(), thresholds)  # so many thresholds lie strictly below
    above = [
        torch.bincount(part.flatten(), minlength=THRESHOLDS + 2).flip(0).cumsum(0).flip(0)[1:]
        for part in (place, place[lesions])
    ]
    total = int(lesions.sum())
    return float((2 * above[1].double() / (above[0] + total).clamp_min(1)).max()) if total else 0.0
