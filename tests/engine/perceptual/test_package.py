"""LPIPS by the authors' package: the user's weights get where they belong, and what it cannot do is said."""

from __future__ import annotations

import ast
import dataclasses
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from support.places import ROOT
from torch import Tensor, nn
from torch.nn import functional

from uadbench.bench.cli import cli
from uadbench.engine.perceptual import package, weights
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.engine.perceptual.weights import PerceptualError, content_hash

WIDTHS = (64, 192, 384, 256, 256)
# AlexNet's convolutions by torchvision's index: (width in, width out, kernel, stride, padding).
LAYERS = {
    0: (3, 64, 11, 4, 2),
    3: (64, 192, 5, 1, 2),
    6: (192, 384, 3, 1, 1),
    8: (384, 256, 3, 1, 1),
    10: (256, 256, 3, 1, 1),
}


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def random_features(seed: int = 0) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for index, (inside, outside, kernel, _, _) in LAYERS.items():
        shape = (outside, inside, kernel, kernel)
        found[f"features.{index}.weight"] = torch.randn(shape, generator=rng) * (inside * kernel**2) ** -0.5
        found[f"features.{index}.bias"] = torch.randn(outside, generator=rng) * 0.1
    return found


class StandIn(nn.Module):
    """What is used of ``lpips.LPIPS``, for AlexNet: its arguments, its names, its two ways of summing up."""

    def __init__(self, net: str, pretrained: bool, pnet_rand: bool, spatial: bool, verbose: bool) -> None:
        super().__init__()
        assert (net, pretrained, pnet_rand, verbose) == (
            "alex",
            False,
            True,
            False,
        )  # else it downloads or prints
        self.spatial, self.chns, self.net = spatial, list(WIDTHS), nn.Module()
        layers: dict[int, nn.Module] = {
            index: nn.Conv2d(i, o, k, s, p) for index, (i, o, k, s, p) in LAYERS.items()
        }
        layers |= {2: nn.MaxPool2d(3, 2), 5: nn.MaxPool2d(3, 2)}
        for k, (begin, end) in enumerate(((0, 2), (2, 5), (5, 8), (8, 10), (10, 12)), 1):
            inner = {str(n): layers.get(n, nn.ReLU()) for n in range(begin, end)}
            self.net.add_module(f"slice{k}", nn.Sequential())
            for name, layer in inner.items():
                self.net.get_submodule(f"slice{k}").add_module(name, layer)
        self.lins = nn.ModuleList()
        for width in WIDTHS:
            lin = nn.Module()
            lin.model = nn.Sequential(nn.Dropout(), nn.Conv2d(width, 1, 1, bias=False))
            self.lins.append(lin)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        assert x.shape[1] == y.shape[1] == 3
        shift, scale = (
            torch.tensor(v).view(1, 3, 1, 1) for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
        )
        total: Any = 0
        f, g = ((v - shift) / scale for v in (x, y))
        for stage, lin in zip(self.net.children(), self.lins, strict=True):
            f, g = stage(f), stage(g)
            a, b = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (f, g))
            found = lin.model((a - b).square())
            size = x.shape[2:]
            total = total + (
                functional.interpolate(found, size=size, mode="bilinear", align_corners=False)
                if self.spatial
                else found.mean((2, 3), keepdim=True)
            )
        return total


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, ...]:
    """The package replaced by ``StandIn``, with heads of its own; returns those."""
    heads = tuple(torch.rand(width, generator=torch.Generator().manual_seed(width)) for width in WIDTHS)
    folder = tmp_path / "lpips" / "weights" / "v0.1"
    folder.mkdir(parents=True)
    torch.save(
        {f"lin{k}.model.1.weight": head.view(1, -1, 1, 1) for k, head in enumerate(heads)},
        folder / "alex.pth",
    )
    module = types.SimpleNamespace(LPIPS=StandIn, __file__=str(tmp_path / "lpips" / "__init__.py"))
    monkeypatch.setattr(package, "import_package", lambda name: (module, "a stand-in"))
    monkeypatch.setattr(weights, "user_data_path", lambda name: tmp_path / "data")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return heads


def trust(monkeypatch: pytest.MonkeyPatch, features: dict[str, Tensor]) -> None:
    """Let these pass for AlexNet's ImageNet features."""
    known = dataclasses.replace(package.BACKBONES["lpips-alex"], features=content_hash(features))
    monkeypatch.setitem(package.BACKBONES, "lpips-alex", known)


def written_out(features: dict[str, Tensor], heads: tuple[Tensor, ...], x: Tensor, y: Tensor) -> list[Tensor]:
    """Each stage's map in float64, layer by layer."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    f, g = (
        (torch.cat([v] * 3, 1).double() - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1) for v in (x, y)
    )
    maps = []
    for (index, (_, _, _, stride, padding)), head in zip(LAYERS.items(), heads, strict=True):
        weight, bias = (features[f"features.{index}.{part}"].double() for part in ("weight", "bias"))
        if index in (3, 6):
            f, g = (functional.max_pool2d(v, 3, 2) for v in (f, g))
        f, g = (functional.conv2d(v, weight, bias, stride, padding).clamp(min=0) for v in (f, g))
        a, b = (v / (v.norm(dim=1, keepdim=True) + 1e-10) for v in (f, g))
        maps.append(torch.einsum("c,bchw->bhw", head.double(), (a - b) ** 2).unsqueeze(1))
    return maps


def test_the_users_features_and_the_packages_heads_get_where_they_belong(
    stand_in: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Map and number are those of the stages written out; the global generator does not move."""
    features = random_features()
    trust(monkeypatch, features)
    torch.save({**features, "classifier.1.weight": torch.zeros(2, 2)}, tmp_path / "full.pth")
    before = torch.random.get_rng_state()
    net = open_perceptual("lpips-alex", tmp_path / "full.pth")
    assert torch.equal(torch.random.get_rng_state(), before)
    x, y = images(2, 1, 128, 128, seed=1), images(2, 1, 128, 128, seed=2)
    maps = written_out(features, stand_in, x, y)
    wanted = sum(functional.interpolate(m, (128, 128), mode="bilinear", align_corners=False) for m in maps)
    torch.testing.assert_close(net.against(x)(y).double(), wanted, rtol=1e-4, atol=1e-5)
    number = torch.stack([m.mean((1, 2, 3)) for m in maps]).sum(0)
    torch.testing.assert_close(net.distance(x, y).double(), number, rtol=1e-5, atol=1e-7)
    assert net.sha256 == content_hash({**features, **{f"head{k}": head for k, head in enumerate(stand_in)}})
    assert net.describe()["file"] == "full.pth"


@pytest.mark.usefixtures("stand_in")
def test_weights_that_are_absent_or_not_alexnets_are_one_line_with_the_remedy(tmp_path: Path) -> None:
    """Without a file nothing is downloaded: the line names torchvision's file and how to give it."""
    with pytest.raises(PerceptualError) as error:
        open_perceptual("lpips-alex")
    for part in ("alexnet-owt-7be5be79.pth", "--set perceptual_weights.lpips-alex=FILE", str(tmp_path)):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    features = random_features()
    torch.save(features, tmp_path / "other.pth")
    with pytest.raises(PerceptualError, match=r"not the ImageNet AlexNet \(sha256 \w{8}, not 7be5be79\)"):
        open_perceptual("lpips-alex", tmp_path / "other.pth")
    torch.save({**features, "features.0.bias": torch.zeros(3)}, tmp_path / "shape.pth")
    with pytest.raises(PerceptualError, match=r"not AlexNet, features\.0\.bias has shape"):
        open_perceptual("lpips-alex", tmp_path / "shape.pth")


def test_a_file_of_torchvision_is_known_by_the_digits_in_its_name(
    stand_in: tuple[Tensor, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VGG-16's way: no hash of its features is known here, but torchvision's names carry that of the file."""
    import hashlib

    torch.save(random_features(), tmp_path / "net.pth")
    digits = hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()[:8]
    known = dataclasses.replace(package.BACKBONES["lpips-alex"], features="", file=f"net-{digits}.pth")
    monkeypatch.setitem(package.BACKBONES, "lpips-alex", known)
    assert open_perceptual("lpips-alex", tmp_path / "net.pth").name == "lpips-alex"


def refuse_import(name: str) -> None:
    raise RuntimeError("operator torchvision::nms does not exist\nand a long story")


def test_where_the_package_cannot_be_imported_a_run_ends_with_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "import_module", refuse_import)
    words = ["run", "--methods", "blur", "--perceptual", "lpips-alex", "--output", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "uadbench[lpips]" in done.stderr
    assert "operator torchvision::nms does not exist" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["--perceptual", "brain-squeeze,lpips-squeeze", "--set", "perceptual_weights=a.pth"],
            "say whose it is",
            id="one file, two nets",
        ),
        pytest.param(["--set", "perceptual_weights.lpips-alx=a.pth"], "did you mean 'lpips-alex'", id="name"),
    ],
)
def test_a_file_that_is_nobodys_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["run", "--methods", "blur", *words, "--output", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_net_of_the_package_is_not_exported(tmp_path: Path) -> None:
    words = ["export", "--only", "perceptual", "--perceptual", "lpips-vgg", "--output", str(tmp_path)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "not exported; choose from brain-squeeze, lpips-squeeze" in done.stderr


def test_no_other_module_imports_torchvision_or_lpips() -> None:
    """Beside another build of torch torchvision does not import, so nobody may who was not asked for it."""
    found = set()
    for folder in ("bench", "datasets", "engine", "exporters", "reports"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                if isinstance(node, ast.Call) and "import_module" in ast.dump(node.func):
                    names += [str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)]
                if {name.split(".")[0] for name in names} & {"torchvision", "lpips"}:
                    found.add(path.name)
    assert found == {"package.py"}
