"""Published weights become a checkpoint of ours that answers as the authors' network does, or are refused by name."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from support.diffusion import TINY, inputs, published, write_published
from torch import Tensor, nn

from uadbench.bench.cli import cli
from uadbench.engine.networks import import_weights as module
from uadbench.engine.networks.checkpoint import (
    load_checkpoint,
    load_denoiser,
    schedule_of,
    sha256_of,
    shipped,
)
from uadbench.engine.networks.diffusion_unet import DiffusionUNetConfig
from uadbench.engine.networks.import_weights import noise_response
from uadbench.engine.schedule import linear_schedule


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A network of the papers' kind at a size for tests, but where the papers' is the point."""
    if "slow" not in request.keywords or "tiny" in request.node.name:
        monkeypatch.setattr(module, "PUBLISHED", TINY)


def imported(file: Path, *more: str) -> Result:
    output = file.with_name("net.safetensors")
    return CliRunner().invoke(cli, ["import-weights", str(file), "--output", str(output), *more])


def monais(content: dict[str, Any], config: DiffusionUNetConfig, projection: bool) -> nn.Module:
    """MONAI's own network, filled by MONAI's own reader of older files."""
    from monai.networks.nets import DiffusionModelUNet

    network = DiffusionModelUNet(
        2,
        1,
        1,
        config.blocks,
        config.channels,
        config.attention,
        norm_num_groups=config.groups,
        num_head_channels=config.head_channels,
        include_fc=projection,
    )
    weights = {
        name.removeprefix("unet."): weight
        for name, weight in content["model_weights"].items()
        if name.startswith("unet.")
    }
    network.load_old_state_dict(weights)
    return network.eval()


def assert_equal_forward(found: nn.Module, wanted: nn.Module, size: int = 32) -> None:
    x, timesteps = inputs(size)
    with torch.inference_mode():
        answer = wanted(x, timesteps)
        assert answer.std() > 0.01
        torch.testing.assert_close(found(x, timesteps), answer, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("old_names", [True, False])
def test_the_imported_network_answers_as_monais_does(tmp_path: Path, old_names: bool) -> None:
    """In the authors' code the last layer of attention is saved and never applied; in MONAI's of today it is."""
    content = published(TINY, old_names)
    file = write_published(tmp_path / "model.pt", content)
    result = imported(file)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "net.safetensors")
    network, card = load_checkpoint(tmp_path / "net.safetensors")
    assert_equal_forward(network, monais(content, TINY, projection=not old_names))
    assert card["network"]["projection"] is not old_names
    total = len(network.state_dict())
    assert f"matched {total} of {total} weights" in result.stderr
    assert (
        "saved, but not used by the authors' forward pass: unet.middle_block" in result.stderr
    ) is old_names
    assert len(card["unused"]) == (8 if old_names else 0)  # weight and bias of four


def test_a_projection_that_has_been_trained_is_applied(tmp_path: Path) -> None:
    content = published()
    for name, weight in content["model_weights"].items():
        if name.endswith(".proj_attn.weight"):
            weight *= 1.5
    result = imported(write_published(tmp_path / "model.pt", content))
    assert result.exit_code == 0, result.output
    network, card = load_checkpoint(tmp_path / "net.safetensors")
    assert_equal_forward(network, monais(content, TINY, projection=True))
    assert (card["network"]["projection"], card["unused"]) == (True, [])


@pytest.mark.slow
def test_a_file_of_the_papers_size_is_imported(tmp_path: Path) -> None:
    config = DiffusionUNetConfig()
    content = published(config)
    result = imported(write_published(tmp_path / "model.pt", content))
    assert result.exit_code == 0, result.output
    network, card = load_checkpoint(tmp_path / "net.safetensors")
    assert card["parameters"] == 18_500_993 - 7 * (256 * 256 + 256)
    assert_equal_forward(network, monais(content, config, projection=False), size=64)


def test_the_card_says_where_the_weights_come_from(tmp_path: Path) -> None:
    file = write_published(tmp_path / "model.pt", published())
    assert imported(file, "--noise", "simplex").exit_code == 0
    _, card = load_checkpoint(tmp_path / "net.safetensors")
    assert card["source"] == {"file": "model.pt", "sha256": sha256_of(file.read_bytes())}
    assert (card["kind"], card["prediction"], card["noise"]) == ("diffusion-unet", "epsilon", "simplex")
    assert schedule_of(card) == linear_schedule()
    assert card["rescaled"] is False
    assert "(prediction + 1) / 2" in " ".join(card["caveats"])
    assert set(card["noise_response"]) == {"slope", "offset"}
    assert str(tmp_path) not in (tmp_path / "net.json").read_text()


def test_weights_are_stored_as_published_or_halved_on_demand(tmp_path: Path) -> None:
    file = write_published(tmp_path / "model.pt", published())
    original = published()["model_weights"]["unet.conv_in.conv.weight"]
    for option, kind in (("--float", torch.float32), ("--half", torch.float16)):
        assert imported(file, option).exit_code == 0
        stored = load_file(tmp_path / "net.safetensors")["unet.conv_in.conv.weight"]
        assert torch.equal(stored, original.to(kind))


def test_rescaled_weights_return_half_of_the_prediction_plus_one(tmp_path: Path) -> None:
    file = write_published(tmp_path / "model.pt", published())
    assert imported(file).exit_code == 0
    plain, _ = load_denoiser(tmp_path / "net.safetensors")
    assert imported(file, "--rescale").exit_code == 0
    found, card = load_denoiser(tmp_path / "net.safetensors")
    torch.testing.assert_close(found(*inputs()), (plain(*inputs()) + 1) / 2, atol=1e-5, rtol=1e-5)
    assert card["rescaled"] is True


class Answer(nn.Module):
    """slope x input + offset."""

    def __init__(self, slope: float, offset: float) -> None:
        super().__init__()
        self.slope, self.offset = slope, offset

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        assert timesteps.tolist() == [999]
        return self.slope * x + self.offset


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (2.0, -1.0)])
def test_what_a_network_answers_to_noise_alone_tells_which_loss_it_had(
    noise: str, slope: float, offset: float
) -> None:
    assert noise_response(Answer(slope, offset), noise, 32) == pytest.approx((slope, offset), abs=1e-5)


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_the_shipped_networks_answer_noise_by_that_noise(noise: str) -> None:
    network, _ = load_denoiser(shipped(f"unet-{noise}"))
    assert noise_response(network, noise) == pytest.approx((1, 0), abs=0.1)


class Bomb:
    """What a pickle can do to who reads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("where", ["file", "table", "weight"])
@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
def test_a_file_that_needs_code_is_refused_and_the_code_not_run(
    tmp_path: Path, where: str, plain: bool
) -> None:
    bomb: Any = Bomb(tmp_path / "marker")
    content = {"file": bomb, "table": {"model_weights": bomb}, "weight": {"model_weights": {"unet.a": bomb}}}
    file = tmp_path / "model.pt"
    if plain:
        file.write_bytes(pickle.dumps(content[where]))
    else:
        torch.save(content[where], file)
    result = imported(file)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "refused, since reading it could execute code" in result.stderr
    assert not (tmp_path / "marker").exists()
    assert not list(tmp_path.glob("net*"))


def test_weights_that_do_not_match_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    content = published()
    weights = content["model_weights"]
    del weights["unet.conv_in.conv.bias"]
    weights["unet.conv_on.conv.bias"] = torch.zeros(16)
    weights["unet.out.0.weight"] = torch.zeros(5)
    weights["encoder.weight"] = torch.zeros(1)
    result = imported(write_published(tmp_path / "model.pt", content))
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert "  missing: unet.conv_in.conv.bias" in lines
    assert "  missing: unet.out.0.weight" in lines
    assert "  left over: unet.conv_on.conv.bias" in lines
    assert "  left over: unet.out.0.weight (5,), not (16,)" in lines
    assert "  left over: encoder.weight" in lines
    assert not any("l_pips_sq" in line for line in lines)
    assert lines[-1].endswith("2 weights are missing and 3 left over; nothing is written")
    assert not list(tmp_path.glob("net*"))


def test_a_network_of_another_size_does_not_flood_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_published(tmp_path / "model.pt", published())
    monkeypatch.setattr(module, "PUBLISHED", DiffusionUNetConfig())
    result = imported(file)
    assert result.exit_code == 2
    assert "  missing: and " in result.stderr
    assert len(result.stderr.splitlines()) < 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({"state_dict": {}}, "has no table 'model_weights' (it holds state_dict)", id="other"),
        pytest.param({"model_weights": {}}, "has no table 'model_weights'", id="no weights"),
        pytest.param([torch.zeros(1)], "has no table 'model_weights' (it holds list)", id="a list"),
        pytest.param({"model_weights": {"unet.a": 3}}, "'unet.a' is int, not a tensor", id="a number"),
        pytest.param({"model_weights": {3: torch.zeros(1)}}, "3 is Tensor", id="no name"),
        pytest.param(b"", "is damaged", id="empty"),
        pytest.param(b"PK\x03\x04" + bytes(40), "is damaged", id="torn"),
        pytest.param(b"GIF89a" + bytes(40), "refused", id="another format"),
    ],
)
def test_a_file_of_another_layout_is_one_line(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "model.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    result = imported(file)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "model.pt" in result.stderr


@pytest.mark.parametrize("name", ["nowhere.pt", "."])
def test_what_is_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    arguments = ["import-weights", str(tmp_path / name), "--output", str(tmp_path / "net.safetensors")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "is missing, or no file; give a published .pt file" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_output_is_named_as_a_checkpoint_is(tmp_path: Path) -> None:
    file = write_published(tmp_path / "model.pt", {})
    arguments = ["import-weights", str(file), "--output", str(tmp_path / "net.pt")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert "--output net.pt must end in .safetensors" in result.stderr


@pytest.mark.slow
def test_a_method_runs_with_an_imported_tiny_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write_published(tmp_path / "model.pt", published())
    assert imported(file).exit_code == 0
    chosen = f"checkpoints.unet-gaussian={tmp_path / 'net.safetensors'}"
    arguments = ["--methods", "ddpm", "--limit", "1", "--steps", "2", "--set", chosen, "--no-progress"]
    result = CliRunner().invoke(cli, ["run", *arguments, "--output", "run"])
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert sha256_of((tmp_path / "net.safetensors").read_bytes()) in json.dumps(manifest)
