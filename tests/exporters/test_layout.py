"""Networks written for back ends that keep channels last compute what they compute as torch has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.networks.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from uadbench.engine.networks.restoration_unet import RestorationUNet, RestorationUNetConfig
from uadbench.engine.networks.unet import Attention, ShiftedNorm, UNet, UNetConfig, Upsample
from uadbench.exporters.layout import PlainNorm, TransposedUpsample, channels_last
from uadbench.exporters.onnx import export_unet
from uadbench.exporters.parity import relative_l2
from uadbench.exporters.precision import DTYPES, in_form

CONFIG = UNetConfig(channels=(16, 32), attention=(True, True), head_channels=16, groups=8, embedding=24)
PAPERS = DiffusionUNetConfig(channels=(16, 32), attention=(True, True), head_channels=16, groups=8)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "UNet": lambda: UNet(CONFIG),
    "DiffusionUNet": lambda: DiffusionUNet(PAPERS),
    "ConditionedUNet": lambda: ConditionedUNet(
        ConditionedUNetConfig(**asdict(CONFIG), encoder=(8, 8), code=12)
    ),
    "RestorationUNet": lambda: RestorationUNet(RestorationUNetConfig(**asdict(CONFIG))),
}


def stirred(network: nn.Module, spread: float = 0.3) -> nn.Module:
    """Weights of which none is zero, so that no part of a block is silent."""
    torch.manual_seed(0)
    for one in network.parameters():
        nn.init.normal_(one, std=spread)
    return network.eval().requires_grad_(False)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shift", [None, draw(3, 12)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("size", [(5, 7), (4,), (2, 3, 4)])
def test_a_plain_norm_is_torchs_group_norm_also_where_the_mean_is_far_above_the_spread(
    size: tuple[int, ...], affine: bool, shift: Tensor | None
) -> None:
    """E[x^2] - E[x]^2 would lose everything at a mean of 1000 spreads: 1e6 in fp32 has steps of 0.06."""
    norm = nn.GroupNorm(4, 12, affine=affine)
    if affine:
        stirred(norm)
    x = draw(3, 12, *size)
    added = 0 if shift is None else shift.reshape(3, 12, *[1] * len(size))
    assert relative_l2(PlainNorm(norm)(x, shift), norm(x + added)) < 1e-6
    far = (x + 1000).double()
    exact = norm.double()(far + added)
    assert relative_l2(PlainNorm(norm.float())(far.float(), shift), exact) < 1e-3


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        pytest.param(lambda: ShiftedNorm(8, 32), ((2, 32, 6, 8), (2, 32)), id="norm of a sum"),
        pytest.param(lambda: Attention(32, CONFIG), ((2, 32, 6, 8), (2, 24)), id="attention of two heads"),
        pytest.param(lambda: Upsample(16), ((2, 16, 5, 7),), id="upsampling"),
    ],
)
def test_a_block_is_replaced_by_one_that_computes_the_same(
    make: Callable[[], nn.Module], shapes: tuple[tuple[int, ...], ...]
) -> None:
    block, given = stirred(make()), [draw(*shape) for shape in shapes]
    twin = channels_last(block)
    assert type(twin) is not type(block)
    assert not [one for one in twin.modules() if isinstance(one, nn.GroupNorm)]
    assert relative_l2(twin(*given), block(*given)) < 1e-6


def test_upsampling_is_the_same_to_the_last_pixel_and_takes_four_ninths_of_the_products() -> None:
    block, x = stirred(Upsample(16)), draw(1, 16, 6, 6)
    twin = TransposedUpsample(block)  # type: ignore[arg-type]
    torch.testing.assert_close(twin(x), block(x), rtol=1e-5, atol=1e-5)
    counts = []
    for one in (twin, block):
        with FlopCounterMode(display=False) as flops:
            one(x)
        counts.append(flops.get_total_flops())
    assert counts[0] * 9 == counts[1] * 4


@pytest.mark.parametrize("change", [{"padding": 0}, {"kernel_size": 5}, {"stride": 2}, {"groups": 2}])
def test_a_convolution_that_is_not_known_is_refused(change: dict[str, int]) -> None:
    conv = nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3, "padding": 1, **change})
    with pytest.raises(ValueError, match="follows an upsampling"):
        TransposedUpsample(conv)


@pytest.mark.parametrize("transposed", [True, False])
def test_the_papers_network_is_rewritten_whole(transposed: bool) -> None:
    pytest.importorskip("monai")
    model = stirred(DiffusionUNet(PAPERS))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = channels_last(model, transposed)
    x, t = draw(2, 1, 16, 16), torch.tensor([3, 700])
    assert relative_l2(twin(x, t), model(x, t)) < 1e-5
    kinds = [type(one).__name__ for one in twin.modules()]
    assert kinds.count("PlainResidual") == 8
    assert kinds.count("TokenAttention") == 7
    assert kinds.count("TransposedUpsample") == int(transposed)
    assert "GroupNorm" not in kinds
    for name, value in model.state_dict().items():  # the network that was handed in is as it was
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_in_every_precision_norms_are_fp32_and_products_are_not(name: str, precision: str) -> None:
    if name == "DiffusionUNet":
        pytest.importorskip("monai")
    model = stirred(MODELS[name](), 0.1)
    given = [draw(2, 1, 16, 16), torch.tensor([3, 700])]
    given += [draw(2, 1, 16, 16)] if isinstance(model, ConditionedUNet) else []
    twin = in_form(model, Form(precision, layout="channels-last"))
    assert relative_l2(twin(*given), model(*given)) < {"fp32": 1e-5, "fp16": 3e-3, "bf16": 3e-2}[precision]
    parts = list(twin.modules())
    products = [one for one in parts if isinstance(one, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    assert {one.weight.dtype for one in products} == {DTYPES[precision]}
    assert {one.weight.dtype for one in parts if isinstance(one, PlainNorm)} == {torch.float32}
    assert any(isinstance(one, nn.ConvTranspose2d) for one in products) == (precision == "fp32")


def test_a_file_has_no_operator_that_turns_images_round_and_computes_the_same(tmp_path: Path) -> None:
    model, path = stirred(UNet(CONFIG), 0.1), tmp_path / "net.onnx"
    manifest = export_unet(model, {"sha256": "0"}, path, Form(layout="channels-last"), size=16)
    assert manifest["image_layout"] == "channels-last"
    assert not {"GroupNormalization", "InstanceNormalization", "Shape", "Resize"} & set(manifest["operators"])
    assert manifest["operators"]["ConvTranspose"] == 1
    x, t = draw(3, 1, 16, 16), torch.tensor([99, 349, 999])
    session = load_runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy(), "timesteps": t.numpy()})
    assert relative_l2(torch.from_numpy(found), model(x, t)) < 1e-5
