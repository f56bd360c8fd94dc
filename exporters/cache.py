"""Exported networks kept for the user, sealed (``engine.sealed``): exported on demand, again where any is damaged."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import nn

from uadbench.engine import rng, schedule, steps
from uadbench.engine.backends.artifacts import manifest_path, read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime_library import PACKAGES as QUANTIZERS
from uadbench.engine.kernels import simplex, simplex_omissions
from uadbench.engine.networks.checkpoint import load_denoiser
from uadbench.engine.sealed import entry_name, kept, open_store
from uadbench.exporters import calibration, graph, int8, layout
from uadbench.exporters import onnx as exporter
from uadbench.exporters import precision as lower
from uadbench.exporters.calibration import Healthy
from uadbench.exporters.precision import ExportError

__all__ = ["cache_folder", "cached_artifact"]

ARTIFACT = "unet.onnx"
PARTS = (ARTIFACT, manifest_path(Path(ARTIFACT)).name)
NAME, WHAT = "onnx", "exported networks"
PATIENCE_S = 600.0  # an export takes seconds; who waits longer waits for a process that hangs


def cached_artifact(
    checkpoint: Path,
    cache: Path | None = None,
    form: Form | None = None,
    healthy: Healthy | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """A checkpoint's network as ONNX, from the cache, or exported into it now.

    cache : see ``cache_folder``
    form : how it is exported, ``Form()`` where None; each form has an entry of its own
    healthy : what int8 is calibrated on, loaded only if it has to be exported
    say : is told before int8 is calibrated, and before another process is waited for

    One file with an open batch size serves every batch size: ONNX Runtime runs it as fast as one of a fixed size, and
    OpenVINO fixes the size itself when it compiles. An entry that is damaged, altered or not this user's is exported
    again.
    Raises BackendError (also its kind ExportError) and CheckpointError.
    """
    form = form or Form()
    model, card = load_denoiser(checkpoint)
    store = open_store(NAME, WHAT, PATIENCE_S, cache)
    name = _entry_name(model, card, form, healthy)

    def export(folder: Path) -> None:
        if form.precision != "int8":
            exporter.export_unet(model, card, folder / ARTIFACT, form)
            return
        if say is not None:
            say(
                f"exporting {checkpoint.stem} in int8, calibrated on {calibration.told(card, _given(healthy))}"
            )
        pairs = calibration.calibration_set(card, _given(healthy))
        exporter.export_unet(model, card, folder / ARTIFACT, form, calibration=pairs)

    kept(store, name, PARTS, export, accept=lambda entry: read_artifact(entry / ARTIFACT), say=say)
    return store.folder / name / ARTIFACT


def cache_folder(given: Path | None = None) -> Path:
    """The cache of exported networks, made if need be, for this user alone (mode 0700).

    given : None = onnx/ in the user's cache folder for uadbench
    Raises BackendError when it belongs to someone else or cannot be made.
    """
    return open_store(NAME, WHAT, PATIENCE_S, given).folder


def _given(healthy: Healthy | None) -> Healthy:
    if healthy is None:
        raise ExportError("int8 needs images to calibrate on; name another --precision")
    return healthy


def _entry_name(model: nn.Module, card: Mapping[str, Any], form: Form, healthy: Healthy | None) -> str:
    """A hash of the weights, what the card says of them, the form, and code and versions of all that export.

    In int8 also of what it is calibrated on, and of the package that quantizes.
    """
    ours = {type(part) for part in model.modules() if type(part).__module__.startswith("uadbench.")}
    code = {inspect.getfile(kind) for kind in ours} | {
        str(part.__file__) for part in (exporter, graph, layout, lower)
    }
    more: dict[str, Any] = {}
    if form.precision == "int8":
        drawn = (rng, schedule, simplex, simplex_omissions, steps)
        code |= {str(part.__file__) for part in (calibration, int8, *drawn)}
        more = {
            "calibration": calibration.recipe(card, _given(healthy)),
            "quantizer": {package: _version(package) for package in QUANTIZERS},
        }
    content = {
        **more,
        "checkpoint": card["sha256"],
        "card": {name: card.get(name) for name in ("kind", "prediction", "schedule", "network")},
        "opset": graph.opset_of(form),
        "form": dataclasses.asdict(form),
        "code": sorted(hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in code),
        "versions": {package: _version(package) for package in graph.PACKAGES},
    }
    return entry_name(content)


def _version(package: str) -> str | None:
    """Installed version; None when absent, which matters only if there is something to export."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
