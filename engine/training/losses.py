"""What networks are taught: each objective's loss on one batch, and the estimate of the clean image that it leads to.

Images are [B, 1, H, W] in [-1, 1]. Whatever an objective draws comes from the step's own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.objectives import WEIGHTINGS, draw_levels, noise_fields, noised, snr

__all__ = ["HIDDEN", "OBJECTIVES", "Objective", "Step"]

HIDDEN = 0.65  # share of the patches that masked image modelling hides (cDDPM)
ABOVE_START = 10  # levels above DDPM's start level that are trained as densely as those below


@dataclass(frozen=True)
class Step:
    """What a loss may draw from: the step's number and generator, the training's settings, the schedule."""

    number: int
    rng: np.random.Generator
    config: TrainingConfig
    schedule: Schedule

    def noised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, t, noise): each image at a level of its own, int64 [B] counted from the clean image."""
        config = self.config
        t = draw_levels(
            self.rng, len(x), config.t_focus, config.focus_share, self.schedule.length, config.t_from
        )
        ids = [f"train-{self.number}-{i}" for i in range(len(x))]
        noise = noise_fields(config.noise, config.seed, ids, t, x)
        levels = torch.from_numpy(t)
        return noised(self.schedule, x, levels, noise), levels, noise


def _noise_loss(model: nn.Module, x: Tensor, step: Step) -> Tensor:
    """Squared error of eps, weighted by the level: Ho et al. 2020, eq. 14."""
    x_t, t, noise = step.noised(x)
    weight = WEIGHTINGS[step.config.weighting](snr(step.schedule, t.numpy())).astype(np.float32)
    eps = model(_channels_last(x_t), t - 1).float()
    return (torch.from_numpy(weight)[:, None, None, None] * (eps - noise).square()).mean()


def _patch_loss(model: nn.Module, x: Tensor, step: Step) -> Tensor:
    """Absolute error of x0 inside the one patch that is noised; patches are those of the overlapping grid."""
    x_t, t, _ = step.noised(x)
    places = list(patches(x.shape[2], x.shape[3], PDDPM().patch, overlap=True))
    inside = torch.zeros_like(x, dtype=torch.bool)
    for mask, place in zip(inside, step.rng.integers(len(places), size=len(x)), strict=True):
        mask[0, places[place][0], places[place][1]] = True
    x0 = model(_channels_last(torch.where(inside, x_t, x)), t - 1).float()
    return (x0 - x)[inside].abs().mean()


def _conditioned_loss(model: nn.Module, x: Tensor, step: Step) -> Tensor:
    """Absolute error of x0, with the clean image as the condition."""
    x_t, t, _ = step.noised(x)
    return (model(_channels_last(x_t), t - 1, _channels_last(x)).float() - x).abs().mean()


def _masked_loss(model: Any, x: Tensor, step: Step) -> Tensor:
    """Squared error where patches were hidden."""
    seen = torch.from_numpy(_seen(step.rng, x, model.config.stride))
    hidden = 1 - F.interpolate(seen, size=x.shape[2:], mode="nearest")
    error = (model(_channels_last(x), seen).float() - x).square() * hidden
    return error.sum() / hidden.sum()


def _seen(rng: np.random.Generator, x: Tensor, stride: int) -> np.ndarray:
    """1 where a patch is shown: float32 [B, 1, H / stride, W / stride]."""
    rows, columns = x.shape[2] // stride, x.shape[3] // stride
    order = rng.random((len(x), rows * columns)).argsort(axis=1).argsort(axis=1)
    shown = order >= round(HIDDEN * rows * columns)
    return shown.reshape(len(x), 1, rows, columns).astype(np.float32)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


Estimate = Callable[[nn.Module, Tensor, int, Tensor, Schedule], Tensor]


def _levels(model: nn.Module, x: Tensor, t: int) -> Tensor:
    return torch.full((len(x),), t - 1)


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
    seen = torch.from_numpy(_seen(np.random.default_rng(0), x, model.config.stride))
    shown = F.interpolate(seen, size=x.shape[2:], mode="nearest")
    return shown * x + (1 - shown) * model(x, seen).float().clamp(-1, 1)


@dataclass(frozen=True)
class Objective:
    """One thing that networks are taught.

    network : name of the checkpoint, less the kind of noise where ``noisy``
    prediction : for the card, see ``networks.adapters``; of no meaning for a network that does not denoise
    presets : name -> shape of the network
    loss : (model, x, step) -> the batch's loss
    estimate : (model, x, t, noise, schedule) -> the clean image as the method will see it, for validation
    levels : kind of noise -> (first, last) level that most draws come from
    validated : levels at which the estimate's error is recorded; 0 where there is no noise
    """

    title: str
    network: str
    prediction: str
    presets: Mapping[str, Any]
    loss: Callable[[nn.Module, Tensor, Step], Tensor]
    estimate: Estimate
    levels: Callable[[str], tuple[int, int]]
    validated: tuple[int, ...]
    noisy: bool = True

    def name(self, noise: str) -> str:
        """Of the checkpoint, such as "unet-gaussian"."""
        return f"{self.network}-{noise}" if self.noisy else self.network


SHAPES = {"small": UNetConfig(), "paper": DiffusionUNetConfig()}

OBJECTIVES: dict[str, Objective] = {
    "noise": Objective(
        "the noise in the image (DDPM, AnoDDPM, THOR, AutoDDPM)",
        "unet",
        "epsilon",
        SHAPES,
        _noise_loss,
        _from_noise,
        lambda noise: (1, DDPM.preset(noise).t_start + ABOVE_START),
        (50, 150, 250, 350),
    ),
    "patch": Objective(
        "one noised patch, clean (pDDPM)",
        "patch-unet",
        "x0",
        SHAPES,
        _patch_loss,
        _from_patches,
        lambda noise: (PDDPM().t_test - 100, PDDPM().t_test + 100),
        (PDDPM().t_test,),
    ),
    "conditioned": Objective(
        "the clean image, guided by an encoder of it (cDDPM)",
        "conditioned-unet",
        "x0",
        {"small": ConditionedUNetConfig()},
        _conditioned_loss,
        _from_condition,
        lambda noise: (min(CDDPM().t_test) - 50, max(CDDPM().t_test) + 50),
        CDDPM().t_test,
    ),
    "masked": Objective(
        "hidden patches of the image (pre-training of cDDPM's encoder)",
        "masked-encoder",
        "x0",
        {"small": EncoderConfig()},
        _masked_loss,
        _from_shown,
        lambda noise: (1, 1),
        (0,),
        noisy=False,
    ),
}
