"""Checkpoints: half-precision safetensors with a JSON model card beside them, checked before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import stat
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
from uadbench.engine.networks.diffusion_unet import MissingPackageError
from uadbench.engine.schedule import LINEAR, Schedule, schedule_from

__all__ = [
    "CheckpointError",
    "is_shipped",
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


def _among_shipped(name: str) -> Path:
    return Path(str(resources.files("uadbench.models"))) / f"{name}.safetensors"


def is_shipped(name: str) -> bool:
    """Whether a checkpoint of this network comes with the package."""
    return _among_shipped(name).is_file()


def shipped(name: str, given_by: str = "") -> Path:
    """The checkpoint of a network, such as "unet-gaussian", that comes with the package; CheckpointError if none.

    given_by : the option by which a user names another file, where that is not --set checkpoints.NAME=FILE
    """
    path = _among_shipped(name)
    if not is_shipped(name):
        raise CheckpointError(
            f"no network {name} is shipped; train one with `bench train`, whose --help says by which --objective, and "
            f"name its file by {given_by or f'--set checkpoints.{name}=FILE'}"
        )
    return path


def save_checkpoint(
    path: Path, model: nn.Module, card: Mapping[str, Any], half: bool = True
) -> dict[str, Any]:
    """Write weights to ``path`` and the card to its ``.json`` sibling; returns the completed card.

    model : of one of the kinds in ``NETWORKS``, with its configuration as ``config``
    half : as float16; as they are otherwise
    """
    kind = next(name for name, known in NETWORKS.items() if type(model) is known.module)
    weights = {name: w.detach().contiguous() for name, w in model.state_dict().items()}
    data = save({name: w.half() for name, w in weights.items()} if half else weights)
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
    card_path = _beside(path)
    for needed in (path, card_path):
        _check_file(needed)
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or not isinstance(card.get("network"), dict):
            raise ValueError("it has no table 'network'")
        card = {"kind": "unet", "prediction": "epsilon", "schedule": dict(LINEAR), **card}
        if card["kind"] not in NETWORKS:
            raise ValueError(f"kind {card['kind']!r:.80}; {', '.join(NETWORKS)} are known")
        if card["prediction"] not in PREDICTIONS:
            raise ValueError(f"prediction {card['prediction']!r:.80}; {', '.join(PREDICTIONS)} are known")
        if not isinstance(card.get("sha256"), str):
            raise ValueError("it has no sha256")
        schedule_of(card)
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        raise CheckpointError(
            f"{card_path} is no model card ({_reason(error)}); copy the checkpoint again"
        ) from error
    return card


def _beside(path: Path) -> Path:
    try:
        return path.with_suffix(".json")
    except ValueError as error:  # such as "." or "/"
        raise CheckpointError(
            f"{str(path)!r} names no file; give a checkpoint's, NAME.safetensors"
        ) from error


def _check_file(path: Path) -> None:
    """CheckpointError for what is no file, so that nobody waits for a pipe."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{path} is missing; a checkpoint is NAME.safetensors with NAME.json beside it"
        ) from error
    except (OSError, ValueError) as error:  # a name too long, no permission, a loop of links, a NUL
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{str(path)[:300]!r} cannot be opened ({reason}); give another file"
        ) from error
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path} is a folder, pipe or device, not a file; give a checkpoint's")


def _reason(error: BaseException) -> str:
    """The line of an error's message that says most, cut to what fits a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (lines[1] if len(lines) > 1 and lines[0].endswith(":") else lines[0])[:300]


def schedule_of(card: Mapping[str, Any]) -> Schedule:
    """The noise schedule that a network was trained with."""
    return schedule_from(card.get("schedule") or LINEAR)


def load_checkpoint(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a checkpoint into a float32 network in evaluation mode, as it was trained, with its card.

    Raises CheckpointError when a file is missing, truncated, altered since its card was written, or of another shape.
    """
    card = read_card(path)
    kind = NETWORKS[card["kind"]]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); make it readable") from error
    if sha256_of(data) != card.get("sha256"):
        raise CheckpointError(f"{path} does not match its card's hash (truncated or altered); copy it again")
    try:
        shape = {k: tuple(v) if isinstance(v, list) else v for k, v in card["network"].items()}
        config, weights = kind.config(**shape), _floats(data)
        with torch.device("meta"):  # shapes are compared before a card's sizes take memory
            kind.module(config).load_state_dict(weights, assign=True)
        model = kind.module(config)
        model.load_state_dict(weights)
    except MissingPackageError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except _MISFIT as error:
        raise CheckpointError(
            f"{path} does not fit the network in its card: {_reason(error)}; copy the checkpoint again"
        ) from error
    return model.eval().requires_grad_(False), card


def _floats(data: bytes) -> dict[str, torch.Tensor]:
    """Name -> weight, float32."""
    found = load(data)
    for name, weight in found.items():
        if not weight.is_floating_point():
            raise ValueError(f"{name[:80]!r} is of {weight.dtype}; real numbers are needed")
    return {name: weight.to(torch.float32) for name, weight in found.items()}


def load_denoiser(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """As ``load_checkpoint``, but whatever the network predicts, the module returned predicts eps.

    Raises CheckpointError also where the network is no denoiser.
    """
    model, card = load_checkpoint(path)
    if not NETWORKS[card["kind"]].denoises:
        raise CheckpointError(
            f"{path} holds a {card['kind']}, which is no denoiser; name a denoiser's checkpoint"
        )
    return as_epsilon(model, card["prediction"], schedule_of(card)), card
