"""Exports of the tiny networks in the forms that TensorRT is given, each made once."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import onnx

from support import tiny_network as tiny
from uadbench.engine.backends.artifacts import Artifact, manifest_path, read_artifact, write_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.tensorrt_build import Recipe
from uadbench.engine.networks.checkpoint import load_denoiser, save_checkpoint
from uadbench.exporters.onnx import export_unet


def make_network(folder: Path, conditioned: bool = False) -> Path:
    """A checkpoint; the network that is not conditioned is that of ``tiny_network``."""
    if not conditioned:
        return tiny.make_checkpoint(folder)
    path = folder / "conditioned.safetensors"
    save_checkpoint(path, tiny.make_conditioned(), {"noise": "gaussian"})
    return path


def make_engine_source(
    folder: Path,
    precision: str = "fp32",
    batch: int = 2,
    conditioned: bool = False,
    fused: bool | None = None,
) -> Path:
    """unet.onnx with its manifest: fp32 with attention written out, below that as one operator, as engines take it."""
    fused = precision != "fp32" if fused is None else fused
    path = folder / "unet.onnx"
    data, manifest = _exported(precision, batch, conditioned, fused)
    path.write_bytes(data)
    manifest_path(path).write_bytes(manifest)
    return path


def engine_source(folder: Path, *args: object, **more: object) -> Artifact:
    """The same, read."""
    return read_artifact(make_engine_source(folder, *args, **more))  # type: ignore[arg-type]


def relabelled_source(folder: Path, precision: str) -> Path:
    """Another file that says it is of this precision, for fakes, which look at no more: an export takes seconds."""
    path = make_engine_source(folder)
    manifest, model = json.loads(manifest_path(path).read_text()), onnx.load(str(path))
    model.producer_version = precision
    write_artifact(path, model.SerializeToString(), manifest | {"precision": precision})
    return path


def recipe_of(
    artifact: Artifact, precision: str = "fp32", capability: tuple[int, int] = (8, 9), mixed: bool = False
) -> Recipe:
    """How an engine of it is built: for the shapes of the file, with a gibibyte of workspace."""
    shapes = {entry["name"]: tuple(entry["shape"]) for entry in artifact.manifest["inputs"]}
    return Recipe(precision, shapes, capability, 1 << 30, mixed=mixed)


@functools.cache
def _exported(precision: str, batch: int, conditioned: bool, fused: bool) -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        model, card = load_denoiser(make_network(Path(folder), conditioned))
        path = Path(folder) / "unet.onnx"
        form = Form(precision, "fused" if fused else "plain", batch)
        export_unet(model, card, path, form, size=tiny.SIZE)
        return path.read_bytes(), manifest_path(path).read_bytes()
