"""A training's state on disk: whole or absent, and gone on from by the same training only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from uadbench.engine.files import write_whole
from uadbench.engine.networks.checkpoint import CheckpointError

__all__ = ["load_state", "save_state"]


def save_state(path: Path, identity: str, values: Mapping[str, Any]) -> None:
    """Write tensors, numbers and texts by name; ``identity`` is what a training must agree in to go on from them."""
    buffer = io.BytesIO()
    torch.save({**values, "identity": identity}, buffer)
    write_whole(path, buffer.getvalue())


def load_state(path: Path, identity: str) -> dict[str, Any] | None:
    """What was saved, None where nothing is; CheckpointError where it is damaged or another training's."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the check sums that it writes
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a damaged file
        raise CheckpointError(
            f"{path} is damaged ({error.__class__.__name__}); delete it to start anew"
        ) from error
    if not isinstance(state, dict) or "identity" not in state:
        raise CheckpointError(f"{path} is damaged (no training's state); delete it to start anew")
    if state["identity"] != identity:
        raise CheckpointError(
            f"{path} belongs to a training with other settings or data; use another --output, or delete it"
        )
    return state
