"""The file that a back end runs: the checkpoint itself for torch, its export for the others, made when first needed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from platformdirs import user_cache_path

from uadbench.engine.backends.artifacts import ArtifactError, read_artifact
from uadbench.engine.models.checkpoint import load_checkpoint

__all__ = ["network_file"]


def network_file(backend: str, checkpoint: Path, cache: Path | None = None) -> Path:
    """Where ``open_backend`` finds the network.

    cache : folder for exports; None is the user's cache folder. An export is named after the checkpoint's hash, the
        opset and the exporting torch, and its own hash is checked, so a stale or damaged one is never used.
    Raises CheckpointError and ExportError.
    """
    if backend == "torch":
        return checkpoint
    from uadbench.exporters.onnx import OPSET, export_unet

    model, card = load_checkpoint(checkpoint)
    folder = cache or user_cache_path("uadbench") / "exports"
    name = f"unet-{card['sha256'][:16]}-opset{OPSET}-torch{metadata.version('torch')}.onnx"
    path = folder / name
    try:
        if read_artifact(path).manifest["source"]["sha256"] == card["sha256"]:
            return path
    except (ArtifactError, KeyError, TypeError):
        pass
    folder.mkdir(parents=True, exist_ok=True)
    export_unet(model, card, path)
    return path
