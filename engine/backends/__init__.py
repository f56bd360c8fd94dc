"""Back ends by name. Each is imported only when it is asked for, and none stands in for another."""

from __future__ import annotations

import difflib
from pathlib import Path

from uadbench.engine.backends.torch import BackendError, TorchDenoiser
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.models.checkpoint import load_checkpoint

__all__ = ["BACKENDS", "BackendError", "open_backend"]

BACKENDS = ("torch",)


def open_backend(
    name: str,
    checkpoint: Path,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
    batch_size: int = 1,
) -> Denoiser:
    """Bind a checkpoint to a back end.

    threads : CPU threads for back ends that keep their own pool; torch takes the process-wide setting
    batch_size : largest batch that will be asked for; back ends with static shapes compile for it
    Raises BackendError on an unknown name or precision, or where the back end is not installed or does not run here.
    """
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BackendError(f"unknown back end {name!r}; choose from {', '.join(BACKENDS)}.{hint}")
    model, card = load_checkpoint(checkpoint)
    return TorchDenoiser(model, card, precision, device)
