"""What an objective is: what a batch is drawn from, what is computed of it, and how a network taught so is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadbench.engine.schedule import Schedule
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.objectives import draw_levels, noise_fields, noised

__all__ = ["Batch", "Estimate", "Objective", "Step", "channels_last"]


@dataclass(frozen=True)
class Step:
    """What a batch may be drawn from: the step's number and generator, the training's settings, the schedule.

    rows : which of the step's images are this process's; drawn is for all, so that nothing hangs on how they are shared
    """

    number: int
    rng: np.random.Generator
    config: TrainingConfig
    schedule: Schedule
    rows: NDArray[np.int64]

    def noised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t, t, noise): each image at a level of its own, int64 [B] counted from the clean image."""
        config, count = self.config, self.config.images_a_step
        drawn = draw_levels(
            self.rng, count, config.t_focus, config.focus_share, self.schedule.length, config.t_from
        )
        t = drawn[self.rows]
        ids = [f"train-{self.number}-{i}" for i in self.rows]
        noise = noise_fields(config.noise, config.seed, ids, t, x)
        levels = torch.from_numpy(t)
        return noised(self.schedule, x, levels, noise), levels, noise


Batch = tuple[Tensor, ...]  # what a loss looks at, the images along the first axis of each
Estimate = Callable[[nn.Module, Tensor, int, Tensor, Schedule], Tensor]


def channels_last(x: Tensor) -> Tensor:
    """As convolutions on CPUs and tensor cores want it."""
    return x.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Objective:
    """One thing that networks are taught.

    network : name of the checkpoint, less the kind of noise where ``noisy``
    prediction : for the card, see ``networks.adapters``; of no meaning for a network that does not denoise
    presets : name -> shape of the network
    draw : (x, step, the network's configuration) -> what the loss looks at, on the CPU
    loss : (model, what was drawn) -> a mean over images, so that equal parts of a batch have the batch's as their mean
    estimate : (model, x, t, noise, schedule) -> the clean image as the method will see it, for validation
    levels : kind of noise -> (first, last) level that most draws come from
    validated : levels, or strengths of anomalies, at which the estimate's error is recorded; 0 where there is neither
    judged : the level at which lesions are looked for: the highest of ``validated`` that is none above a method's own;
        None where the network is no method's denoiser
    weighted : whether an error weighs by its level, as the training's ``weighting`` says
    partial : whether some of the network's weights take no part in the loss
    score : (model, x) -> a map of lesions [B, 1, H, W] >= 0, where that is not the estimate's residual
    asked : strengths of anomalies that methods tell the network; none where it undoes noise
    """

    title: str
    network: str
    prediction: str
    presets: Mapping[str, Any]
    draw: Callable[[Tensor, Step, Any], Batch]
    loss: Callable[..., Tensor]
    estimate: Estimate
    levels: Callable[[str], tuple[int, int]]
    validated: tuple[int, ...]
    judged: int | None
    noisy: bool = True
    weighted: bool = False
    partial: bool = False
    score: Callable[[nn.Module, Tensor], Tensor] | None = None
    asked: tuple[int, ...] = ()

    def name(self, noise: str) -> str:
        """Of the checkpoint, such as "unet-gaussian"."""
        return f"{self.network}-{noise}" if self.noisy else self.network
