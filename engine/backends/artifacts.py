"""Exported networks on disk: NAME.onnx with NAME.onnx.json, its manifest, beside it; checked before use.

What is hashed is what is loaded: a back end gets the bytes that were checked, never the path.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.backends.errors import BackendError
from uadbench.engine.files import write_whole

__all__ = [
    "Artifact",
    "ArtifactError",
    "check_cond",
    "check_levels",
    "check_precision",
    "feed",
    "manifest_path",
    "pad",
    "read_artifact",
    "write_artifact",
]

LAYOUT = 1  # of the manifest
KINDS = ("unet", "step", "perceptual-features", "perceptual-distance")


class ArtifactError(BackendError):
    """An exported network cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Artifact:
    """An exported network that matches its manifest.

    data : the ONNX model, weights included
    manifest : kind, opset, precision and attention (see ``Form``), batch ("dynamic" or a number), inputs and outputs
        (name, dtype, shape), source (sha256 of the checkpoint), versions of the exporting packages, sha256 and bytes of
        ``data``
    """

    path: Path
    data: bytes
    manifest: Mapping[str, Any]

    @property
    def batch(self) -> int | None:
        """The batch size that the network is fixed to; None when any goes."""
        return None if self.manifest["batch"] == "dynamic" else int(self.manifest["batch"])

    @property
    def precision(self) -> str:
        """What the network's products are computed in, see ``Form``."""
        return str(self.manifest.get("precision", "fp32"))

    @property
    def quantized(self) -> int:
        """How many convolutions are in 8 bits."""
        return len((self.manifest.get("quantization") or {}).get("quantized", ()))

    @property
    def conditioned(self) -> bool:
        """Whether the network is also shown the clean image."""
        return any(entry["name"] == "cond" for entry in self.manifest["inputs"])


def write_artifact(path: Path, data: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``data`` to ``path`` (NAME.onnx) and its manifest beside it; returns the completed manifest.

    A process killed in between leaves a pair that does not match, which ``read_artifact`` refuses.
    """
    manifest = dict(record) | {
        "layout": LAYOUT,
        "format": "onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
    for target, content in ((path, data), (manifest_path(path), text.encode())):
        write_whole(target, content)
    return manifest


def manifest_path(path: Path) -> Path:
    """NAME.onnx.json; NAME.json would be the checkpoint's card where both lie in one folder."""
    return path.with_name(f"{path.name}.json")


def read_artifact(path: Path, kind: str = "unet") -> Artifact:
    """Read an exported network.

    Raises ArtifactError, one line, when a file is missing, is not of this kind, or was altered since its export.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; allowed are {', '.join(KINDS)}")
    beside = manifest_path(path)
    try:
        data, text = _read(path), _read(beside)
        manifest = json.loads(text)
    except OSError as error:
        raise ArtifactError(
            f"{error.filename}: cannot be read ({error.strerror}); "
            "an exported network is NAME.onnx with NAME.onnx.json beside it, made by `bench export`"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{beside}: is no manifest ({error}); export the network again") from error
    if not isinstance(manifest, dict) or manifest.get("layout") != LAYOUT:
        raise ArtifactError(f"{beside}: is no manifest of layout {LAYOUT}; export the network again")
    if hashlib.sha256(data).hexdigest() != manifest.get("sha256"):
        raise ArtifactError(
            f"{path}: does not match its manifest's hash (truncated or altered); export the network again"
        )
    if manifest.get("kind") != kind:
        raise ArtifactError(
            f"{path}: holds a network of kind {manifest.get('kind')!r}, {kind!r} is needed; name another file"
        )
    missing = _missing(manifest)
    if missing:
        raise ArtifactError(f"{beside}: has no usable {missing!r}; export the network again")
    return Artifact(path, data, manifest)


def _read(path: Path) -> bytes:
    """The bytes of a regular file; OSError for anything else, so that a pipe is never waited for."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a file", str(path))
    return path.read_bytes()


def _missing(manifest: Mapping[str, Any]) -> str | None:
    """The first entry that back ends rely on and that is absent or of another form; None where all is well."""
    checks: dict[str, Callable[[Any], bool]] = {
        "batch": lambda value: value == "dynamic" or (type(value) is int and value > 0),
        "opset": lambda value: type(value) is int,
        "source": lambda value: isinstance(value, dict) and isinstance(value.get("sha256"), str),
        "inputs": _are_tensors,
        "outputs": _are_tensors,
    }
    return next((key for key, usable in checks.items() if not usable(manifest.get(key))), None)


def _are_tensors(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_tensor, value))


def _is_tensor(value: Any) -> bool:
    """Whether this describes an input or output: a name and a shape, whose first side is the batch."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and isinstance(value.get("shape"), list)
        and all(type(side) is int and side > 0 for side in value["shape"][1:])
    )


def check_precision(artifact: Artifact, wanted: str) -> None:
    """ArtifactError unless the network was exported in this precision: figures must not hide what ran."""
    if artifact.precision != wanted:
        raise ArtifactError(
            f"{artifact.path}: is exported in {artifact.precision}, {wanted} is needed; "
            f"export it with `bench export --precision {wanted}`"
        )


def feed(artifact: Artifact, x_t: Tensor, t: Tensor, cond: Tensor | None) -> dict[str, Tensor]:
    """The exported network's inputs by name, padded to its batch size by repeating the last image.

    x_t, t, cond : as for ``interfaces.Denoiser``; the network's timesteps count from 0
    Raises BackendError unless they are what the network was exported for.
    """
    check_cond(artifact.conditioned, x_t, cond)
    wanted = tuple(artifact.manifest["inputs"][0]["shape"][1:])
    if x_t.ndim != 4 or tuple(x_t.shape[1:]) != wanted:
        shape = ", ".join(str(side) for side in wanted)
        raise BackendError(f"the exported network takes images [B, {shape}], not {list(x_t.shape)}")
    check_levels(x_t, t)
    if artifact.batch is not None and x_t.shape[0] > artifact.batch:
        raise BackendError(
            f"{artifact.path.name} takes batches of up to {artifact.batch}, not {x_t.shape[0]}; export a larger one"
        )
    inputs = {"x": x_t.float(), "timesteps": t.long() - 1}
    if cond is not None:
        inputs["cond"] = cond.float()
    return {name: pad(value, artifact.batch).contiguous() for name, value in inputs.items()}


def check_cond(conditioned: bool, x_t: Tensor, cond: Tensor | None) -> None:
    """BackendError unless a clean image comes with the noised one where the network wants it, and only there."""
    if cond is None and conditioned:
        raise BackendError("this network is conditioned on the clean image; give cond")
    if cond is not None and not conditioned:
        raise BackendError("this network is unconditional; give no cond")
    if cond is not None and cond.shape != x_t.shape:
        raise BackendError(f"cond is {list(cond.shape)}, the images are {list(x_t.shape)}")


def check_levels(x_t: Tensor, t: Tensor) -> None:
    """BackendError unless each image has a level."""
    if t.shape != x_t.shape[:1]:
        raise BackendError(f"{x_t.shape[0]} images need as many levels, not t of shape {list(t.shape)}")


def pad(value: Tensor, batch: int | None) -> Tensor:
    """The last entry repeated up to a fixed batch size; unchanged where it fits or any size goes."""
    short = 0 if batch is None else batch - value.shape[0]
    return value if short <= 0 else torch.cat([value, value[-1:].expand(short, *value.shape[1:])])
