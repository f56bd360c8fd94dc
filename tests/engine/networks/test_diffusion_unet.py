"""The papers' network is MONAI's, answers as MONAI's does, and is asked for by those who want it only."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.diffusion import TINY, inputs, make_network
from torch import Tensor

from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig, MissingPackageError
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.training.loop import Pool, TrainingConfig, _identity, train
from uadbench.exporters.onnx import export_unet


def test_the_default_is_the_papers_network_of_18_million_parameters() -> None:
    with torch.device("meta"):
        network = DiffusionUNet()
    assert sum(weight.numel() for weight in network.parameters()) == 18_500_993
    attending = {name.split(".attn.")[0] for name in network.state_dict() if ".attn." in name}
    assert (
        len(attending) == 7
    )  # one on each of two levels down, one in the middle, two on each of two levels up
    assert not any(name.startswith(("unet.down_blocks.0.att", "unet.up_blocks.2.att")) for name in attending)


@pytest.mark.parametrize("projection", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_the_answer_is_that_of_monais_network(projection: bool, fused: bool) -> None:
    from monai.networks.nets import DiffusionModelUNet

    ours = make_network(replace(TINY, projection=projection, fused_attention=fused))
    theirs = DiffusionModelUNet(
        2, 1, 1, 1, (16, 32), (False, True), norm_num_groups=8, num_head_channels=16, include_fc=projection
    )
    theirs.load_state_dict({name.removeprefix("unet."): w for name, w in ours.state_dict().items()})
    x, timesteps = inputs()
    wanted = theirs.eval()(x, timesteps)
    assert wanted.std() > 0.05
    torch.testing.assert_close(ours(x, timesteps), wanted, atol=1e-5, rtol=1e-5)


def test_fused_attention_changes_neither_weights_nor_the_answer() -> None:
    fused, plain = make_network(TINY), make_network(replace(TINY, fused_attention=False))
    assert {k: v.shape for k, v in fused.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    plain.load_state_dict(fused.state_dict())
    torch.testing.assert_close(fused(*inputs()), plain(*inputs()), atol=1e-5, rtol=1e-5)


def test_without_projection_is_as_with_one_that_changes_nothing() -> None:
    network = make_network(TINY)
    weights = network.state_dict()
    for name, weight in weights.items():
        if ".out_proj." in name:
            weight.copy_(torch.eye(len(weight)) if name.endswith("weight") else torch.zeros(len(weight)))
    bare = make_network(replace(TINY, projection=False))
    bare.load_state_dict({name: weight for name, weight in weights.items() if ".out_proj." not in name})
    torch.testing.assert_close(bare(*inputs()), network(*inputs()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("half", [True, False])
def test_a_checkpoint_comes_back_as_this_kind(tmp_path: Path, half: bool) -> None:
    network = make_network()
    save_checkpoint(tmp_path / "net.safetensors", network, {"noise": "gaussian"}, half)
    found, card = load_checkpoint(tmp_path / "net.safetensors")
    assert (card["kind"], card["network"]["channels"]) == ("diffusion-unet", [16, 32])
    assert isinstance(found, DiffusionUNet)
    assert found.config == TINY
    for name, weight in network.state_dict().items():
        kept = weight.half().float() if half else weight
        torch.testing.assert_close(found.state_dict()[name], kept, atol=0, rtol=0)


def test_the_exported_network_answers_as_torch_does(tmp_path: Path) -> None:
    network = make_network()
    manifest = export_unet(network, {"sha256": "0", "network": asdict(TINY)}, tmp_path / "net.onnx", size=32)
    assert manifest["operators"]["Attention"] == 4
    session = load_runtime().InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    x, timesteps = inputs()
    (found,) = session.run(None, {"x": x.numpy(), "timesteps": timesteps.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x, timesteps), atol=1e-4, rtol=1e-4)


def test_neither_the_registry_nor_bench_list_loads_monai() -> None:
    code = (
        "import sys; from uadbench.engine.networks import NETWORKS; from uadbench.bench.cli import main\n"
        "try: main(['list'])\nexcept SystemExit as end: assert not end.code\n"
        "assert 'diffusion-unet' in NETWORKS; assert not {'monai', 'einops'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("absent", ["monai.networks.nets", "einops"])
def test_without_its_packages_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    from uadbench.engine.networks.unet import UNet

    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(
        MissingPackageError, match=r"needs monai and einops .*pip install 'uadbench\[paper\]'"
    ):
        DiffusionUNet(TINY)
    path = tmp_path / "net.safetensors"
    small = UNetConfig(channels=(8,), attention=(False,), head_channels=8, groups=4, embedding=8)
    save_checkpoint(path, UNet(small), {})
    card = json.loads(path.with_suffix(".json").read_text())
    changed = {**card, "kind": "diffusion-unet", "network": asdict(TINY)}
    path.with_suffix(".json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match=r"net\.safetensors: the network .*uadbench\[paper\]") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"channels": ()}, "channels has 0 levels; 1 to 8", id="no levels"),
        pytest.param({"channels": (16,) * 9}, "channels has 9 levels", id="many levels"),
        pytest.param({"channels": (16, 1 << 40)}, "channels is", id="wide"),
        pytest.param({"channels": "ab"}, "channels is 'ab'", id="a word"),
        pytest.param({"channels": (16.0, 32.0)}, "channels is", id="fractions"),
        pytest.param({"attention": (True,)}, "attention has 1 entries for 2 levels", id="attention"),
        pytest.param({"groups": 0}, "groups is 0; whole numbers from 1 to 4096", id="groups"),
        pytest.param({"groups": 5}, r"must divide by 5", id="groups that do not divide"),
        pytest.param({"head_channels": 24}, "also by 24", id="heads that do not divide"),
        pytest.param({"blocks": True}, "blocks is True", id="blocks"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)


def test_a_level_without_attention_need_not_divide_into_heads() -> None:
    assert DiffusionUNetConfig(channels=(128, 256), attention=(False, False)).head_channels == 256


def test_a_configuration_names_its_kind() -> None:
    for name, kind in NETWORKS.items():
        assert kind_of(kind.config()) == name
    with pytest.raises(TypeError, match="dict is no configuration of unet, diffusion-unet"):
        kind_of({})


POOLS = (Pool("noise", np.random.default_rng(0).uniform(0, 1, (4, 16, 16)).astype("f4"), 1.0, lambda x: x),)


def trained(state: Path, network: Any, stop: int | None = None) -> dict[str, Tensor]:
    config = TrainingConfig(steps=4, batch_size=2, warmup=2, ema=0.9)
    weights: dict[str, Tensor] = {}
    for progress, averaged in train(POOLS, config, state, "data", save_every=1, network=network):
        weights = averaged().state_dict()
        if progress.step == stop:
            break
    return weights


def test_a_training_of_this_kind_goes_on_after_a_kill_to_the_same_weights(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole.pt", TINY)
    trained(tmp_path / "killed.pt", TINY, stop=2)
    resumed = trained(tmp_path / "killed.pt", TINY)
    assert {"unet.conv_in.conv.weight"} < set(whole)
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, atol=0, rtol=0)
    with pytest.raises(CheckpointError, match="belongs to a training with other settings or data"):
        trained(tmp_path / "whole.pt", replace(TINY, groups=4))


def test_the_identity_of_the_compact_networks_trainings_is_as_it_was_before_there_were_kinds() -> None:
    """States of long trainings must stay good."""
    config = TrainingConfig()
    settings = asdict(config)
    for later in ("objective", "t_from", "accumulate"):
        del settings[later]
    before = json.dumps([settings, asdict(UNetConfig()), "data"], sort_keys=True)
    assert _identity(config, UNetConfig(), "data") == before
    assert '"kind": "diffusion-unet"' in _identity(config, TINY, "data")
