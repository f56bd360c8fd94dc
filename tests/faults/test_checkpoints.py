"""Damaged, altered and hostile checkpoints and cards: one line and CheckpointError each, at once and without memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from support import tiny_network as tiny
from support.faults import invoke, refused

from uadbench.engine.networks.checkpoint import CheckpointError, load_checkpoint, read_card, sha256_of
from uadbench.engine.training.loop import Pool, TrainingConfig, train

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_checkpoint(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def saved(sound: Path, tmp_path: Path) -> Path:
    """A small sound checkpoint of this test's own."""
    shutil.copytree(sound.parent, tmp_path / "net")
    return tmp_path / "net" / sound.name


def card_of(path: Path) -> Path:
    return path.with_suffix(".json")


def card(**changes: Any) -> Damage:
    """Changes keys of the card."""

    def damage(path: Path) -> None:
        found = json.loads(card_of(path).read_text())
        card_of(path).write_text(json.dumps(found | changes))

    return damage


def network(**changes: Any) -> Damage:
    """Changes the shape that the card gives."""

    def damage(path: Path) -> None:
        card(network=json.loads(card_of(path).read_text())["network"] | changes)(path)

    return damage


def weights(data: bytes) -> Damage:
    """Other bytes, with a card whose hash is theirs."""

    def damage(path: Path) -> None:
        path.write_bytes(data)
        card(sha256=sha256_of(data))(path)

    return damage


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Damage:
    """Other tensors, with a card whose hash is theirs."""

    def damage(path: Path) -> None:
        changed = {name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}
        weights(save(changed))(path)

    return damage


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(bytes(data))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HEADER = b'{"a":{"dtype":"F16","shape":[9],"data_offsets":[0,999999]}}'
LYING = len(HEADER).to_bytes(8, "little") + HEADER + b"\0" * 18

DAMAGES = [
    pytest.param(Path.unlink, "is missing", id="weights missing"),
    pytest.param(lambda path: card_of(path).unlink(), "is missing", id="card missing"),
    pytest.param(folder, "unet-gaussian.safetensors", id="weights a folder"),
    pytest.param(pipe, "unet-gaussian.safetensors", id="weights a pipe"),
    pytest.param(lambda path: folder(card_of(path)), "unet-gaussian.json", id="card a folder"),
    pytest.param(lambda path: pipe(card_of(path)), "unet-gaussian.json", id="card a pipe"),
    pytest.param(truncated, "does not match its card's hash", id="weights truncated"),
    pytest.param(flipped, "does not match its card's hash", id="one bit of the weights"),
    pytest.param(lambda path: truncated(card_of(path)), "is no model card", id="card truncated"),
    pytest.param(lambda path: card_of(path).write_bytes(b""), "is no model card", id="card empty"),
    pytest.param(
        lambda path: card_of(path).write_bytes(b'{"network": ' + b"9" * 5000 + b"}"),
        "is no model card",
        id="5000 digits",
    ),
    pytest.param(card(network=[64, 96]), "is no model card", id="network a list"),
    pytest.param(card(kind={"unet": 1}), "is no model card", id="kind a table"),
    pytest.param(card(kind="u\nnet"), "is no model card", id="kind of two lines"),
    pytest.param(card(kind="x" * 10**6), "is no model card", id="kind of a million letters"),
    pytest.param(card(prediction=[]), "is no model card", id="prediction a list"),
    pytest.param(
        card(schedule={"kind": "linear", "length": 1e3, "start": 1e-4, "end": 0.02}),
        "is no model card",
        id="length a fraction",
    ),
    pytest.param(
        card(schedule={"kind": "linear", "length": 10**12, "start": 1e-4, "end": 0.02}),
        "is no model card",
        id="a schedule of 1e12 levels",
    ),
    pytest.param(
        card(schedule={"kind": "linear", "length": 9, "start": float("nan"), "end": 0.02}),
        "is no model card",
        id="NaN in the schedule",
    ),
    pytest.param(
        card(schedule={"kind": "linear", "length": 9, "start": 10**400, "end": 0.02}),
        "is no model card",
        id="a number beyond all",
    ),
    pytest.param(weights(b""), "does not fit", id="no bytes"),
    pytest.param(weights(b"\xff" * 64), "does not fit", id="header of 2^64 bytes"),
    pytest.param(weights((10**5).to_bytes(8, "little") + b"[" * 10**5), "does not fit", id="nested deep"),
    pytest.param(weights(LYING), "does not fit", id="tensors beyond the end"),
    pytest.param(weights(save({})), "does not fit", id="no tensors"),
    pytest.param(tensors(lambda t: t | {"mine": torch.zeros(1)}), "does not fit", id="a tensor too many"),
    pytest.param(
        tensors(lambda t: {k: v for k, v in t.items() if k != "conv_in.weight"}),
        "does not fit",
        id="a tensor missing",
    ),
    pytest.param(tensors(lambda t: {k: v[:1] for k, v in t.items()}), "does not fit", id="other shapes"),
    pytest.param(
        tensors(lambda t: {k: v.to(torch.complex64) for k, v in t.items()}), "real", id="complex numbers"
    ),
    pytest.param(tensors(lambda t: {k: v.int() for k, v in t.items()}), "real", id="whole numbers"),
    pytest.param(network(blocks=10**9), "does not fit", id="a billion blocks"),
    pytest.param(network(blocks=0), "does not fit", id="no block"),
    pytest.param(network(blocks=True), "does not fit", id="blocks true"),
    pytest.param(network(fold=0), "does not fit", id="fold 0"),
    pytest.param(network(fold=10**6), "does not fit", id="fold a million"),
    pytest.param(network(fold=-2), "does not fit", id="fold negative"),
    pytest.param(network(embedding=200_000), "does not fit", id="160 GB"),
    pytest.param(network(channels=[16 * 4096, 16 * 8192]), "does not fit", id="terabytes"),
    pytest.param(network(channels=[16] * 10_000, attention=[False] * 10_000), "does not fit", id="levels"),
    pytest.param(network(head_channels="16"), "does not fit", id="heads a word"),
    pytest.param(network(groups=-8), "does not fit", id="groups negative"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_damaged_checkpoint_is_one_line_that_names_the_file_and_the_reason(
    saved: Path, damage: Damage, reason: str
) -> None:
    damage(saved)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved)
    message = str(caught.value)
    assert reason in message
    assert "unet-gaussian." in message
    assert "\n" not in message
    assert len(message) < 1000


def test_before_it_was_damaged_the_checkpoint_was_sound(saved: Path) -> None:
    model, found = load_checkpoint(saved)
    assert model.training is False
    assert found == read_card(saved)


@pytest.mark.parametrize(
    "name",
    ["x" * 300, "nul\0", "a/" * 3000 + "x", ".", "/", ""],
    ids=["long", "NUL", "deep", ".", "/", "empty"],
)
def test_a_path_that_can_be_no_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path / f"{name}.safetensors" if len(name) > 2 else Path(name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("verb", ["run", "export"])
@pytest.mark.parametrize("damage", [truncated, pipe, network(blocks=10**9), weights(LYING), folder])
def test_the_verbs_say_it_in_one_line_and_write_nothing(
    saved: Path, verb: str, damage: Damage, tmp_path: Path
) -> None:
    damage(saved)
    out = tmp_path / "out"
    words = {
        "run": ["--methods", "ddpm", "--limit", "1", "--set", f"checkpoints.unet-gaussian={saved}"],
        "export": ["--checkpoint", str(saved), "--only", "unet"],
    }
    line = refused(invoke(verb, *words[verb], "--output", str(out)))
    assert "unet-gaussian." in line
    assert not out.exists()


def state_without(key: str, path: Path, instead: Any = None) -> None:
    """A training's state, of the right name, with one part of it replaced."""
    torch.save(torch.load(path, weights_only=True) | {key: instead}, path)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(truncated, id="truncated"),
        pytest.param(flipped, id="one bit"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: torch.save([1], path), id="a list"),
        pytest.param(lambda path: torch.save({"identity": 3}, path), id="another's name"),
        pytest.param(lambda path: state_without("optimizer", path), id="no optimizer"),
        pytest.param(lambda path: state_without("model", path, [1]), id="no weights"),
        pytest.param(folder, id="a folder"),
    ],
)
def test_a_damaged_state_of_a_training_is_one_line_with_the_remedy(tmp_path: Path, damage: Damage) -> None:
    pool = Pool("p", [torch.rand(32, 32).numpy()], 1.0, lambda image: image)
    config = TrainingConfig(steps=1, batch_size=1, warmup=1)
    state = tmp_path / "state-gaussian.pt"

    def go_on() -> None:
        list(train((pool,), config, state, "data", network=tiny.CONFIG))

    go_on()
    damage(state)
    with pytest.raises((CheckpointError, OSError)) as caught:
        go_on()
    assert "state-gaussian.pt" in str(caught.value)
    assert "\n" not in str(caught.value)
