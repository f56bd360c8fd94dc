"""What a denoiser is trained on: which levels are drawn, and what an error at each level weighs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import Schedule

__all__ = ["WEIGHTINGS", "draw_levels", "noise_fields", "noised", "snr"]

Floats = NDArray[np.float64]


def snr(schedule: Schedule, t: NDArray[np.integer]) -> Floats:
    """Signal-to-noise ratio abar / (1 - abar) at levels t >= 1."""
    abar = schedule.abar[t]
    return np.asarray(abar / (1 - abar))


# Factor of the squared error of eps, as a function of the level's signal-to-noise ratio.
WEIGHTINGS: dict[str, Callable[[Floats], Floats]] = {
    # Ho et al. 2020, eq. 14: half of this loss comes from levels where next to nothing is decided.
    "plain": np.ones_like,
    # Hang et al. 2023 (doi:10.48550/arXiv.2303.09556), eq. 8 with gamma = 5, for a network that predicts eps.
    "min-snr-5": lambda ratio: np.minimum(ratio, 5.0) / ratio,
    # Choi et al. 2022 (doi:10.48550/arXiv.2204.00227), eq. 8 with k = gamma = 1.
    "p2": lambda ratio: 1 / (1 + ratio),
}


def draw_levels(
    rng: np.random.Generator, count: int, t_focus: int, focus_share: float, length: int, t_from: int = 1
) -> NDArray[np.int64]:
    """Levels of ``count`` images: ``focus_share`` of them uniform in t_from .. t_focus, the others in 1 .. length."""
    focused = rng.random(count) < focus_share
    within, anywhere = rng.integers(t_from, t_focus + 1, count), rng.integers(1, length + 1, count)
    return np.where(focused, within, anywhere)


def noise_fields(kind: str, seed: int, ids: list[str], levels: np.ndarray, x: Tensor) -> Tensor:
    """Noise of the form of x [B, 1, H, W], each image's for its own level."""
    shape = (x.shape[2], x.shape[3])
    return torch.cat(
        [noise_source(kind, seed, [name], shape)(int(t)) for name, t in zip(ids, levels, strict=True)]
    )


def noised(schedule: Schedule, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """Images x [B, 1, H, W], each brought to its own level t [B] with its own noise: Ho et al. 2020, eq. 4."""
    abar = torch.from_numpy(schedule.abar)[t].float()[:, None, None, None]
    return abar.sqrt() * x + (1 - abar).sqrt() * noise
