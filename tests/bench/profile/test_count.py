"""FLOPs and bytes against closed forms, for single layers and every kind of network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from uadbench.bench.profile.count import count_call, count_network
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import save_checkpoint
from uadbench.engine.networks.conditioned_unet import ConditionedUNetConfig
from uadbench.engine.networks.unet import UNetConfig


def on_meta(*shape: int) -> Tensor:
    return torch.zeros(*shape, device="meta")


def test_a_convolution_reads_image_weights_and_bias_and_writes_its_output() -> None:
    found = count_call(nn.Conv2d(3, 8, 3, padding=1).to("meta"), on_meta(2, 3, 16, 16))
    assert found.flops == 2 * 2 * 8 * 16 * 16 * 3 * 9
    assert found.reals == 2 * 3 * 256 + 8 * 3 * 9 + 8 + 2 * 8 * 256
    assert found.operations == 1
    assert found.bytes("fp32") == 4 * found.reals
    assert found.bytes("bf16") == 2 * found.reals
    assert found.bytes("fp5") is None


def test_in_int8_the_large_convolutions_move_bytes_and_all_else_fp32() -> None:
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.SiLU()]
    found = count_call(
        nn.Sequential(*layers, nn.Conv2d(8, 1, 3, padding=1)).to("meta"), on_meta(1, 1, 16, 16)
    )
    assert found.convolved == 8 * 256 + 8 * 8 * 9 + 8 * 256
    assert found.bytes("int8") == found.bytes("fp32") - 3 * found.convolved
    assert found.bytes("int8-bf16") == found.bytes("bf16") - found.convolved


def test_a_linear_layer_on_a_sequence_costs_no_views() -> None:
    found = count_call(nn.Linear(4, 5).to("meta"), on_meta(3, 2, 4))
    assert found.flops == 2 * 6 * 4 * 5
    assert found.reals == 6 * 4 + 20 + 5 + 6 * 5


def test_views_are_free_and_an_operation_in_place_is_not() -> None:
    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, _ = x.view(4, 6).t().reshape(24).view(2, 12).chunk(2)
            return a.add_(1.0)

    found = count_call(Views(), on_meta(24))
    copied = 24 + 24  # reshaping what was transposed copies it
    assert found.operations == 2
    assert found.reals == copied + 12 + 12


def test_whole_numbers_keep_their_size_in_every_precision() -> None:
    class Shift(nn.Module):
        def forward(self, t: Tensor) -> Tensor:
            return t + 1

    found = count_call(Shift(), torch.zeros(5, dtype=torch.int64, device="meta"))
    assert (found.reals, found.other_bytes, found.bytes("bf16")) == (0, 80, 80)


SMALL = {"channels": (8, 16), "attention": (False, True), "head_channels": 8, "groups": 4, "embedding": 16}
CONFIGS = {
    "unet": UNetConfig(**SMALL),  # type: ignore[arg-type]
    "conditioned-unet": ConditionedUNetConfig(**SMALL, encoder=(4, 8), code=12),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_of_network_is_counted_and_grows_with_the_batch(
    kind: str, prediction: str, tmp_path: Path
) -> None:
    path = tmp_path / "n.safetensors"
    save_checkpoint(path, NETWORKS[kind].module(CONFIGS[kind]), {"prediction": prediction})
    one, four = (count_network(path, batch, 16) for batch in (1, 4))
    assert four.flops == 4 * one.flops > 0
    assert one.reals < four.reals < 4 * one.reals  # weights are read once
    if prediction != "epsilon":
        save_checkpoint(path, NETWORKS[kind].module(CONFIGS[kind]), {"prediction": "epsilon"})
        assert count_network(path, 1, 16).reals < one.reals  # the change of prediction moves images


@pytest.mark.slow
def test_the_papers_network_is_counted_with_its_attention_fused(tmp_path: Path) -> None:
    from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig

    path = tmp_path / "n.safetensors"
    config = DiffusionUNetConfig((8, 16), (False, True), head_channels=8, groups=4)
    save_checkpoint(path, DiffusionUNet(config), {})
    assert count_network(path, 1, 16).flops > 0
