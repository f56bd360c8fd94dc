"""Weights that the authors of THOR and AutoDDPM publish, brought into a network of ours without executing a pickle.

Their files are dicts with ``model_weights``: the denoiser under ``unet.``, and its companions. Their network is a copy
of MONAI's, made when some layers had other names.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from uadbench.engine.rng import noise_source

__all__ = ["Match", "WeightsError", "match", "noise_response", "read_published", "rescaled"]

PUBLISHED = DiffusionUNetConfig()  # both papers' network
PREFIX = "unet."
# Modules of the authors' class that are saved along with the denoiser and are no part of it.
COMPANIONS = ("l_pips_sq.", "train_scheduler.", "inference_scheduler.")
ATTENTION = (".to_q.", ".to_k.", ".to_v.")


class WeightsError(Exception):
    """A published file cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class Match:
    """What of a published file fits a network.

    config : of the network that was tried
    weights : our name -> tensor, those that fit
    missing : names that the network has and the file does not
    left_over : names in the file that the network does not have, or that are of another shape there
    unused : names in the file that the authors' own forward pass does not use
    """

    config: DiffusionUNetConfig
    weights: dict[str, Tensor]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the network is exactly filled."""
        return not self.missing and not self.left_over


def read_published(path: Path) -> dict[str, Tensor]:
    """``model_weights`` of a published file, by the authors' names; nothing in the file is executed.

    Raises WeightsError where the file is of another layout, damaged, or needs code to be executed; OSError.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is missing, or no file; give a published .pt file")
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the age of the pickle
        try:
            found = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise WeightsError(
                f"{path} holds more than tensors, or is no file of torch ({_reason(error)}); refused, since reading it "
                "could execute code"
            ) from error
        except OSError:
            raise
        except Exception as error:  # torch raises many kinds on a damaged file
            raise WeightsError(
                f"{path} is damaged ({type(error).__name__}); copy or download it again"
            ) from error
    weights = found.get("model_weights") if isinstance(found, dict) else None
    if not isinstance(weights, dict) or not weights:
        held = ", ".join(map(str, found))[:80] if isinstance(found, dict) else type(found).__name__
        raise WeightsError(
            f"{path} has no table 'model_weights' (it holds {held}); a published .pt file has one"
        )
    for name, weight in weights.items():
        if not (isinstance(name, str) and isinstance(weight, Tensor)):
            raise WeightsError(f"{path}: {name!r:.80} is {type(weight).__name__}, not a tensor")
    return weights


def _reason(error: BaseException) -> str:
    """What torch could not load, from a message of many lines."""
    for line in str(error).splitlines():
        at = line.find("Unsupported ")
        if at >= 0:
            return line[at:].split(". ")[0][:160]
    return "not understood"


def match(published: Mapping[str, Tensor], config: DiffusionUNetConfig) -> Match:
    """Hold a published file's weights against a network of that configuration.

    A file with the older names is of the authors' code, where attention has no projection at its end: the layer
    ``proj_attn`` is saved, as it was initialised, and never applied. The network tried has none then. Where the
    layer's weights lie beyond what they are initialised to, it has been trained, and the network tried applies it.
    """
    older = any(".proj_attn." in name for name in published)
    config = replace(config, projection=not older or _projection_trained(published))
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in DiffusionUNet(config).state_dict().items()}
    weights, left_over, unused = {}, [], []
    for name, weight in published.items():
        ours = _renamed(name) if older else name
        if ours in shapes and weight.shape == shapes[ours] and weight.is_floating_point():
            weights[ours] = weight.float()
        elif name.startswith(PREFIX) and ".proj_attn." in name and not config.projection:
            unused.append(name)
        elif not name.startswith(COMPANIONS):
            shape = f" {tuple(weight.shape)}, not {tuple(shapes[ours])}" if ours in shapes else ""
            left_over.append(f"{name}{shape}")
    missing = tuple(name for name in shapes if name not in weights)
    return Match(config, weights, missing, tuple(left_over), tuple(unused))


def _projection_trained(published: Mapping[str, Tensor]) -> bool:
    """Whether a weight of ``proj_attn`` exceeds 1 / sqrt(inputs), which bounds a linear layer's first weights."""
    layers = [weight for name, weight in published.items() if name.endswith(".proj_attn.weight")]
    return any(float(weight.abs().max()) > 1.01 * weight.shape[-1] ** -0.5 for weight in layers)


def _renamed(name: str) -> str:
    """The name that MONAI gives today."""
    if name.startswith(PREFIX):
        for part in ATTENTION:
            name = name.replace(part, f".attn{part}")
        name = name.replace(".upsampler.conv.", ".upsampler.postconv.").replace(
            ".proj_attn.", ".attn.out_proj."
        )
    return name


def rescaled(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the network that returns (prediction + 1) / 2: the last layer is linear, so it takes it in."""
    last = f"{PREFIX}out.2.conv."
    return {
        **weights,
        f"{last}weight": weights[f"{last}weight"] / 2,
        f"{last}bias": (weights[f"{last}bias"] + 1) / 2,
    }


@torch.inference_mode()
def noise_response(network: nn.Module, noise: str, size: int = 128) -> tuple[float, float]:
    """Slope and offset of the prediction on its input where that is noise and nothing else (last timestep, 1000).

    (1, 0) for a network that predicts the noise, (2, -1) for one whose (prediction + 1) / 2 was held against it.
    """
    last = 1000
    eps = noise_source(noise, 0, ["import"], (size, size))(last)
    found = network(eps, torch.tensor([last - 1]))
    x, y = eps.double().flatten(), found.double().flatten()
    centred = x - x.mean()
    slope = float((centred * y).sum() / centred.square().sum())
    return slope, float(y.mean() - slope * x.mean())
