"""Perceptual weights: found where promised, refused when they are not what their name says, trained."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.places import SHARED
from torch import Tensor

from uadbench.engine.perceptual import weights as perceptual_weights
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.engine.perceptual.squeezenet import SqueezeNetStages
from uadbench.engine.perceptual.weights import (
    LPIPS_FILE,
    SHIPPED,
    PerceptualError,
    content_hash,
    load_weights,
    lpips_squeeze_places,
)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def random_features() -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {key: torch.randn(v.shape, generator=rng) for key, v in SqueezeNetStages().state_dict().items()}


@pytest.fixture(scope="module")
def imagenet() -> Path:
    """The ImageNet weights that the user has, by UADBENCH_LPIPS_WEIGHTS or beside the checkout."""
    given = os.environ.get("UADBENCH_LPIPS_WEIGHTS")
    beside = SHARED / "weights" / "squeezenet1_1_features.pth"
    path = Path(given) if given else beside
    if not path.is_file():
        pytest.skip("no ImageNet SqueezeNet 1.1: set UADBENCH_LPIPS_WEIGHTS to its file")
    return path


@pytest.fixture
def empty_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user data folder and a torch cache that hold nothing; returns the former."""
    monkeypatch.setattr(perceptual_weights, "user_data_path", lambda name: tmp_path / "data" / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "data" / "uadbench"


# --- weights ----------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(PerceptualError, match=r"'brain-sqeeze'.*brain-squeeze, lpips-squeeze"):
        open_perceptual("brain-sqeeze")


def test_lpips_without_weights_is_an_error_with_the_remedy(empty_places: Path) -> None:
    """Nothing stands in for absent ImageNet weights; the message says where they were sought and how to get them."""
    with pytest.raises(PerceptualError) as error:
        open_perceptual("lpips-squeeze")
    assert "bench data fetch lpips-squeeze" in str(error.value)
    assert str(empty_places) in str(error.value)
    assert "\n" not in str(error.value)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_files_that_are_not_the_imagenet_weights_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Absent, text, empty, code, other shapes, NaN, other values: one line each, and nothing is executed."""
    state = random_features()
    first = "features.0.weight"
    cases: dict[str, object] = {
        "code": {"features.0.weight": Malicious()},
        "list": [1, 2, 3],
        "shape": {**state, first: torch.zeros(64, 1, 3, 3)},
        "missing": {k: v for k, v in state.items() if k != first},
        "nan": {**state, first: state[first] * torch.nan},
        "values": state,
    }
    wanted = {
        "code": "cannot be read",
        "list": "holds a list",
        "shape": "has shape",
        "missing": "has shape None",
        "nan": "NaN",
        "values": "not the ImageNet SqueezeNet 1.1",
    }
    for name, value in cases.items():
        torch.save(value, tmp_path / f"{name}.pth")
    (tmp_path / "text.pth").write_text("not weights at all")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("not weights at all")
    wanted |= {"text": "cannot be read", "empty": "cannot be read"}
    for name, message in wanted.items():
        with pytest.raises(PerceptualError, match=message) as error:
            open_perceptual("lpips-squeeze", tmp_path / f"{name}.pth")
        assert "\n" not in str(error.value), name
    with pytest.raises(PerceptualError, match="cannot be read"):
        open_perceptual("lpips-squeeze", tmp_path / "text.safetensors")
    with pytest.raises(PerceptualError, match=r"absent\.pth: No such file"):
        open_perceptual("lpips-squeeze", tmp_path / "absent.pth")
    assert "executed" not in capsys.readouterr().out


def test_lpips_weights_are_taken_from_every_promised_place(imagenet: Path, empty_places: Path) -> None:
    """A given path, torch's cache and the user data folder, the last one first; plain or torchvision's full file."""
    plain = torch.load(imagenet, map_location="cpu", weights_only=True)
    full = {
        **plain,
        "classifier.1.weight": torch.zeros(1000, 512, 1, 1),
        "classifier.1.bias": torch.zeros(1000),
    }
    ours, torchs = lpips_squeeze_places()
    torchs.parent.mkdir(parents=True)
    torch.save(full, torchs)
    from_cache = open_perceptual("lpips-squeeze")
    given = open_perceptual("lpips-squeeze", imagenet)
    assert from_cache.source == torchs
    assert given.source == imagenet
    assert from_cache.sha256 == given.sha256
    ours.parent.mkdir(parents=True)
    torch.save(full, ours)
    assert open_perceptual("lpips-squeeze").source == ours == empty_places / "weights" / LPIPS_FILE
    x, y = images(1, 1, 64, 64, seed=1), images(1, 1, 64, 64, seed=2)
    assert torch.equal(from_cache.against(x)(y), given.against(x)(y))


def test_lpips_with_imagenet_weights_gives_the_values_of_the_lpips_package(imagenet: Path) -> None:
    """Number and largest value of the map on two waves, recorded with lpips 0.1.4 (its own code and heads)."""
    axis = torch.arange(64, dtype=torch.float64) / 64
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    x = torch.sin(20 * rows) * torch.cos(12 * columns)
    y = torch.sin(20 * rows + 6 * columns**2)
    x, y = (v.float().view(1, 1, 64, 64) for v in (x, y))
    perceptual = open_perceptual("lpips-squeeze", imagenet)
    assert perceptual.distance(x, y).item() == pytest.approx(0.398069, rel=1e-4)
    assert perceptual.against(x)(y).max().item() == pytest.approx(0.545808, rel=1e-4)


def test_lpips_gives_the_published_values_on_its_example_images(imagenet: Path) -> None:
    """LPIPS's own example pairs: 0.711 against ex_p0 and 0.148 against ex_p1 with SqueezeNet."""
    from PIL import Image

    folder = Path(os.environ.get("UADBENCH_LPIPS_EXAMPLES", "absent"))
    if not (folder / "ex_ref.png").is_file():
        pytest.skip(
            "LPIPS's example images (imgs/ex_*.png of its repository): set UADBENCH_LPIPS_EXAMPLES to their folder"
        )
    ref, p0, p1 = (
        torch.from_numpy(np.array(Image.open(folder / f"{n}.png").convert("RGB"))).permute(2, 0, 1)[None]
        / 127.5
        - 1
        for n in ("ex_ref", "ex_p0", "ex_p1")
    )
    perceptual = open_perceptual("lpips-squeeze", imagenet)
    assert perceptual.distance(ref, p0).item() == pytest.approx(0.711, abs=6e-4)
    assert perceptual.distance(ref, p1).item() == pytest.approx(0.148, abs=6e-4)


# --- the shipped weights ----------------------------------------------------------------------------------------


def test_shipped_weights_are_small_and_match_their_card() -> None:
    """Under 3 MB together, hash as in the card, heads >= 0, opened without any path."""
    names = ("brain-squeeze.safetensors", "brain-squeeze.json", "lpips-squeeze-heads.safetensors")
    assert sum((SHIPPED / name).stat().st_size for name in names) < 3e6
    perceptual = open_perceptual("brain-squeeze")
    assert perceptual.name == "brain-squeeze"
    assert perceptual.sha256 == perceptual.card["content_sha256"]
    assert {"data", "training", "command", "losses", "licence"} <= perceptual.card.keys()
    assert {"steps", "head_steps", "batch_size", "seed"} <= perceptual.card["training"].keys()
    assert all((head >= 0).all() for head in load_weights("brain-squeeze").heads)


def test_shipped_weights_that_were_altered_are_refused(tmp_path: Path) -> None:
    """A file that does not match the hash in its card, or whose card is gone, is an error."""
    tensors = load_file(SHIPPED / "brain-squeeze.safetensors")
    tensors["head0"] = tensors["head0"] * 2
    save_file(tensors, tmp_path / "brain.safetensors")
    with pytest.raises(PerceptualError, match=r"brain\.json: No such file"):
        open_perceptual("brain-squeeze", tmp_path / "brain.safetensors")
    (tmp_path / "brain.json").write_bytes((SHIPPED / "brain-squeeze.json").read_bytes())
    with pytest.raises(PerceptualError, match="is not its card's"):
        open_perceptual("brain-squeeze", tmp_path / "brain.safetensors")
    for text in ("{", "[1]"):
        (tmp_path / "brain.json").write_text(text)
        with pytest.raises(PerceptualError, match="not a model card"):
            open_perceptual("brain-squeeze", tmp_path / "brain.safetensors")


def test_lpips_heads_carry_their_licence() -> None:
    """The card names origin and licence, with the notice that the licence asks for, and the values' hash."""
    card = json.loads((SHIPPED / "lpips-squeeze-heads.json").read_text())
    assert card["license"] == "BSD-2-Clause"
    assert "Copyright (c) 2018, Richard Zhang" in card["license_text"]
    assert content_hash(load_file(SHIPPED / "lpips-squeeze-heads.safetensors")) == card["content_sha256"]
