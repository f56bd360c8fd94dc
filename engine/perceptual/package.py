"""LPIPS with AlexNet or VGG-16, computed by its authors' package ``lpips``.

Zhang et al. 2018, doi:10.1109/CVPR.2018.00068. The package imports torchvision, which must be of the build of torch
that is here; both are imported only when one of these nets is opened. The package would let torchvision download the
ImageNet features. It is never let: the network is built without weights, and the user's file and the package's own
heads are read here, with ``weights_only=True``.

The package offers no call with the features of one image kept, so every map computes those of both.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uadbench.engine.perceptual.images import check_image, check_pair
from uadbench.engine.perceptual.weights import (
    PerceptualError,
    check_features,
    content_hash,
    find_weights,
    load_torch,
    read_bytes,
    read_features,
    read_tensors,
    take_heads,
)

__all__ = ["BACKBONES", "Backbone", "PackagePerceptual", "open_package"]


@dataclass(frozen=True)
class Backbone:
    """A network that the package compares features of.

    net : its name in the package; title : in messages
    file : torchvision's file of its ImageNet weights; the name holds the first digits of the file's sha256
    smallest : side below which some stage has no pixel left
    features : ``content_hash`` of its ImageNet features, "" where it is not known and the file's own hash must do
    """

    net: str
    title: str
    file: str
    smallest: int
    features: str = ""

    @property
    def digits(self) -> str:
        """The first digits of the file's sha256."""
        return self.file.removesuffix(".pth").rpartition("-")[2]


BACKBONES: dict[str, Backbone] = {
    "lpips-alex": Backbone(
        "alex",
        "AlexNet",
        "alexnet-owt-7be5be79.pth",
        31,
        "e2e17635d468fd736281633944221d8eb8e987b3448bf0aa0acc909733f68df6",
    ),
    "lpips-vgg": Backbone("vgg", "VGG-16", "vgg16-397923af.pth", 16),
}


@dataclass(frozen=True)
class PackagePerceptual:
    """An opened distance of the package; satisfies ``distance.OpenedPerceptual``.

    spatial, number : the package's module, as a map and as a number; they share their weights
    smallest : see ``Backbone``
    sha256 : of the features' values and heads, whatever file they came in
    source : the file that the features were read from
    versions : of the packages that compute it
    """

    name: str
    spatial: nn.Module
    number: nn.Module
    smallest: int
    device: str
    sha256: str
    source: Path
    versions: str

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Fix x : [B, 1, H, W] in [-1, 1]; see ``interfaces.Perceptual``. Its features are computed in every call."""
        check_image(x, self.smallest)

        def distance_map(x_rec: Tensor) -> Tensor:
            check_pair(x, x_rec)
            return self._call(self.spatial, x, x_rec)

        return distance_map

    def distance(self, x: Tensor, x_rec: Tensor) -> Tensor:
        """One number an image, [B] >= 0: LPIPS itself; x, x_rec : [B, 1 or 3, H, W] in [-1, 1]."""
        check_image(x, self.smallest)
        check_pair(x, x_rec)
        return self._call(self.number, x, x_rec).flatten()

    def describe(self) -> dict[str, Any]:
        """Name, hash, device and packages, for the run's record; no path of this machine but the file's name."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "file": self.source.name,
            "device": self.device,
            "packages": self.versions,
        }

    def _call(self, net: nn.Module, x: Tensor, x_rec: Tensor) -> Tensor:
        pair = (image.to(self.device).expand(-1, 3, -1, -1) for image in (x, x_rec))
        with torch.no_grad():
            found: Tensor = net(*pair)
        return found.to(x_rec.device)


def open_package(name: str, weights: Path | None = None, device: str = "cpu") -> PackagePerceptual:
    """Open one of ``BACKBONES``; see ``distance.open_perceptual``.

    Raises PerceptualError where the package cannot be imported, or the features are absent, damaged or others.
    """
    backbone = BACKBONES[name]
    lpips, versions = import_package(name)
    remedy = f"give torchvision's {backbone.file} by --set perceptual_weights.{name}=FILE"
    path = weights or find_weights(
        name, backbone.file, f"{remedy}, or put it into the first of these folders"
    )
    net = build(lpips, backbone.net)
    places = {
        f"features.{key.partition('.')[2]}": value
        for key, value in net.net.state_dict(keep_vars=True).items()
    }
    features = check_features(read_features(path, remedy), path, backbone.title, places)
    check_origin(backbone, features, path, remedy)
    heads_path = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{backbone.net}.pth"
    heads = read_heads(heads_path, net.chns)
    with torch.no_grad():
        for key, value in features.items():
            places[key].copy_(value)
        for layer, head in zip(net.lins, heads, strict=True):
            layer.model[-1].weight.copy_(head.view(1, -1, 1, 1))
    net.to(device)
    number = copy.copy(net)  # another switch, the same weights
    number.spatial = False
    hashed = {**features, **{f"head{k}": head for k, head in enumerate(heads)}}
    return PackagePerceptual(
        name, net, number, backbone.smallest, device, content_hash(hashed), path, versions
    )


def import_package(name: str) -> tuple[Any, str]:
    """(the package lpips, what it runs on); or PerceptualError with the remedy."""
    try:
        torchvision, lpips = import_module("torchvision"), import_module("lpips")
    except Exception as error:  # beside another build of torch, torchvision raises whatever its binary does
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PerceptualError(
            f"{name} needs the packages lpips and torchvision, which cannot be imported beside torch "
            f"{torch.__version__} ({reason[:160]}); `pip install 'uadbench[lpips]'`, torch and torchvision from one "
            "source, or choose lpips-squeeze"
        ) from error
    return (
        lpips,
        f"lpips {version('lpips')}, torchvision {torchvision.__version__}, torch {torch.__version__}",
    )


def build(lpips: Any, net: str) -> Any:
    """The package's spatial module, its weights still random; nothing is downloaded, no global generator moves."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package calls torchvision by an old name of an option
        module = lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, spatial=True, verbose=False)
    return module.eval().requires_grad_(False)


def check_origin(backbone: Backbone, features: dict[str, Tensor], path: Path, remedy: str) -> None:
    """PerceptualError unless these are the ImageNet features, by their values or by the file's own hash."""
    if backbone.features and content_hash(features) == backbone.features:
        return
    found = hashlib.sha256(read_bytes(path, remedy)).hexdigest()
    if not found.startswith(backbone.digits):
        raise PerceptualError(
            f"{path}: not the ImageNet {backbone.title} (sha256 {found[:8]}, not {backbone.digits}); {remedy}"
        )


def read_heads(path: Path, widths: list[int]) -> tuple[Tensor, ...]:
    """The package's heads, one vector a stage; or PerceptualError."""
    remedy = "reinstall lpips"
    found = read_tensors(load_torch, read_bytes(path, remedy), path, remedy, "lin")
    return take_heads(
        {f"head{key[3:].partition('.')[0]}": value.flatten() for key, value in found.items()}, path, widths
    )
