"""What networks are taught: each objective's draws and loss, and the estimate of the clean image that it leads to.

Images are [B, 1, H, W] in [-1, 1]. Whatever an objective draws comes from the step's own generator, on the CPU; losses
are computed where the network is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.engine.methods.cddpm import CDDPM
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.methods.pddpm import PDDPM, patches, restore_patches
from uadbench.engine.networks.conditioned_unet import ConditionedUNetConfig
from uadbench.engine.networks.diffusion_unet import DiffusionUNetConfig
from uadbench.engine.networks.image_encoder import EncoderConfig
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.schedule import Schedule
from uadbench.engine.steps import add_noise, predict_x0
from uadbench.engine.training.contract import Batch, Objective, Step, channels_last
from uadbench.engine.training.objectives import WEIGHTINGS, snr
from uadbench.engine.training.restoring import RESTORING

__all__ = ["ABOVE_START", "HIDDEN", "OBJECTIVES"]

HIDDEN = 0.65  # share of the patches that masked image modelling hides (cDDPM)
ABOVE_START = 10  # levels above DDPM's start level that are trained as densely as those below


def _draw_noise(x: Tensor, step: Step, network: Any) -> Batch:
    x_t, t, noise = step.noised(x)
    weight = WEIGHTINGS[step.config.weighting](snr(step.schedule, t.numpy())).astype(np.float32)
    return x_t, t, noise, torch.from_numpy(weight)[:, None, None, None]


def _noise_loss(model: nn.Module, x_t: Tensor, t: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Squared error of eps, weighted by the level: Ho et al. 2020, eq. 14."""
    return (weight * (model(channels_last(x_t), t - 1).float() - noise).square()).mean()


def _draw_patch(x: Tensor, step: Step, network: Any) -> Batch:
    x_t, t, _ = step.noised(x)
    places = list(patches(x.shape[2], x.shape[3], PDDPM().patch, overlap=True))
    chosen = step.rng.integers(len(places), size=step.config.images_a_step)[step.rows]
    inside = torch.zeros_like(x, dtype=torch.bool)
    for mask, place in zip(inside, chosen, strict=True):
        mask[0, places[place][0], places[place][1]] = True
    return x, torch.where(inside, x_t, x), t, inside


def _patch_loss(model: nn.Module, x: Tensor, shown: Tensor, t: Tensor, inside: Tensor) -> Tensor:
    """Absolute error of x0 inside the one patch that is noised; patches are those of the overlapping grid."""
    return (model(channels_last(shown), t - 1).float() - x)[inside].abs().mean()


def _draw_conditioned(x: Tensor, step: Step, network: Any) -> Batch:
    x_t, t, _ = step.noised(x)
    return x, x_t, t


def _conditioned_loss(model: nn.Module, x: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Absolute error of x0, with the clean image as the condition."""
    return (model(channels_last(x_t), t - 1, channels_last(x)).float() - x).abs().mean()


def _draw_masked(x: Tensor, step: Step, network: Any) -> Batch:
    seen = _seen(step.rng, step.config.images_a_step, x, network.stride)[step.rows]
    return x, torch.from_numpy(seen)


def _masked_loss(model: nn.Module, x: Tensor, seen: Tensor) -> Tensor:
    """Squared error where patches were hidden."""
    hidden = 1 - F.interpolate(seen, size=x.shape[2:], mode="nearest")
    error = (model(channels_last(x), seen).float() - x).square() * hidden
    return error.sum() / hidden.sum()


def _seen(rng: np.random.Generator, count: int, x: Tensor, stride: int) -> np.ndarray:
    """1 where a patch is shown: float32 [count, 1, H / stride, W / stride]; as many patches of every image."""
    rows, columns = x.shape[2] // stride, x.shape[3] // stride
    order = rng.random((count, rows * columns)).argsort(axis=1).argsort(axis=1)
    shown = order >= round(HIDDEN * rows * columns)
    return shown.reshape(count, 1, rows, columns).astype(np.float32)


def _levels(model: nn.Module, x: Tensor, t: int) -> Tensor:
    return torch.full((len(x),), t - 1, device=x.device)


def _from_noise(model: nn.Module, x: Tensor, t: int, noise: Tensor, schedule: Schedule) -> Tensor:
    x_t = add_noise(schedule, x, t, noise)
    return predict_x0(schedule, x_t, model(x_t, _levels(model, x, t)).float(), t)


def _from_patches(model: nn.Module, x: Tensor, t: int, noise: Tensor, schedule: Schedule) -> Tensor:
    def predict(one: Tensor) -> Tensor:
        return model(one, _levels(model, x, t)).float().clamp(-1, 1)

    return restore_patches(x, add_noise(schedule, x, t, noise), predict, PDDPM().patch, overlap=False)


def _from_condition(model: nn.Module, x: Tensor, t: int, noise: Tensor, schedule: Schedule) -> Tensor:
    return model(add_noise(schedule, x, t, noise), _levels(model, x, t), x).float().clamp(-1, 1)


def _from_shown(model: Any, x: Tensor, t: int, noise: Tensor, schedule: Schedule) -> Tensor:
    """Hidden patches as guessed, the others as they are; the same patches for any network."""
    seen = torch.from_numpy(_seen(np.random.default_rng(0), len(x), x, model.config.stride)).to(x)
    shown = F.interpolate(seen, size=x.shape[2:], mode="nearest")
    return shown * x + (1 - shown) * model(x, seen).float().clamp(-1, 1)


SHAPES = {"small": UNetConfig(), "paper": DiffusionUNetConfig()}

OBJECTIVES: dict[str, Objective] = {
    "noise": Objective(
        "the noise in the image (DDPM, AnoDDPM, THOR, AutoDDPM)",
        "unet",
        "epsilon",
        SHAPES,
        _draw_noise,
        _noise_loss,
        _from_noise,
        lambda noise: (1, DDPM.preset(noise).t_start + ABOVE_START),
        (50, 150, 250, 350),
        DDPM.preset("simplex").t_start,
        weighted=True,
    ),
    "patch": Objective(
        "one noised patch, clean (pDDPM)",
        "patch-unet",
        "x0",
        SHAPES,
        _draw_patch,
        _patch_loss,
        _from_patches,
        lambda noise: (PDDPM().t_test - 100, PDDPM().t_test + 100),
        (PDDPM().t_test,),
        PDDPM().t_test,
    ),
    "conditioned": Objective(
        "the clean image, guided by an encoder of it (cDDPM)",
        "conditioned-unet",
        "x0",
        {"small": ConditionedUNetConfig()},
        _draw_conditioned,
        _conditioned_loss,
        _from_condition,
        lambda noise: (min(CDDPM().t_test) - 50, max(CDDPM().t_test) + 50),
        CDDPM().t_test,
        500,
    ),
    "masked": Objective(
        "hidden patches of the image (pre-training of cDDPM's encoder)",
        "masked-encoder",
        "x0",
        {"small": EncoderConfig()},
        _draw_masked,
        _masked_loss,
        _from_shown,
        lambda noise: (1, 1),
        (0,),
        None,
        noisy=False,
        partial=True,  # the encoder's last layer, which only the conditioned network calls
    ),
    **RESTORING,
}
