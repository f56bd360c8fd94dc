"""The perceptual distance against independent computations; its weights have their own file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from uadbench.engine.anomaly import gaussian_smooth, residual
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.perceptual.distance import SqueezePerceptual, build_distance, open_perceptual
from uadbench.engine.perceptual.squeezenet import SMALLEST_SIDE, STAGE_CHANNELS, SqueezeNetStages
from uadbench.engine.perceptual.weights import (
    SHIPPED,
    PerceptualWeights,
)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def random_weights(seed: int = 0) -> PerceptualWeights:
    rng = torch.Generator().manual_seed(seed)
    features = {
        key: torch.randn(value.shape, generator=rng)
        * (0.1 if value.ndim == 1 else (2 / value[0].numel()) ** 0.5)
        for key, value in SqueezeNetStages().state_dict().items()
    }
    heads = tuple(torch.rand(c, generator=rng) for c in STAGE_CHANNELS)
    return PerceptualWeights(features, heads, "random", Path("random"), {})


def opened(weights: PerceptualWeights) -> SqueezePerceptual:
    return SqueezePerceptual("random", build_distance(weights), "cpu", weights.sha256, weights.source, {})


@pytest.fixture(scope="module")
def random_perceptual() -> SqueezePerceptual:
    return opened(random_weights())


# --- what is computed -------------------------------------------------------------------------------------------


def reference_stages(state: dict[str, Tensor], x: Tensor) -> list[np.ndarray]:
    """The seven stages, layer by layer from the paper's table, in float64."""
    w = {key: value.double() for key, value in state.items()}
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = (torch.cat([x] * 3, 1).double() - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)

    def fire(x: Tensor, n: int) -> Tensor:
        at = f"features.{n}."
        s = functional.conv2d(x, w[at + "squeeze.weight"], w[at + "squeeze.bias"]).clamp(min=0)
        one = functional.conv2d(s, w[at + "expand1x1.weight"], w[at + "expand1x1.bias"])
        three = functional.conv2d(
            functional.pad(s, (1, 1, 1, 1)), w[at + "expand3x3.weight"], w[at + "expand3x3.bias"]
        )
        return torch.cat([one, three], 1).clamp(min=0)

    def pool(x: Tensor) -> Tensor:
        rows, columns = (
            -(-(n - 3) // 2) * 2 + 3 for n in x.shape[2:]
        )  # rounded up, then cut into 3 x 3 windows
        padded = functional.pad(x, (0, columns - x.shape[3], 0, rows - x.shape[2]), value=-torch.inf)
        return padded.unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(4, 5))

    x1 = functional.conv2d(x, w["features.0.weight"], w["features.0.bias"], stride=2).clamp(min=0)
    x2 = fire(fire(pool(x1), 3), 4)
    x3 = fire(fire(pool(x2), 6), 7)
    x4 = fire(pool(x3), 9)
    x5 = fire(x4, 10)
    x6 = fire(x5, 11)
    return [stage.numpy() for stage in (x1, x2, x3, x4, x5, x6, fire(x6, 12))]


def bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w] -> size, pixel centres aligned, edges held."""
    for axis, new in enumerate(size):
        old = image.shape[axis]
        position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        weights = np.clip(1 - np.abs(position[:, None] - np.arange(old)), 0, None)
        image = np.moveaxis(np.tensordot(weights, image, (1, axis)), 0, axis)
    return image


@pytest.mark.parametrize("size", [(128, 128), (96, 70), (SMALLEST_SIDE, SMALLEST_SIDE)])
def test_map_and_number_agree_with_an_independent_computation(size: tuple[int, int]) -> None:
    """Stages, unit length, heads, up-sampling and sum, written out in float64, give the same map and number."""
    weights = random_weights(1)
    x, x_rec = images(2, 1, *size, seed=1), images(2, 1, *size, seed=2)
    expected_map, expected_number = np.zeros((2, *size)), np.zeros(2)
    pairs = zip(
        reference_stages(dict(weights.features), x),
        reference_stages(dict(weights.features), x_rec),
        strict=True,
    )
    for head, (f, g) in zip(weights.heads, pairs, strict=True):
        f, g = (v / (np.sqrt((v**2).sum(1, keepdims=True)) + 1e-10) for v in (f, g))
        stage = np.einsum("c,bchw->bhw", head.double().numpy(), (f - g) ** 2)
        expected_number += stage.mean((1, 2))
        expected_map += np.stack([bilinear(s, size) for s in stage])
    perceptual = opened(weights)
    found = perceptual.against(x)(x_rec)
    assert found.shape == (2, 1, *size)
    np.testing.assert_allclose(found[:, 0].numpy(), expected_map, rtol=1e-4)
    np.testing.assert_allclose(perceptual.distance(x, x_rec).numpy(), expected_number, rtol=1e-5)


class TorchvisionFire(nn.Module):
    """The block under torchvision's names, for the oracle below."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze, self.act = nn.Conv2d(channels, squeeze, 1), nn.ReLU()
        self.expand1x1, self.expand3x3 = (
            nn.Conv2d(squeeze, expand, 1),
            nn.Conv2d(squeeze, expand, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1x1(x)), self.act(self.expand3x3(x))], 1)


def lpips_package(features: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The lpips package itself; torchvision, of which it wants one network, is replaced by that network."""
    layers = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [TorchvisionFire(64, 16, 64), TorchvisionFire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [
        TorchvisionFire(128, 32, 128),
        TorchvisionFire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ]
    layers += [TorchvisionFire(256, 48, 192), TorchvisionFire(384, 48, 192)]
    layers += [TorchvisionFire(384, 64, 256), TorchvisionFire(512, 64, 256)]
    whole = nn.Module()
    whole.features = nn.Sequential(*layers)
    whole.load_state_dict(features)
    stubs = {name: types.ModuleType(name) for name in ("torchvision", "torchvision.models", "tqdm")}
    stubs["torchvision"].models = stubs["torchvision.models"]  # type: ignore[attr-defined]
    stubs["torchvision.models"].squeezenet1_1 = lambda pretrained: whole  # type: ignore[attr-defined]
    stubs["tqdm"].tqdm = None  # type: ignore[attr-defined]
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in lpips_modules():  # imported with the true torchvision, which would download
        monkeypatch.delitem(sys.modules, name)
    package = importlib.import_module("lpips")
    for name in lpips_modules():
        del sys.modules[name]  # so that nobody meets the package with its stubs later
    return package


def lpips_modules() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "lpips"]


@pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="the lpips package is not installed")
def test_map_and_number_are_those_of_the_lpips_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of the LPIPS authors, run with the same features and their own heads, gives the same values."""
    heads = load_file(SHIPPED / "lpips-squeeze-heads.safetensors")
    weights = random_weights(3)
    weights = PerceptualWeights(weights.features, tuple(heads[f"head{k}"] for k in range(7)), "", Path(), {})
    package = lpips_package(dict(weights.features), monkeypatch)
    spatial = package.LPIPS(net="squeeze", spatial=True, verbose=False)
    number = package.LPIPS(net="squeeze", verbose=False)
    perceptual = opened(weights)
    for shape in ((2, 1, 128, 128), (1, 3, 100, 77)):
        x, x_rec = images(*shape, seed=4), images(*shape, seed=5)
        with torch.no_grad():
            colour = x.expand(-1, 3, -1, -1), x_rec.expand(-1, 3, -1, -1)
            torch.testing.assert_close(perceptual.against(x)(x_rec), spatial(*colour), rtol=1e-6, atol=1e-7)
            torch.testing.assert_close(
                perceptual.distance(x, x_rec), number(*colour).flatten(), rtol=1e-6, atol=1e-7
            )


def test_features_have_unit_length_and_the_stages_resolutions(random_perceptual: SqueezePerceptual) -> None:
    """At 128 x 128 the stages have 63, 31, 15 and four times 7 pixels a side, and vectors of length 1."""
    with torch.no_grad():
        features = random_perceptual.net.features(images(1, 1, 128, 128))
    assert [f.shape[1:] for f in features] == [
        (c, n, n) for c, n in zip(STAGE_CHANNELS, (63, 31, 15, 7, 7, 7, 7), strict=True)
    ]
    for f in features:
        torch.testing.assert_close(f.norm(dim=1), torch.ones_like(f[:, 0]))


def test_map_is_zero_for_equal_images_symmetric_and_never_negative(
    random_perceptual: SqueezePerceptual,
) -> None:
    """A distance: S(x, x) = 0 exactly, S(x, y) = S(y, x) >= 0."""
    x, y = images(2, 1, 64, 64, seed=1), images(2, 1, 64, 64, seed=2)
    assert random_perceptual.against(x)(x).abs().max() == 0
    there, back = random_perceptual.against(x)(y), random_perceptual.against(y)(x)
    assert there.min() >= 0
    assert there.max() > 0
    torch.testing.assert_close(there, back)


def test_an_image_alone_equals_the_same_image_in_a_batch(random_perceptual: SqueezePerceptual) -> None:
    """Images of a batch do not see each other."""
    x, y = images(4, 1, 64, 64, seed=1), images(4, 1, 64, 64, seed=2)
    together = random_perceptual.against(x)(y)
    alone = torch.cat([random_perceptual.against(x[i : i + 1])(y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_features_of_the_input_are_computed_once() -> None:
    """Three maps against one input run the network four times, not six."""
    perceptual = opened(random_weights())
    calls = []
    perceptual.net.features.register_forward_hook(lambda *_: calls.append(1))
    distance_map = perceptual.against(images(1, 1, 32, 32))
    for seed in (1, 2, 3):
        distance_map(images(1, 1, 32, 32, seed=seed))
    assert len(calls) == 4


def test_images_of_a_wrong_form_are_refused(random_perceptual: SqueezePerceptual) -> None:
    """Too small, too few dimensions, or another shape than the input's: one line that names the shapes."""
    for shape in ((1, 1, 16, 64), (1, 64, 64), (1, 2, 64, 64)):
        with pytest.raises(ValueError, match=r"expected images .* got"):
            random_perceptual.against(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"one shape, got \(1, 1, 64, 64\) and \(2, 1, 64, 64\)"):
        random_perceptual.against(images(1, 1, 64, 64))(images(2, 1, 64, 64))


@pytest.mark.slow
def test_both_modules_can_be_exported_and_run_in_onnx_runtime(tmp_path: Path) -> None:
    """Features and distance go through the dynamo exporter, and ONNX Runtime computes the same map."""
    net = build_distance(random_weights())
    x, y = images(2, 1, 128, 128, seed=1), images(2, 1, 128, 128, seed=2)
    with torch.no_grad():
        features = net.features(x)
        expected = net(features, y)
    torch.onnx.export(net.features, (x,), tmp_path / "features.onnx", dynamo=True, external_data=False)
    torch.onnx.export(net, (features, y), tmp_path / "distance.onnx", dynamo=True, external_data=False)
    first = load_runtime().InferenceSession(
        str(tmp_path / "features.onnx"), providers=["CPUExecutionProvider"]
    )
    second = load_runtime().InferenceSession(
        str(tmp_path / "distance.onnx"), providers=["CPUExecutionProvider"]
    )
    found = first.run(None, {first.get_inputs()[0].name: x.numpy()})
    inputs = dict(zip([i.name for i in second.get_inputs()], [*found, y.numpy()], strict=True))
    np.testing.assert_allclose(second.run(None, inputs)[0], expected.numpy(), rtol=1e-3, atol=1e-5)


def lesion_pairs(count: int) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Phantoms with a lesion, a blurred reconstruction of the same phantoms without, lesion and tissue masks."""
    from scipy.ndimage import gaussian_filter

    from uadbench.datasets.anatomy import generate

    sizes = ("small", "medium", "large")
    healthy = [generate(123, f"perceptual-{i}")[0] for i in range(count)]
    lesion = [generate(123, f"perceptual-{i}", sizes[i % 3]) for i in range(count)]
    x = torch.from_numpy(np.stack([image for image, _ in lesion]))[:, None] * 2 - 1
    x_rec = torch.from_numpy(np.stack([gaussian_filter(image, 1.2) for image in healthy]))[:, None] * 2 - 1
    masks = np.stack([mask for _, mask in lesion])
    return x, x_rec, masks, np.stack(healthy) > 0.1


def test_shipped_weights_set_lesions_apart_from_what_a_blurred_reconstruction_lost() -> None:
    """On phantoms the map ranks lesion pixels above tissue, and the residual does better with it than without."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    x, x_rec, masks, tissue = lesion_pairs(12)
    region = tissue | masks
    smooth = gaussian_smooth(open_perceptual("brain-squeeze").against(x)(x_rec), 2.0).clamp(0, 1)
    alone = residual(x, x_rec)
    weighted = alone * smooth

    def score(function: Callable[..., float], scores: Tensor) -> float:
        return float(function(masks[region], scores[:, 0].numpy()[region]))

    assert score(roc_auc_score, smooth) > 0.85
    assert score(average_precision_score, weighted) > score(average_precision_score, alone) + 0.03
