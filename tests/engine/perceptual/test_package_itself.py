"""LPIPS by the package itself, where it imports: ours is held against it, and it against its own weights."""

from __future__ import annotations

import dataclasses
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.places import SHARED
from torch import Tensor
from torch.nn import functional

from uadbench.engine.perceptual import package
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.engine.perceptual.weights import content_hash


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def real() -> Any:
    """The package lpips, with torchvision."""
    try:
        importlib.import_module("torchvision")
        return importlib.import_module("lpips")
    except Exception as error:
        pytest.skip(f"lpips and torchvision do not import beside torch {torch.__version__}: {error}")


def user_file(variable: str, name: str) -> Path:
    path = Path(os.environ.get(variable) or SHARED / "weights" / name)
    if not path.is_file():
        pytest.skip(f"no {name}: set {variable} to the file of the ImageNet features")
    return path


def load_backbone(module: Any, path: Path) -> None:
    """By the order of the parameters, not by their names."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    found = [value for key, value in state.items() if key.startswith("features.")]
    for place, value in zip(module.net.parameters(), found, strict=True):
        place.data.copy_(value)


@pytest.mark.parametrize(
    ("name", "net", "variable", "file"),
    [
        ("lpips-squeeze", "squeeze", "UADBENCH_LPIPS_WEIGHTS", "squeezenet1_1_features.pth"),
        ("lpips-alex", "alex", "UADBENCH_ALEX_WEIGHTS", "alexnet_features.pth"),
    ],
)
def test_ours_and_the_packages_agree_to_1e_5(
    real: Any, name: str, net: str, variable: str, file: str
) -> None:
    """Map and number on noise and on smooth images; ImageNet features, and heads as the package itself loads them."""
    path = user_file(variable, file)
    opened = open_perceptual(name, path)
    spatial, number = (real.LPIPS(net=net, pnet_rand=True, spatial=s, verbose=False) for s in (True, False))
    for module in (spatial, number):
        load_backbone(module, path)
    noise = images(2, 1, 128, 128, seed=4), images(2, 1, 128, 128, seed=5)
    smooth = [functional.avg_pool2d(v, 9, 1, 4) * 3 for v in noise]
    for x, y in (noise, smooth):
        with torch.no_grad():
            colour = x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)
            wanted, one = spatial(*colour), number(*colour).flatten()
        assert wanted.max() > 0.01
        np.testing.assert_allclose(opened.against(x)(y).numpy(), wanted.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(opened.distance(x, y).numpy(), one.numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_vggs_features_are_put_into_the_packages_vgg(
    real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random features, as nobody may be asked for the file of 530 MB; the package's heads are its own."""
    module = real.LPIPS(net="vgg", pnet_rand=True, spatial=True, verbose=False)
    features = {f"features.{key.partition('.')[2]}": value for key, value in module.net.state_dict().items()}
    torch.save(features, tmp_path / "vgg.pth")
    known = dataclasses.replace(package.BACKBONES["lpips-vgg"], features=content_hash(features))
    monkeypatch.setitem(package.BACKBONES, "lpips-vgg", known)
    opened = open_perceptual("lpips-vgg", tmp_path / "vgg.pth")
    x, y = images(1, 1, 128, 128, seed=1), images(1, 1, 128, 128, seed=2)
    with torch.no_grad():
        wanted = module(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1))
    torch.testing.assert_close(opened.against(x)(y), wanted, rtol=0, atol=1e-5)
