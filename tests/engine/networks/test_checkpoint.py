"""Checkpoints are checked before use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from uadbench.engine.networks.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, shipped
from uadbench.engine.networks.unet import UNet, UNetConfig

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
    path = shipped(noise)
    model, card = load_checkpoint(path)
    assert card["noise"] == noise
    assert path.stat().st_size <= 9_000_000
    assert sum(p.numel() for p in model.parameters()) < 5_000_000
    assert {source["name"] for source in card["data"]} == {"ixi-stroke", "soop-flair", "phantom"}


def test_an_unknown_kind_names_the_remedy() -> None:
    with pytest.raises(CheckpointError, match="bench train --noise perlin"):
        shipped("perlin")
