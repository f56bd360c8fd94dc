"""Checkpoints are checked before use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from uadbench.engine.networks.adapters import as_epsilon
from uadbench.engine.networks.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_denoiser,
    read_card,
    save_checkpoint,
    schedule_of,
    shipped,
)
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.schedule import linear_schedule

SMALL = UNetConfig(channels=(32, 32), attention=(False, True), groups=8, embedding=32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, UNet(SMALL), {"name": "net", "noise": "gaussian"})
    return path


def test_weights_come_back_as_they_were_up_to_half_precision(saved: Path) -> None:
    torch.manual_seed(0)
    original = UNet(SMALL).state_dict()
    model, card = load_checkpoint(saved)
    assert card["noise"] == "gaussian"
    assert not model.training
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, original[name].half().float(), atol=0, rtol=0)


def damage(path: Path, how: str) -> None:
    data, card_path = path.read_bytes(), path.with_suffix(".json")
    card = json.loads(card_path.read_text())
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "altered":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "missing":
        path.unlink()
    elif how == "no card":
        card_path.unlink()
    elif how == "card is not JSON":
        card_path.write_text("{")
    elif how == "other shape":
        card["network"]["channels"] = [64, 64]
        card_path.write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", "does not match its card's hash"),
        ("altered", "does not match its card's hash"),
        ("missing", "is missing"),
        ("no card", r"net\.json is missing"),
        ("card is not JSON", "is no model card"),
        ("other shape", "does not fit the network in its card"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line_that_names_the_file(
    saved: Path, how: str, message: str
) -> None:
    damage(saved, how)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)
    assert "net." in str(caught.value)


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_the_shipped_checkpoints_load_and_are_small(noise: str) -> None:
    path = shipped(f"unet-{noise}")
    model, card = load_checkpoint(path)
    assert card["noise"] == noise
    assert path.stat().st_size <= 9_000_000
    assert sum(p.numel() for p in model.parameters()) < 5_000_000
    assert {source["name"] for source in card["data"]} == {"ixi-stroke", "soop-flair", "phantom"}


def test_a_network_that_is_not_shipped_names_the_remedy() -> None:
    with pytest.raises(
        CheckpointError, match=r"no network unet-perlin .*`bench train`.*checkpoints.unet-perlin=FILE"
    ):
        shipped("unet-perlin")


def write_card(path: Path, **changes: Any) -> None:
    card_path = path.with_suffix(".json")
    card_path.write_text(json.dumps({**json.loads(card_path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[]", "it has no table 'network'", id="a list"),
        pytest.param("3", "it has no table 'network'", id="a number"),
        pytest.param("{}", "it has no table 'network'", id="empty"),
        pytest.param('{"network": []}', "it has no table 'network'", id="network a list"),
        pytest.param("[" * 100_000, "recursion", id="nested too deep"),
        pytest.param('{"a":' * 100_000, "recursion", id="tables nested too deep"),
        pytest.param("\ufeff{}", "BOM", id="byte order mark"),
    ],
)
def test_a_hostile_card_is_one_line(saved: Path, text: str, reason: str) -> None:
    saved.with_suffix(".json").write_text(text)
    for read in (read_card, load_checkpoint):
        with pytest.raises(CheckpointError, match=r"net\.json is no model card") as caught:
            read(saved)
        assert reason in str(caught.value)
        assert len(str(caught.value)) < 400
        assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_no_card(saved: Path) -> None:
    saved.with_suffix(".json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match="is no model card"):
        read_card(saved)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"kind": "gan"}, "kind 'gan'; unet, diffusion-unet, conditioned-unet", id="kind"),
        pytest.param({"kind": ["unet"]}, "is no model card", id="a list of kinds"),
        pytest.param(
            {"prediction": "score"}, "prediction 'score'; epsilon, x0, v, change are known", id="pred."
        ),
        pytest.param({"prediction": None}, "prediction None", id="no prediction"),
        pytest.param({"schedule": {"kind": "cosine"}}, "kind is 'cosine'", id="schedule"),
        pytest.param({"schedule": "linear"}, "is no model card", id="schedule a word"),
        pytest.param({"schedule": [1]}, "is no model card", id="schedule a list"),
        pytest.param({"sha256": None}, "it has no sha256", id="no hash"),
        pytest.param({"sha256": 3}, "it has no sha256", id="a number for a hash"),
    ],
)
def test_a_card_that_promises_what_nobody_can_run_is_refused(
    saved: Path, changes: dict[str, Any], reason: str
) -> None:
    write_card(saved, **changes)
    with pytest.raises(CheckpointError) as caught:
        read_card(saved)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"channels": []}, id="no channels"),
        pytest.param({"channels": "abc"}, id="word"),
        pytest.param({"channels": [0, 0]}, id="zero"),
        pytest.param({"channels": [-4, 8]}, id="negative"),
        pytest.param({"channels": {"a": 1}}, id="table"),
        pytest.param({"groups": 0}, id="no groups"),
        pytest.param({"head_channels": 0}, id="no heads"),
        pytest.param({"attention": [True]}, id="attention too short"),
        pytest.param({"embedding": 2.5}, id="fraction"),
        pytest.param({"embedding": 10**15}, id="larger than any memory"),
        pytest.param({"colour": "red"}, id="unknown"),
    ],
)
def test_a_network_that_cannot_be_built_or_is_another_is_one_line(
    saved: Path, network: dict[str, Any]
) -> None:
    shape = json.loads(saved.with_suffix(".json").read_text())["network"]
    write_card(saved, network={**shape, **network} if network else {})
    with pytest.raises(CheckpointError, match="does not fit the network in its card") as caught:
        load_checkpoint(saved)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_named(saved: Path) -> None:
    damage(saved, "other shape")
    with pytest.raises(
        CheckpointError, match=r"its card: (size mismatch for|Missing key\(s\) in state_dict: ?)[ \"]*\w"
    ):
        load_checkpoint(saved)


def test_a_card_of_the_first_version_is_an_eps_unet_with_the_usual_schedule(saved: Path) -> None:
    card_path = saved.with_suffix(".json")
    card = json.loads(card_path.read_text())
    old = {key: value for key, value in card.items() if key not in ("kind", "prediction", "schedule")}
    card_path.write_text(json.dumps(old))
    _, found = load_checkpoint(saved)
    assert (found["kind"], found["prediction"]) == ("unet", "epsilon")
    assert schedule_of(found) == linear_schedule()


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
def test_a_denoiser_predicts_eps_whatever_its_card_says_that_the_network_predicts(
    saved: Path, prediction: str
) -> None:
    write_card(saved, prediction=prediction)
    network, _ = load_checkpoint(saved)
    denoiser, card = load_denoiser(saved)
    x_t, timesteps = (
        torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)),
        torch.tensor([9, 499]),
    )
    wanted = as_epsilon(network, prediction, schedule_of(card))(x_t, timesteps)
    torch.testing.assert_close(denoiser(x_t, timesteps), wanted)
    assert torch.equal(denoiser(x_t, timesteps), network(x_t, timesteps)) is (prediction == "epsilon")


def test_saving_over_a_checkpoint_leaves_no_litter(saved: Path) -> None:
    save_checkpoint(saved, load_checkpoint(saved)[0], {"noise": "gaussian"})
    assert sorted(path.name for path in saved.parent.iterdir()) == ["net.json", "net.safetensors"]
