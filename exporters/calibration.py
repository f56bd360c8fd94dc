"""What int8 is calibrated on: healthy slices, noised as the methods do it, at levels from the first to the last."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uadbench.engine.methods.restored import STRENGTHS
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.adapters import restores
from uadbench.engine.networks.checkpoint import schedule_of
from uadbench.engine.rng import noise_source
from uadbench.engine.steps import add_noise

__all__ = [
    "PAIRS",
    "Calibration",
    "Healthy",
    "calibration_levels",
    "calibration_set",
    "noise_of",
    "recipe",
    "told",
]

PAIRS = 16  # of (x_t, t); 64 gave no smaller error than 8 did
# The methods begin below this part of the levels, and make most of their calls there.
FOCUS, FOCUS_SHARE = 0.4, 0.75
SEED = 0


@dataclass(frozen=True)
class Healthy:
    """Slices to calibrate on.

    record : what they are, as JSON takes it; the same record means the same slices
    load : -> float32 [N, 1, H, W] in [-1, 1]; called only where there is something to export
    """

    record: Mapping[str, Any]
    load: Callable[[], Tensor]


@dataclass(frozen=True)
class Calibration:
    """The inputs of a network, by name, one entry a pair, and what a manifest says of them."""

    inputs: Mapping[str, Tensor]
    record: Mapping[str, Any]


def calibration_levels(length: int, count: int = PAIRS) -> tuple[int, ...]:
    """So many levels from 1 to ``length``, evenly spread in two parts, the first 40 % three times as dense.

    ``count`` is 4 or more.
    """
    within = round(count * FOCUS_SHARE)
    focus = max(1, round(length * FOCUS))
    low, high = np.linspace(1, focus, within), np.linspace(focus, length, count - within + 1)[1:]
    return tuple(round(float(level)) for level in (*low, *high))


def noise_of(card: Mapping[str, Any]) -> str:
    """The kind of noise in the images that a network is shown; "none" where it undoes anomalies."""
    return "none" if restores(card) else str(card.get("noise") or "gaussian")


def _levels(card: Mapping[str, Any]) -> tuple[int, ...]:
    return calibration_levels(STRENGTHS if restores(card) else schedule_of(card).length)


def recipe(card: Mapping[str, Any], healthy: Healthy) -> dict[str, Any]:
    """All that the set of a network depends on, without loading a slice."""
    return {
        "source": dict(healthy.record),
        "noise": noise_of(card),
        "levels": list(_levels(card)),
        "seed": SEED,
    }


def told(card: Mapping[str, Any], healthy: Healthy) -> str:
    """In words, for a user: '16 training slices of phantom at 16 levels from 1 to 1000'."""
    source, levels = healthy.record, _levels(card)
    what = f"{source.get('slices')} {source.get('split')} slices of {source.get('data')}"
    return f"{what} at {len(levels)} levels from {levels[0]} to {levels[-1]}"


def calibration_set(card: Mapping[str, Any], healthy: Healthy) -> Calibration:
    """One pair a level, the slices in turns, each with noise of its own where the network knows any; the same whenever
    ``recipe`` is.

    card : of the network, whose noise and schedule are used
    """
    record, schedule = recipe(card, healthy), schedule_of(card)
    images, levels = healthy.load(), record["levels"]
    clean = images[torch.arange(len(levels)) % len(images)]
    ids = [f"calibration-{k}" for k in range(len(levels))]
    shape = (images.shape[2], images.shape[3])
    x = clean
    if record["noise"] != "none":
        fields = [noise_source(record["noise"], SEED, ids[k : k + 1], shape)(t) for k, t in enumerate(levels)]
        x = torch.cat([add_noise(schedule, clean[k : k + 1], t, fields[k]) for k, t in enumerate(levels)])
    inputs = {"x": x.float(), "timesteps": torch.tensor(levels) - 1}
    if NETWORKS[card.get("kind", "unet")].conditioned:
        inputs["cond"] = clean.float()
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in inputs.values())).hexdigest()
    return Calibration(inputs, record | {"pairs": len(levels), "sha256": digest})
