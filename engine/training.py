"""Training of the denoiser: exact resumption, because every random draw is a function of (seed, step) alone."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uadbench.engine.interfaces import to_signed
from uadbench.engine.models.checkpoint import CheckpointError
from uadbench.engine.models.unet import UNet, UNetConfig
from uadbench.engine.rng import case_generator, noise_source
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.engine.steps import predict_x0

__all__ = ["BANDS", "Pool", "Progress", "TrainingConfig", "reconstructions", "train", "validation_loss"]

BANDS = ((1, 50), (51, 150), (151, 250), (251, 400), (401, 1000))


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines the result.

    t_focus, focus_share : this share of the drawn levels lies in 1 .. t_focus, because partial diffusion starts at
        350 at most and a small network should spend its capacity there; the rest is uniform over all levels
    """

    noise: str = "gaussian"
    steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 2e-4
    warmup: int = 100
    ema: float = 0.999
    t_focus: int = 400
    focus_share: float = 0.9
    precision: str = "bf16"
    seed: int = 0
    rotate_degrees: float = 10.0
    shift: float = 0.1
    zoom: tuple[float, float] = (0.9, 1.1)


@dataclass(frozen=True)
class Pool:
    """Healthy training slices of one source and how often it is drawn from.

    images : float32 [N, H, W] in [0, 1]
    """

    name: str
    images: np.ndarray
    weight: float


@dataclass(frozen=True)
class Progress:
    """State of a training run after ``step`` steps, handed to the caller."""

    step: int
    loss: float
    seconds: float


def _draw_batch(pools: tuple[Pool, ...], config: TrainingConfig, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images [B, 1, H, W] in [-1, 1], levels int64 [B] and noise [B, 1, H, W] of one step."""
    rng = case_generator(config.seed, f"train-step-{step}")
    weights = np.array([pool.weight for pool in pools])
    images = []
    for source in rng.choice(len(pools), size=config.batch_size, p=weights / weights.sum()):
        pool = pools[source].images
        images.append(pool[rng.integers(len(pool))])
    x = _augment(torch.from_numpy(np.stack(images)).unsqueeze(1), config, rng)
    focused = rng.random(config.batch_size) < config.focus_share
    low = rng.integers(1, config.t_focus + 1, config.batch_size)
    t = np.where(focused, low, rng.integers(1, linear_schedule().length + 1, config.batch_size))
    ids = [f"train-{step}-{i}" for i in range(config.batch_size)]
    noise = _fields(config.noise, config.seed, ids, t, x)
    return to_signed(x), torch.from_numpy(t), noise


def _fields(kind: str, seed: int, ids: list[str], levels: np.ndarray, x: Tensor) -> Tensor:
    """Noise of the form of x [B, 1, H, W], each image's for its own level."""
    shape = (x.shape[2], x.shape[3])
    return torch.cat(
        [noise_source(kind, seed, [name], shape)(int(t)) for name, t in zip(ids, levels, strict=True)]
    )


def _augment(x: Tensor, config: TrainingConfig, rng: np.random.Generator) -> Tensor:
    """Random rotation, shift, zoom and left-right flip (methods.md); x in [0, 1], the outside is background."""
    b = x.shape[0]
    angle = np.deg2rad(rng.uniform(-config.rotate_degrees, config.rotate_degrees, b))
    zoom, flip = rng.uniform(*config.zoom, b), rng.choice([-1.0, 1.0], b)
    shift = 2 * rng.uniform(-config.shift, config.shift, (b, 2))
    theta = np.stack(
        [
            np.stack([np.cos(angle) * flip / zoom, -np.sin(angle) / zoom, shift[:, 0]], 1),
            np.stack([np.sin(angle) * flip / zoom, np.cos(angle) / zoom, shift[:, 1]], 1),
        ],
        axis=1,
    )
    grid = F.affine_grid(torch.from_numpy(theta).float(), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _noised(schedule: Schedule, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    abar = torch.from_numpy(schedule.abar)[t].float()[:, None, None, None]
    return abar.sqrt() * x + (1 - abar).sqrt() * noise


def _learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def _save_state(
    path: Path, model: UNet, ema: UNet, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(), **state},
        partial,
    )
    partial.replace(path)


def _load_state(path: Path, identity: str) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged file
        raise CheckpointError(
            f"{path} is damaged ({error.__class__.__name__}); delete it to start anew"
        ) from error
    if state["identity"] != identity:
        raise CheckpointError(
            f"{path} belongs to a training with other settings or data; use another --output"
        )
    return state


def train(
    pools: tuple[Pool, ...],
    config: TrainingConfig,
    state_path: Path,
    data_fingerprint: str,
    save_every: int = 100,
    network: UNetConfig | None = None,
) -> Iterator[tuple[Progress, Callable[[], UNet]]]:
    """Train step by step; yields (progress, a function returning the averaged network) after every step.

    state_path : written every ``save_every`` steps and at the end; if it exists, training goes on from it, to the
        same result as if it had never stopped (same thread count)
    Raises CheckpointError when the state belongs to other settings or is damaged, FloatingPointError on a loss that
    is not finite.
    """
    shape = asdict(network or UNetConfig())
    identity = json.dumps([asdict(config), shape, data_fingerprint], sort_keys=True)
    torch.manual_seed(config.seed)  # initial weights only; every later draw comes from _draw_batch
    model = UNet(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    first, loss_mean, seconds = 0, 0.0, 0.0
    if state_path.is_file():
        state = _load_state(state_path, identity)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        first, loss_mean, seconds = state["step"], state["loss"], state["seconds"]
    schedule = linear_schedule()
    if first == config.steps:
        yield Progress(first, loss_mean, seconds), lambda: copy.deepcopy(ema).eval()
    for step in range(first, config.steps):
        began = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(config, step)
        x, t, noise = _draw_batch(pools, config, step)
        x_t = _noised(schedule, x, t, noise).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            eps = model(x_t, t - 1)
        loss = F.mse_loss(eps.float(), noise)
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
        loss_mean = loss.item() if step == 0 else 0.98 * loss_mean + 0.02 * loss.item()
        seconds += time.perf_counter() - began
        done = step + 1
        if done % save_every == 0 or done == config.steps:
            record = {"step": done, "loss": loss_mean, "seconds": seconds, "identity": identity}
            _save_state(state_path, model, ema, optimizer, record)
        yield Progress(done, loss_mean, seconds), lambda: copy.deepcopy(ema).eval()


@torch.inference_mode()
def validation_loss(
    model: UNet, images: np.ndarray, noise: str, seed: int = 0, precision: str = "fp32"
) -> Mapping[str, float]:
    """Mean squared error of eps by band of levels, with fixed noise; images float32 [N, H, W] in [0, 1]."""
    x, schedule = to_signed(torch.from_numpy(images).unsqueeze(1)), linear_schedule()
    losses = {}
    for low, high in BANDS:
        # Images come source by source: shuffled levels keep the bands from comparing sources instead.
        t = np.random.default_rng(seed).permutation(
            np.linspace(low, high, len(images)).round().astype(np.int64)
        )
        ids = [f"validation-{low}-{i}" for i in range(len(images))]
        eps = _fields(noise, seed, ids, t, x)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            levels = torch.from_numpy(t)
            predicted = model(_noised(schedule, x, levels, eps), levels - 1)
        losses[f"{low}-{high}"] = F.mse_loss(predicted.float(), eps).item()
    return losses


@torch.inference_mode()
def reconstructions(
    model: UNet, images: np.ndarray, noise: str, levels: tuple[int, ...] = (50, 150, 250, 350)
) -> np.ndarray:
    """One-call estimates of the clean image at several levels, float32 [len(levels), N, H, W] in [0, 1]."""
    x, schedule = to_signed(torch.from_numpy(images).unsqueeze(1)), linear_schedule()
    rows = []
    for t in levels:
        ids = [f"grid-{i}" for i in range(len(images))]
        eps = noise_source(noise, 0, ids, (x.shape[2], x.shape[3]))(t)
        levels_t = torch.full((len(images),), t)
        x_t = _noised(schedule, x, levels_t, eps)
        rows.append(((predict_x0(schedule, x_t, model(x_t, levels_t - 1), t) + 1) / 2).squeeze(1).numpy())
    return np.stack(rows)
