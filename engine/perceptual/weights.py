"""Where the perceptual weights come from, and the proof that they are what their name says.

``brain-squeeze`` ships with this project. ``lpips-squeeze`` is torchvision's ImageNet SqueezeNet 1.1 (BSD-3), which
the user brings or asks to fetch, with LPIPS's linear heads (BSD-2), which ship likewise. Files are read
with ``weights_only=True`` or as safetensors: nothing in them is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_data_path
from safetensors.torch import load as load_safetensors
from torch import Tensor

from uadbench.engine.perceptual import PERCEPTUALS
from uadbench.engine.perceptual.squeezenet import STAGE_CHANNELS, SqueezeNetStages

__all__ = [
    "PERCEPTUALS",
    "PerceptualError",
    "PerceptualWeights",
    "content_hash",
    "load_weights",
    "lpips_squeeze_places",
]

SHIPPED = Path(str(resources.files("uadbench.models")))
LPIPS_FILE = "squeezenet1_1-b8a52dc0.pth"
# The same features in whatever container: hash of names and values, see content_hash.
LPIPS_FEATURES_SHA256 = "7fb81a4882ca72626a37a3f75268a338af3370803c9876f258f4641fcc6a7e33"
LPIPS_HEADS_SHA256 = "f2abe748529f094d83941d1bef02c7895a10475d69996345f3005f0c5c92121f"
REMEDY = f"run `bench data fetch lpips-squeeze`, or put {LPIPS_FILE} into the folder that it names"


class PerceptualError(RuntimeError):
    """Perceptual weights are unknown, absent, damaged or not what their name promises; the message is one line."""


@dataclass(frozen=True)
class PerceptualWeights:
    """Features and heads of one named perceptual distance.

    features : parameters of ``SqueezeNetStages``, float32
    heads : seven vectors [C_k] >= 0, float32
    sha256 : ``content_hash`` of features and heads
    source : the file that the features were read from
    card : the model card
    """

    features: Mapping[str, Tensor]
    heads: tuple[Tensor, ...]
    sha256: str
    source: Path
    card: Mapping[str, Any]


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, shapes and float32 values in the order of the names: the same in every file format."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        values = tensors[key].detach().to("cpu", torch.float32).contiguous().numpy()
        digest.update(f"{key} {list(values.shape)}\n".encode())
        digest.update(values.astype("<f4").tobytes())
    return digest.hexdigest()


def load_weights(name: str, path: Path | None = None) -> PerceptualWeights:
    """Read and verify the weights of a SqueezeNet distance by name; see ``distance.open_perceptual``."""
    if name not in PERCEPTUALS:
        raise PerceptualError(f"unknown perceptual distance {name!r}, choose from {', '.join(PERCEPTUALS)}")
    if name not in _LOADERS:
        raise PerceptualError(
            f"{name} runs in the package lpips, which is not exported; choose from {', '.join(_LOADERS)}"
        )
    return _LOADERS[name](path)


def load_brain_squeeze(path: Path | None = None) -> PerceptualWeights:
    """Features and heads from one safetensors file, whose hash must be the one in the card beside it."""
    path = path or SHIPPED / "brain-squeeze.safetensors"
    data = read_bytes(path, "reinstall uadbench")
    card = read_card(path.with_suffix(".json"))
    found = hashlib.sha256(data).hexdigest()
    if found != card.get("sha256"):
        raise PerceptualError(
            f"{path}: sha256 {found} is not its card's {card.get('sha256')}; reinstall uadbench"
        )
    tensors = read_tensors(load_safetensors, data, path, "reinstall uadbench")
    features = check_features({k: v for k, v in tensors.items() if k.startswith("features.")}, path)
    heads = take_heads(tensors, path)
    return PerceptualWeights(features, heads, content_hash(tensors), path, card)


def load_lpips_squeeze(path: Path | None = None) -> PerceptualWeights:
    """ImageNet features from ``path`` or the first of the usual places, and LPIPS's heads."""
    if path is None:
        path = find_weights("lpips-squeeze", LPIPS_FILE, REMEDY)
    features = check_features(read_features(path), path)
    found = content_hash(features)
    if found != LPIPS_FEATURES_SHA256:
        raise PerceptualError(
            f"{path}: not the ImageNet SqueezeNet 1.1 (features' sha256 {found[:12]}...); {REMEDY}"
        )
    heads_path = SHIPPED / "lpips-squeeze-heads.safetensors"
    heads_data = read_bytes(heads_path, "reinstall uadbench")
    heads = read_tensors(load_safetensors, heads_data, heads_path, "reinstall uadbench")
    if content_hash(heads) != LPIPS_HEADS_SHA256:
        raise PerceptualError(f"{heads_path}: not LPIPS's heads; reinstall uadbench")
    card = read_card(heads_path.with_suffix(".json"))
    return PerceptualWeights(
        features, take_heads(heads, heads_path), content_hash({**features, **heads}), path, card
    )


_LOADERS: dict[str, Callable[[Path | None], PerceptualWeights]] = {
    "brain-squeeze": load_brain_squeeze,
    "lpips-squeeze": load_lpips_squeeze,
}


def weight_places(file: str) -> tuple[Path, ...]:
    """Where torchvision's file of that name is looked for, in this order: our user data folder, torch's cache."""
    return (
        user_data_path("uadbench") / "weights" / file,
        Path(torch.hub.get_dir()) / "checkpoints" / file,
    )


def lpips_squeeze_places() -> tuple[Path, ...]:
    """Where ``lpips-squeeze`` looks for its features."""
    return weight_places(LPIPS_FILE)


def find_weights(name: str, file: str, remedy: str) -> Path:
    """The first of the usual places that holds the file; or PerceptualError that names them."""
    places = weight_places(file)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise PerceptualError(f"{name}: no weights at {' or '.join(map(str, places))}; {remedy}")
    return path


def read_features(path: Path, remedy: str = REMEDY) -> dict[str, Tensor]:
    """The ``features.*`` tensors of a torch file (plain or torchvision's full state dict) or a safetensors file."""
    data = read_bytes(path, remedy)
    load = load_safetensors if path.suffix == ".safetensors" else load_torch
    return read_tensors(load, data, path, remedy, "features.")


def load_torch(data: bytes) -> Any:
    """What torch.save wrote, without executing any of it."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def read_tensors(
    load: Callable[[bytes], Any], data: bytes, path: Path, remedy: str, prefix: str = ""
) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, as float32; or PerceptualError."""
    try:
        state = load(data)
    except Exception as error:  # any bytes may come in here, and each reader fails on them in its own way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PerceptualError(f"{path}: cannot be read as weights ({reason[:120]}); {remedy}") from error
    if not isinstance(state, Mapping):
        raise PerceptualError(f"{path}: holds a {type(state).__name__}, not a state dict; {remedy}")
    found = {key: value for key, value in state.items() if isinstance(key, str) and key.startswith(prefix)}
    odd = next((key for key, value in found.items() if not is_plain(value)), None)
    if odd is not None:
        raise PerceptualError(f"{path}: {odd[:80]!r} is no plain tensor of real numbers; {remedy}")
    return {key: value.float() for key, value in found.items()}


def is_plain(value: object) -> bool:
    """Whether this is a dense floating-point tensor whose values are here."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
    )


def check_features(
    features: Mapping[str, Tensor],
    path: Path,
    title: str = "SqueezeNet 1.1",
    parameters: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Exactly the named parameters, those of ``SqueezeNetStages`` by default, finite; or PerceptualError."""
    expected = SqueezeNetStages().state_dict() if parameters is None else parameters
    wanted = {key: tuple(value.shape) for key, value in expected.items()}
    found = {key: tuple(value.shape) for key, value in features.items()}
    wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
    if wrong:
        key = wrong[0]
        raise PerceptualError(
            f"{path}: not {title}, {key} has shape {found.get(key)}, expected {wanted.get(key)} "
            f"({len(wrong)} such differences)"
        )
    if not all(bool(value.isfinite().all()) for value in features.values()):
        raise PerceptualError(f"{path}: the weights hold NaN or infinity")
    return dict(features)


def take_heads(
    tensors: Mapping[str, Tensor], path: Path, widths: Sequence[int] = STAGE_CHANNELS
) -> tuple[Tensor, ...]:
    """The heads ``head0``, ``head1`` .., one a stage of that width, finite and non-negative; or PerceptualError."""
    heads = [tensors.get(f"head{k}") for k in range(len(widths))]
    for k, (head, channels) in enumerate(zip(heads, widths, strict=True)):
        if (
            head is None
            or tuple(head.shape) != (channels,)
            or not bool((head.isfinite() & (head >= 0)).all())
        ):
            raise PerceptualError(f"{path}: head{k} must be {channels} finite numbers >= 0")
    return tuple(head for head in heads if head is not None)


def read_card(path: Path) -> dict[str, Any]:
    """A model card: a JSON object; or PerceptualError."""
    try:
        card = json.loads(read_bytes(path, "reinstall uadbench"))
    except (ValueError, RecursionError) as error:
        raise PerceptualError(f"{path}: not a model card ({error}); reinstall uadbench") from error
    if not isinstance(card, dict):
        raise PerceptualError(f"{path}: not a model card (a JSON {type(card).__name__}); reinstall uadbench")
    return card


def read_bytes(path: Path, remedy: str) -> bytes:
    """The bytes of a regular file, so that a pipe is never waited for; or PerceptualError."""
    try:
        if path.exists() and not path.is_file():
            raise PerceptualError(f"{path}: is not a file; {remedy}")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise PerceptualError(f"{path}: {getattr(error, 'strerror', None) or error}; {remedy}") from error
