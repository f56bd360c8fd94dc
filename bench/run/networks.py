"""A denoiser for any back end from a checkpoint: networks are exported on demand and kept in the user's cache."""

from __future__ import annotations

from pathlib import Path

from uadbench.engine.backends import BACKENDS, check_backend, open_backend
from uadbench.engine.interfaces import Denoiser
from uadbench.exporters.cache import cached_artifact

__all__ = ["open_denoiser"]


def open_denoiser(
    name: str,
    checkpoint: Path,
    precision: str = "fp32",
    device: str = "cpu",
    threads: int | None = None,
    batch_size: int = 1,
    cache: Path | None = None,
) -> Denoiser:
    """Bind a checkpoint to a back end, exporting it first where the back end needs that and the cache has none.

    threads : CPU threads for back ends that keep their own pool, torch's number where None
    batch_size : largest batch that will be asked for
    cache : folder of exported networks; the user's cache folder where None

    The first export of a checkpoint takes 5 to 10 seconds on two free cores. Raises BackendError (also its kinds
    ExportError and ArtifactError) and CheckpointError, each with one line and the remedy.
    """
    check_backend(name, precision, device)  # before the export, which takes seconds
    source = checkpoint if BACKENDS[name].source == "checkpoint" else cached_artifact(checkpoint, cache)
    return open_backend(name, source, precision, device, threads, batch_size)
