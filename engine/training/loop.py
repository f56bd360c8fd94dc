"""Training of the denoiser: exact resumption, because every random draw is a function of (seed, step) alone."""

from __future__ import annotations

import copy
import io
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uadbench.engine.files import write_whole
from uadbench.engine.interfaces import to_signed
from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.checkpoint import CheckpointError
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.engine.training.augment import augment
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.losses import OBJECTIVES, Step

__all__ = ["Pool", "Progress", "train"]


@dataclass(frozen=True)
class Pool:
    """Healthy training slices of one source.

    images : each float [S, S] in [0, 1] on its native grid
    weight : how often this source is drawn from, relative to the others
    resize : native grid -> [size, size], as test images are resized
    """

    name: str
    images: Sequence[np.ndarray]
    weight: float
    resize: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Progress:
    """State of a training run after ``step`` steps, handed to the caller."""

    step: int
    loss: float
    seconds: float


def _draw_images(pools: tuple[Pool, ...], config: TrainingConfig, rng: np.random.Generator) -> Tensor:
    """The images of one step, [B, 1, H, W] in [-1, 1]."""
    weights = np.array([pool.weight for pool in pools])
    images = []
    for source in rng.choice(len(pools), size=config.batch_size, p=weights / weights.sum()):
        pool = pools[source]
        square = pool.images[rng.integers(len(pool.images))]
        images.append(augment(square, pool.resize, config.augmentation, rng))
    return to_signed(torch.from_numpy(np.stack(images)).unsqueeze(1))


def _learning_rate(config: TrainingConfig, step: int) -> float:
    """Linear warm-up, then a cosine down to a twentieth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def _identity(config: TrainingConfig, network: Any, data_fingerprint: str) -> str:
    """What a state must agree in, to be gone on from."""
    settings, shape, kind = asdict(config), asdict(network), kind_of(network)
    # States of the time before there were kinds and objectives do not name them.
    if kind != "unet":
        shape["kind"] = kind
    for name in ("objective", "t_from"):
        if settings[name] == getattr(TrainingConfig, name):
            del settings[name]
    return json.dumps([settings, shape, data_fingerprint], sort_keys=True)


def _load_state(path: Path, identity: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the check sums that it writes
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged file
        raise CheckpointError(
            f"{path} is damaged ({error.__class__.__name__}); delete it to start anew"
        ) from error
    if not isinstance(state, dict) or "identity" not in state:
        raise CheckpointError(f"{path} is damaged (no training's state); delete it to start anew")
    if state["identity"] != identity:
        raise CheckpointError(
            f"{path} belongs to a training with other settings or data; use another --output"
        )
    return state


def _restore(state: _State, saved: Mapping[str, Any], path: Path) -> None:
    try:
        state.model.load_state_dict(saved["model"])
        state.ema.load_state_dict(saved["ema"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.step, state.loss, state.seconds = (
            int(saved["step"]),
            float(saved["loss"]),
            float(saved["seconds"]),
        )
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error.__class__.__name__}); delete it to start anew"
        ) from error


@dataclass
class _State:
    """What a training carries from step to step."""

    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0


def _begin(config: TrainingConfig, network: Any, initial: Mapping[str, Tensor] | None) -> _State:
    torch.manual_seed(config.seed)  # initial weights only; every later draw has the step's own generator
    model = NETWORKS[kind_of(network)].module(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial is not None and (strange := model.load_state_dict(initial, strict=False).unexpected_keys):
        raise ValueError(f"the network has no weights {strange[0]!r} to start from")
    ema = copy.deepcopy(model).requires_grad_(False)
    return _State(model, ema, torch.optim.Adam(model.parameters(), lr=config.learning_rate))


def _advance(
    state: _State, config: TrainingConfig, schedule: Schedule, pools: tuple[Pool, ...], precision: str
) -> None:
    """One step of the optimizer."""
    began = time.perf_counter()
    for group in state.optimizer.param_groups:
        group["lr"] = _learning_rate(config, state.step)
    rng = case_generator(config.seed, f"train-step-{state.step}")
    x = _draw_images(pools, config, rng)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = OBJECTIVES[config.objective].loss(state.model, x, Step(state.step, rng, config, schedule))
    value = loss.item()
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {state.step}; lower the learning rate")
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
    state.optimizer.step()
    # Early on the average follows the weights closely, or it would remember the beginning for long.
    decay = min(config.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.ema.parameters()), list(state.model.parameters()), 1 - decay)
    state.loss = value if state.step == 0 else 0.98 * state.loss + 0.02 * value
    state.step += 1
    state.seconds += time.perf_counter() - began


def _save_state(path: Path, state: _State, identity: str) -> None:
    values = {
        "model": state.model.state_dict(),
        "ema": state.ema.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "loss": state.loss,
        "seconds": state.seconds,
        "identity": identity,
    }
    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_whole(path, buffer.getvalue())


def train(
    pools: tuple[Pool, ...],
    config: TrainingConfig,
    state_path: Path,
    data_fingerprint: str,
    save_every: int = 100,
    network: Any = None,
    initial: Mapping[str, Tensor] | None = None,
    precision: str = "fp32",
    stop: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Progress, Callable[[], nn.Module]]]:
    """Train step by step; yields (progress, a function returning the averaged network) after every step.

    state_path : written every ``save_every`` steps and at the end; if it exists, training goes on from it, to the
        same result as if it had never stopped (same thread count and precision)
    network : configuration of a kind in ``NETWORKS``; the compact U-Net's where None
    initial : weights to start from, all or some (see ``initial.starting_weights``), of the checkpoints whose hashes
        ``config.initial`` holds; None for random ones
    precision : fp32, or bf16 for the forward pass and the gradients; which is faster depends on the machine, so it
        is no part of the training's identity and may change between two sessions of one training
    stop : called before every step; what it raises ends the training, with the state of the last step kept
    Raises CheckpointError when the state belongs to other settings or is damaged, FloatingPointError on a loss that
    is not finite.
    """
    shape = network or UNetConfig()
    identity = _identity(config, shape, data_fingerprint)
    state, schedule = _begin(config, shape, initial), linear_schedule()
    if state_path.is_file():
        _restore(state, _load_state(state_path, identity), state_path)

    def progress() -> tuple[Progress, Callable[[], nn.Module]]:
        return Progress(state.step, state.loss, state.seconds), lambda: copy.deepcopy(state.ema).eval()

    if state.step:  # a kill may have come between the state and the validation at this step
        yield progress()
    kept = state.step
    try:
        while state.step < config.steps:
            stop()
            _advance(state, config, schedule, pools, precision)
            if state.step % save_every == 0 or state.step == config.steps:
                _save_state(state_path, state, identity)
                kept = state.step
            yield progress()
    except KeyboardInterrupt:
        if state.step > kept:
            _save_state(state_path, state, identity)
        raise
