"""Checkpoints: half-precision safetensors with a JSON model card beside them, checked before use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from uadbench.engine.networks.unet import UNet, UNetConfig

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint", "sha256_of", "shipped"]


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message names the file and the remedy."""


def sha256_of(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def shipped(noise: str) -> Path:
    """The checkpoint that comes with the package for a noise kind; raises CheckpointError where there is none."""
    path = Path(str(resources.files("uadbench.models"))) / f"unet-{noise}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint for {noise} noise is shipped; train one with `bench train --noise {noise}`"
        )
    return path


def save_checkpoint(path: Path, model: UNet, card: dict[str, Any]) -> dict[str, Any]:
    """Write weights as float16 to ``path`` and the card to its ``.json`` sibling; returns the completed card."""
    data = save({name: w.detach().half().contiguous() for name, w in model.state_dict().items()})
    card = card | {"network": dataclasses.asdict(model.config), "sha256": sha256_of(data), "bytes": len(data)}
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.replace(path)
    path.with_suffix(".json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    return card


def load_checkpoint(path: Path) -> tuple[UNet, dict[str, Any]]:
    """Read a checkpoint into a float32 network in evaluation mode, with its card.

    Raises CheckpointError when a file is missing, truncated, altered since its card was written, or of another shape.
    """
    card_path = path.with_suffix(".json")
    for needed in (path, card_path):
        if not needed.is_file():
            raise CheckpointError(
                f"{needed} is missing; a checkpoint is NAME.safetensors with NAME.json beside it"
            )
    try:
        card = json.loads(card_path.read_text())
        shape: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in card["network"].items()
        }
        config = UNetConfig(**shape)
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{card_path} is no model card ({error}); copy the checkpoint again") from error
    data = path.read_bytes()
    if sha256_of(data) != card.get("sha256"):
        raise CheckpointError(f"{path} does not match its card's hash (truncated or altered); copy it again")
    model = UNet(config)
    try:
        weights = {name: w.to(torch.float32) for name, w in load(data).items()}
        model.load_state_dict(weights)
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} does not fit the network in its card: {reason}") from error
    return model.eval().requires_grad_(False), card
