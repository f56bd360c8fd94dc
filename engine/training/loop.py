"""Training of the denoiser: exact resumption, because every random draw is a function of (seed, step) alone."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadbench.engine.interfaces import to_signed
from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.checkpoint import CheckpointError
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.engine.training.augment import draw_move, moved
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.contract import Step
from uadbench.engine.training.losses import OBJECTIVES
from uadbench.engine.training.place import Place
from uadbench.engine.training.state import load_state, save_state

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
    """State of a training run after ``step`` steps, handed to the caller.

    loss : running mean, each step's with a weight of 0.02; lowest : its lowest since the warm-up, None before
    learning_rate : of the last step
    """

    step: int
    loss: float
    lowest: float | None
    learning_rate: float
    seconds: float


def _draw_images(
    pools: tuple[Pool, ...], config: TrainingConfig, rng: np.random.Generator, rows: NDArray[np.int64]
) -> Tensor:
    """Those of one step's images that are in ``rows``, [B, 1, H, W] in [-1, 1]; drawn is for all."""
    weights = np.array([pool.weight for pool in pools])
    sources = rng.choice(len(pools), size=config.images_a_step, p=weights / weights.sum())
    images, mine = [], set(rows.tolist())
    for row, source in enumerate(sources):
        pool = pools[source]
        number, move = rng.integers(len(pool.images)), draw_move(config.augmentation, rng)
        if row in mine:
            images.append(moved(pool.images[number], pool.resize, move))
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
    # States of the time before there were kinds, objectives and accumulation do not name them.
    if kind != "unet":
        shape["kind"] = kind
    for name in ("objective", "t_from", "accumulate"):
        if settings[name] == getattr(TrainingConfig, name):
            del settings[name]
    return json.dumps([settings, shape, data_fingerprint], sort_keys=True)


@dataclass
class _State:
    """What a training carries from step to step.

    net : holds the weights; model : what is called, which sums gradients over processes where there are several
    """

    net: nn.Module
    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    loss: float = 0.0
    lowest: float | None = None
    seconds: float = 0.0


def _begin(
    config: TrainingConfig, network: Any, initial: Mapping[str, Tensor] | None, place: Place
) -> _State:
    torch.manual_seed(config.seed)  # initial weights only; every later draw has the step's own generator
    net: nn.Module = NETWORKS[kind_of(network)].module(network)
    if initial is not None and (strange := net.load_state_dict(initial, strict=False).unexpected_keys):
        raise ValueError(f"the network has no weights {strange[0]!r} to start from")
    net = net.to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ema = copy.deepcopy(net).requires_grad_(False)
    model, optimizer = place.prepare(net, torch.optim.Adam(net.parameters(), lr=config.learning_rate))
    return _State(net, model, ema, optimizer)


def _restore(state: _State, saved: Mapping[str, Any], place: Place, path: Path) -> None:
    try:
        state.net.load_state_dict(saved["model"])
        state.ema.load_state_dict(saved["ema"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.step, state.loss, state.seconds = (
            int(saved["step"]),
            float(saved["loss"]),
            float(saved["seconds"]),
        )
        lowest = saved.get("lowest")  # states of earlier versions lack it
        state.lowest = None if lowest is None else float(lowest)
        if place.scaler is not None and "scaler" in saved:
            place.scaler.load_state_dict(saved["scaler"])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error.__class__.__name__}); delete it to start anew"
        ) from error


def _save(path: Path, state: _State, identity: str, place: Place) -> None:
    if not place.is_main:
        return
    scaler = {} if place.scaler is None else {"scaler": place.scaler.state_dict()}
    values = {
        "model": state.net.state_dict(),
        "ema": state.ema.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "loss": state.loss,
        "lowest": state.lowest,
        "seconds": state.seconds,
    }
    save_state(path, identity, values | scaler)


def _gradients(state: _State, config: TrainingConfig, step: Step, x: Tensor, place: Place) -> float:
    """Leave the mean gradient of all the step's images in the weights; returns their mean loss."""
    objective, total = OBJECTIVES[config.objective], torch.zeros((), device=place.device)
    drawn = objective.draw(x, step, state.net.config)
    parts = zip(*(tensor.chunk(config.accumulate) for tensor in drawn), strict=True)
    for number, part in enumerate(parts, start=1):
        with place.apart(state.model, wanted=number < config.accumulate):
            with place.autocast():
                moved_part = (tensor.to(place.device) for tensor in part)
                loss = objective.loss(state.model, *moved_part) / config.accumulate
            place.backward(loss)
        total += loss.detach()
    return place.mean(total)


def _advance(
    state: _State, config: TrainingConfig, schedule: Schedule, pools: tuple[Pool, ...], place: Place
) -> None:
    """One step of the optimizer."""
    began = time.perf_counter()
    for group in state.optimizer.param_groups:
        group["lr"] = _learning_rate(config, state.step)
    rng = case_generator(config.seed, f"train-step-{state.step}")
    rows = place.rows(config.batch_size, config.accumulate)
    x = _draw_images(pools, config, rng, rows)
    state.optimizer.zero_grad(set_to_none=True)
    value = _gradients(state, config, Step(state.step, rng, config, schedule, rows), x, place)
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value} at step {state.step}; lower the learning rate")
    place.clip(state.net.parameters(), 1.0)
    state.optimizer.step()
    # Early on the average follows the weights closely, or it would remember the beginning for long.
    decay = min(config.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.ema.parameters()), list(state.net.parameters()), 1 - decay)
    state.loss = value if state.step == 0 else 0.98 * state.loss + 0.02 * value
    if state.step >= config.warmup:
        state.lowest = state.loss if state.lowest is None else min(state.lowest, state.loss)
    state.step += 1
    state.seconds += time.perf_counter() - began


def _stop_together(stop: Callable[[], None], place: Place) -> None:
    """Ask ``stop``; where it stops one process, it stops all, at the same step."""
    asked: BaseException | None = None
    try:
        stop()
    except KeyboardInterrupt as error:
        asked = error
    if place.agreed(asked is not None):
        raise asked or KeyboardInterrupt


def train(
    pools: tuple[Pool, ...],
    config: TrainingConfig,
    state_path: Path,
    data_fingerprint: str,
    save_every: int = 100,
    network: Any = None,
    initial: Mapping[str, Tensor] | None = None,
    place: Place = Place(),  # noqa: B008
    stop: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Progress, Callable[[], nn.Module]]]:
    """Train step by step; yields (progress, a function returning the averaged network) after every step.

    state_path : written every ``save_every`` steps and at the end; if it exists, training goes on from it, to the
        same result as if it had never stopped (same place and thread count). Of several processes all must see it.
    network : configuration of a kind in ``NETWORKS``; the compact U-Net's where None
    initial : weights to start from, all or some (see ``initial.starting_weights``), of the checkpoints whose hashes
        ``config.initial`` holds; None for random ones
    place : device, precision and processes. Which is faster depends on the machine, so it is no part of the training's
        identity and may change between two sessions of one training, with a result that differs in rounding
    stop : called before every step; what it raises ends the training, with the state of the last step kept
    Raises CheckpointError when the state belongs to other settings or is damaged, FloatingPointError on a loss that
    is not finite.
    """
    shape = network or UNetConfig()
    identity = _identity(config, shape, data_fingerprint)
    saved = load_state(state_path, identity)
    state, schedule = _begin(config, shape, initial, place), linear_schedule()
    if saved is not None:
        _restore(state, saved, place, state_path)
    if place.agreed(
        place.mean(torch.tensor(state.step, dtype=torch.float64, device=place.device)) != state.step
    ):
        raise CheckpointError(f"not all processes see {state_path}; give an --output that they share")

    def progress() -> tuple[Progress, Callable[[], nn.Module]]:
        rate = _learning_rate(config, max(0, state.step - 1))
        now = Progress(state.step, state.loss, state.lowest, rate, state.seconds)
        return now, lambda: copy.deepcopy(state.ema).eval()

    if state.step:  # a kill may have come between the state and the validation at this step
        yield progress()
    kept = state.step
    try:
        while state.step < config.steps:
            _stop_together(stop, place)
            _advance(state, config, schedule, pools, place)
            if state.step % save_every == 0 or state.step == config.steps:
                _save(state_path, state, identity, place)
                kept = state.step
            yield progress()
    except KeyboardInterrupt:
        if state.step > kept:
            _save(state_path, state, identity, place)
        raise
