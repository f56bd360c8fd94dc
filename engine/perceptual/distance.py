"""Perceptual distance: LPIPS on SqueezeNet 1.1, as a map and as a number.

Zhang et al. 2018, doi:10.1109/CVPR.2018.00068, eq. 1: features of both images at seven stages are scaled to unit
length over the channels, squared differences are weighted by non-negative heads and summed over the channels. The
map up-samples each stage's result to the image and sums the stages; the number sums the stages' spatial means.

Two sets of weights, never exchanged silently: ``brain-squeeze`` (shipped; trained here, see
``training.perceptual``) and ``lpips-squeeze`` (ImageNet features and LPIPS's own heads). Other networks than
SqueezeNet run through the authors' package, see ``package``; ``open_perceptual`` opens either kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from uadbench.engine.interfaces import Perceptual
from uadbench.engine.perceptual.images import check_image, check_pair
from uadbench.engine.perceptual.package import BACKBONES, open_package
from uadbench.engine.perceptual.squeezenet import SMALLEST_SIDE, STAGE_CHANNELS, SqueezeNetStages
from uadbench.engine.perceptual.weights import PERCEPTUALS, PerceptualWeights, load_weights

__all__ = [
    "PERCEPTUALS",
    "OpenedPerceptual",
    "PerceptualDistance",
    "PerceptualFeatures",
    "SqueezePerceptual",
    "build_distance",
    "open_perceptual",
    "open_squeeze",
]

# LPIPS's scaling layer: ImageNet's channel means and deviations for inputs in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
NORM_EPS = 1e-10


class PerceptualFeatures(nn.Module):
    """Image -> seven unit-length feature maps. Exportable."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = SqueezeNetStages()
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """x : [B, 1, H, W] or [B, 3, H, W] in [-1, 1]; returns seven [B, C_k, H_k, W_k], unit length over C_k."""
        colour = x.expand(-1, 3, -1, -1)  # a grey image is repeated, a colour image stays
        return tuple(to_unit_length(f) for f in self.stages((colour - self.shift) / self.scale))


class PerceptualDistance(nn.Module):
    """Features of one image and a second image -> distance map. Exportable; its features may be run alone."""

    def __init__(self) -> None:
        super().__init__()
        self.features = PerceptualFeatures()
        for k, channels in enumerate(STAGE_CHANNELS):
            self.register_buffer(f"head{k}", torch.ones(1, channels, 1, 1))

    def forward(self, reference: Sequence[Tensor], x_rec: Tensor) -> Tensor:
        """The map S.

        reference : the seven ``features(x)``
        x_rec : [B, 1 or 3, H, W] in [-1, 1]
        returns : [B, 1, H, W] >= 0, the stages' maps up-sampled bilinearly (pixel centres aligned) and summed
        """
        size = x_rec.shape[-2:]
        maps = [
            functional.interpolate(m, size=size, mode="bilinear", align_corners=False)
            for m in self.stage_maps(reference, x_rec)
        ]
        return torch.stack(maps).sum(dim=0)

    def stage_maps(self, reference: Sequence[Tensor], x_rec: Tensor) -> list[Tensor]:
        """Each stage's weighted squared difference at its own resolution, [B, 1, H_k, W_k] >= 0."""
        return [
            functional.conv2d((f - g).square(), self.get_buffer(f"head{k}"))
            for k, (f, g) in enumerate(zip(reference, self.features(x_rec), strict=True))
        ]


def to_unit_length(feature: Tensor) -> Tensor:
    """Scale every pixel's feature vector to length 1; a zero vector stays zero. [B, C, H, W] -> the same."""
    return feature / (feature.square().sum(dim=1, keepdim=True).sqrt() + NORM_EPS)


class OpenedPerceptual(Perceptual, Protocol):
    """A perceptual distance with its weights read, of either kind.

    sha256 : of the features' values and heads, whatever file they came in
    """

    @property
    def sha256(self) -> str: ...

    def distance(self, x: Tensor, x_rec: Tensor) -> Tensor:
        """One number an image, [B] >= 0; x, x_rec : [B, 1 or 3, H, W] in [-1, 1]."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name, hash and device, for the run's record."""
        ...


@dataclass(frozen=True)
class SqueezePerceptual:
    """A perceptual distance on our own SqueezeNet, opened; satisfies ``OpenedPerceptual``.

    name : the set of weights, as it stands in every report
    net : the module, in eval mode on ``device``, without gradients
    sha256 : of the features' values and heads, whatever file they came in
    source : the file that the features were read from
    card : what is known of the weights (training, licence)
    """

    name: str
    net: PerceptualDistance
    device: str
    sha256: str
    source: Path
    card: Mapping[str, Any]

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Fix x : [B, 1, H, W] in [-1, 1], its features computed here, once; see ``interfaces.Perceptual``.

        Values outside are taken as they are (THOR with ``perceptual_norm = "twice"``, in [-3, 1]).
        """
        check_image(x, SMALLEST_SIDE)
        with torch.no_grad():
            reference = self.net.features(x.to(self.device))

        def distance_map(x_rec: Tensor) -> Tensor:
            check_pair(x, x_rec)
            with torch.no_grad():
                return self.net(reference, x_rec.to(self.device)).to(x_rec.device)

        return distance_map

    def distance(self, x: Tensor, x_rec: Tensor) -> Tensor:
        """One number an image, [B] >= 0: the stages' spatial means, summed (LPIPS eq. 1).

        x, x_rec : [B, 1, H, W] or [B, 3, H, W] in [-1, 1]. It is LPIPS itself for the weights ``lpips-squeeze``.
        """
        check_image(x, SMALLEST_SIDE)
        check_pair(x, x_rec)
        with torch.no_grad():
            reference = self.net.features(x.to(self.device))
            maps = self.net.stage_maps(reference, x_rec.to(self.device))
        return torch.stack([m.mean(dim=(1, 2, 3)) for m in maps]).sum(dim=0).to(x_rec.device)

    def describe(self) -> dict[str, Any]:
        """Name, hash and device, for the run's record; no path of this machine but the file's name."""
        return {"name": self.name, "sha256": self.sha256, "file": self.source.name, "device": self.device}


def build_distance(weights: PerceptualWeights) -> PerceptualDistance:
    """The module with these weights, in eval mode, on the CPU, without gradients."""
    net = PerceptualDistance()
    net.features.stages.load_state_dict(dict(weights.features))
    for k, head in enumerate(weights.heads):
        net.get_buffer(f"head{k}").copy_(head.view(1, -1, 1, 1))
    return net.eval().requires_grad_(False)


def open_perceptual(name: str, weights: Path | None = None, device: str = "cpu") -> OpenedPerceptual:
    """Open a perceptual distance by name.

    name : "brain-squeeze" (shipped), "lpips-squeeze" (ImageNet; the user brings or fetches the weights), or
        "lpips-alex", "lpips-vgg" (the package lpips; the user brings the weights)
    weights : a file to read the features from instead of the usual places
    device : a torch device

    Raises PerceptualError, one line with the remedy, for an unknown name, for a package that cannot be imported, and
    for weights that are absent, damaged or not what the name promises. One set never stands in for the other.
    """
    if name in BACKBONES:
        return open_package(name, weights, device)
    return open_squeeze(name, weights, device)


def open_squeeze(name: str, weights: Path | None = None, device: str = "cpu") -> SqueezePerceptual:
    """As ``open_perceptual``, for those that are SqueezeNets of ours and can be exported; others are refused."""
    loaded = load_weights(name, weights)
    # Channels last: two thirds of the time on a CPU
    net = build_distance(loaded).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return SqueezePerceptual(name, net, device, loaded.sha256, loaded.source, loaded.card)
