"""A denoiser for any back end from a checkpoint: networks are exported on demand and kept in the user's cache."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from uadbench.bench.plan.config import digest
from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.networks.checkpoint import load_checkpoint, sha256_of
from uadbench.engine.networks.unet import UNet

__all__ = ["cache_folder", "cached_artifact", "open_denoiser"]

ARTIFACT = "unet.onnx"


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
    source = checkpoint if name == "torch" else cached_artifact(checkpoint, cache)
    return open_backend(name, source, precision, device, threads, batch_size)


def cached_artifact(checkpoint: Path, cache: Path | None = None, batch: int | None = None) -> Path:
    """The U-Net of a checkpoint as ONNX, from the cache, or exported into it now.

    One file with an open batch size serves all: ONNX Runtime runs it as fast as one of a fixed size, and OpenVINO
    fixes the size itself when it compiles. The entry's name is a hash of all that decides its content: the
    checkpoint, opset, batch, the code that exports and the versions of the packages that do.
    """
    from uadbench.exporters import onnx as exporter

    model, card = load_checkpoint(checkpoint)
    key = _key(card["sha256"], batch, exporter)
    folder = cache_folder(cache)
    entry = folder / key
    if not entry.is_dir():
        _export_into(folder, entry, exporter, model, card, batch)
    path = entry / ARTIFACT
    found = read_artifact(path).manifest["source"]["sha256"]
    if found != card["sha256"]:
        raise BackendError(
            f"{path} was made from another checkpoint ({found[:12]}, not {card['sha256'][:12]}); delete {entry}"
        )
    return path


def cache_folder(given: Path | None = None) -> Path:
    """The cache of exported networks, made if need be, for this user alone (mode 0700).

    Raises BackendError when it belongs to someone else, or others could change what is in it.
    """
    import platformdirs

    folder = given or platformdirs.user_cache_path("uadbench") / "onnx"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise BackendError(f"{folder}: cannot hold exported networks ({error.strerror})") from error
    if os.name == "posix":
        if status.st_uid != os.getuid():
            raise BackendError(
                f"{folder}: belongs to another user; remove it or set XDG_CACHE_HOME to a folder of yours"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            folder.chmod(0o700)
    return folder


def _key(sha256: str, batch: int | None, exporter: Any) -> str:
    import inspect

    code = [Path(inspect.getfile(thing)).read_bytes() for thing in (exporter.export_unet, UNet)]
    return digest(
        {
            "checkpoint": sha256,
            "opset": exporter.OPSET,
            "batch": batch,
            "code": [sha256_of(text) for text in code],
            "versions": {package: _version(package) for package in exporter.PACKAGES},
        }
    )[:32]


def _version(package: str) -> str | None:
    """Installed version; None when absent, which matters only if there is something to export."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _export_into(
    folder: Path, entry: Path, exporter: Any, model: UNet, card: dict[str, Any], batch: int | None
) -> None:
    """Export beside the entry and rename, so that an entry is whole or absent, whoever else exports meanwhile."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
    try:
        exporter.export_unet(model, card, partial / ARTIFACT, batch)
        try:
            partial.rename(entry)
        except OSError:
            if not entry.is_dir():  # else another process was faster; its entry has the same content
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
