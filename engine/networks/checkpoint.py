"""Checkpoints: half-precision safetensors with a JSON model card beside them, checked before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from uadbench.engine.files import write_whole
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.adapters import PREDICTIONS, as_epsilon
from uadbench.engine.schedule import LINEAR, Schedule, schedule_from

__all__ = [
    "CheckpointError",
    "load_checkpoint",
    "load_denoiser",
    "read_card",
    "save_checkpoint",
    "schedule_of",
    "sha256_of",
    "shipped",
]


# All that a card's network may raise on its way to a module with weights.
_MISFIT = (SafetensorError, RuntimeError, TypeError, ValueError, ArithmeticError, LookupError, MemoryError)


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and the remedy."""


def sha256_of(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def shipped(name: str) -> Path:
    """The checkpoint of a network, such as "unet-gaussian", that comes with the package; CheckpointError if none."""
    path = Path(str(resources.files("uadbench.models"))) / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no network {name} is shipped; train one with `bench train` and name its file by "
            f"--set checkpoints.{name}=FILE"
        )
    return path


def save_checkpoint(path: Path, model: nn.Module, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write weights as float16 to ``path`` and the card to its ``.json`` sibling; returns the completed card.

    model : of one of the kinds in ``NETWORKS``, with its configuration as ``config``
    """
    kind = next(name for name, known in NETWORKS.items() if type(model) is known.module)
    data = save({name: w.detach().half().contiguous() for name, w in model.state_dict().items()})
    full = {
        "kind": kind,
        "prediction": "epsilon",
        "schedule": dict(LINEAR),
        **card,
        "network": dataclasses.asdict(model.config),  # type: ignore[call-overload]
        "sha256": sha256_of(data),
        "bytes": len(data),
    }
    write_whole(path, data)
    write_whole(path.with_suffix(".json"), (json.dumps(full, indent=1, sort_keys=True) + "\n").encode())
    return full


def read_card(path: Path) -> dict[str, Any]:
    """The model card of a checkpoint, checked: kind, prediction, schedule and hash are there and known.

    path : of the weights, NAME.safetensors; the card is NAME.json
    Raises CheckpointError when a file is missing or the card is none.
    """
    card_path = path.with_suffix(".json")
    for needed in (path, card_path):
        if not needed.is_file():
            raise CheckpointError(
                f"{needed} is missing; a checkpoint is NAME.safetensors with NAME.json beside it"
            )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or not isinstance(card.get("network"), dict):
            raise ValueError("it has no table 'network'")
        card = {"kind": "unet", "prediction": "epsilon", "schedule": dict(LINEAR), **card}
        if card["kind"] not in NETWORKS:
            raise ValueError(f"kind {card['kind']!r}; {', '.join(NETWORKS)} are known")
        if card["prediction"] not in PREDICTIONS:
            raise ValueError(f"prediction {card['prediction']!r}; {', '.join(PREDICTIONS)} are known")
        if not isinstance(card.get("sha256"), str):
            raise ValueError("it has no sha256")
        schedule_of(card)
    except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{card_path} is no model card ({reason}); copy the checkpoint again"
        ) from error
    return card


def schedule_of(card: Mapping[str, Any]) -> Schedule:
    """The noise schedule that a network was trained with."""
    return schedule_from(card.get("schedule") or LINEAR)


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a checkpoint into a float32 network in evaluation mode, as it was trained, with its card.

    Raises CheckpointError when a file is missing, truncated, altered since its card was written, or of another shape.
    """
    card = read_card(path)
    kind = NETWORKS[card["kind"]]
    data = path.read_bytes()
    if sha256_of(data) != card.get("sha256"):
        raise CheckpointError(f"{path} does not match its card's hash (truncated or altered); copy it again")
    try:
        shape = {k: tuple(v) if isinstance(v, list) else v for k, v in card["network"].items()}
        model = kind.module(kind.config(**shape))
        weights = {name: w.to(torch.float32) for name, w in load(data).items()}
        model.load_state_dict(weights)
    except _MISFIT as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0]
        raise CheckpointError(f"{path} does not fit the network in its card: {reason}") from error
    return model.eval().requires_grad_(False), card


def load_denoiser(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """As ``load_checkpoint``, but whatever the network predicts, the module returned predicts eps."""
    model, card = load_checkpoint(path)
    return as_epsilon(model, card["prediction"], schedule_of(card)), card
