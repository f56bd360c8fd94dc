"""How good a denoiser is, on healthy slices that it was not trained on and with noise that never changes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from uadbench.engine.interfaces import to_signed, to_unit
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.training.contract import Objective
from uadbench.engine.training.objectives import noise_fields, noised

__all__ = ["BANDS", "clean_errors", "device_of", "reconstructions", "validation_loss"]

BANDS = ((1, 50), (51, 150), (151, 250), (251, 400), (401, 1000))


@torch.inference_mode()
def validation_loss(model: nn.Module, images: np.ndarray, noise: str, seed: int = 0) -> Mapping[str, float]:
    """Mean squared error of eps by band of levels, with fixed noise; images float32 [N, H, W] in [0, 1]."""
    device = device_of(model)
    x, schedule = to_signed(torch.from_numpy(images).unsqueeze(1)), linear_schedule()
    losses = {}
    for low, high in BANDS:
        # Images come source by source: shuffled levels keep the bands from comparing sources instead.
        t = np.random.default_rng(seed).permutation(
            np.linspace(low, high, len(images)).round().astype(np.int64)
        )
        ids = [f"validation-{low}-{i}" for i in range(len(images))]
        eps = noise_fields(noise, seed, ids, t, x)
        levels = torch.from_numpy(t)
        predicted = model(noised(schedule, x, levels, eps).to(device), (levels - 1).to(device))
        losses[f"{low}-{high}"] = F.mse_loss(predicted.cpu(), eps).item()
    return losses


@torch.inference_mode()
def reconstructions(
    model: nn.Module, images: np.ndarray, noise: str, objective: Objective, levels: tuple[int, ...] = ()
) -> np.ndarray:
    """Estimates of the clean image at several levels, float32 [len(levels), N, H, W] in [0, 1].

    levels : those that the objective is validated at where none are given
    """
    device, schedule = device_of(model), linear_schedule()
    x = to_signed(torch.from_numpy(images).unsqueeze(1)).to(device)
    ids = [f"grid-{i}" for i in range(len(images))]
    rows = []
    for t in levels or objective.validated:
        shape = (x.shape[2], x.shape[3])
        fields = (
            noise_source(noise, 0, ids, shape, str(device))(t) if objective.noisy else torch.zeros_like(x)
        )
        rows.append(to_unit(objective.estimate(model, x, t, fields, schedule)).squeeze(1).cpu().numpy())
    return np.stack(rows)


def device_of(model: nn.Module) -> torch.device:
    """Where the network is; one without weights is on the CPU."""
    weight = next(model.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device


def clean_errors(
    model: nn.Module, images: Mapping[str, np.ndarray], noise: str, objective: Objective
) -> dict[str, dict[str, float]]:
    """Mean squared error of the estimate of the clean image, in [0, 1], by source and level.

    images : source -> float32 [N, H, W] in [0, 1]
    """
    return {
        source: {
            str(t): float(np.square(row - slices).mean())
            for t, row in zip(
                objective.validated, reconstructions(model, slices, noise, objective), strict=True
            )
        }
        for source, slices in images.items()
    }
