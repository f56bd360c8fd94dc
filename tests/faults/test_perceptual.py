"""Hostile perceptual files: whatever the bytes, one line and PerceptualError, and nothing is executed or waited for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from uadbench.engine.perceptual.weights import LPIPS_FILE, SHIPPED, PerceptualError, load_weights


def refused(name: str, path: Path, reason: str) -> None:
    with pytest.raises(PerceptualError) as error:
        load_weights(name, path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def brain(folder: Path, data: bytes | None = None, card: bytes | None = None) -> Path:
    """The shipped weights and card, or others in their place; a card that is not given fits the weights."""
    path = folder / "brain.safetensors"
    path.write_bytes((SHIPPED / "brain-squeeze.safetensors").read_bytes() if data is None else data)
    fits = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_bytes(json.dumps(fits).encode() if card is None else card)
    return path


def changed(key: str, change: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    """The shipped weights with one of them changed."""
    tensors = load_file(SHIPPED / "brain-squeeze.safetensors")
    tensors[key] = change(tensors[key]).contiguous()
    return save(tensors)


HEADER_NESTED = (10**5).to_bytes(8, "little") + b"[" * 10**5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "cannot be read as weights", id="empty"),
        pytest.param(b"not weights at all", "cannot be read as weights", id="text"),
        pytest.param(b"\xff" * 64, "cannot be read as weights", id="huge header"),
        pytest.param(HEADER_NESTED, "cannot be read as weights", id="header nested deep"),
        pytest.param(save({}), "not SqueezeNet 1.1", id="no tensors"),
        pytest.param(changed("head3", lambda v: v * torch.nan), "head3 must be", id="NaN head"),
        pytest.param(changed("head3", lambda v: v + torch.inf), "head3 must be", id="infinite head"),
        pytest.param(changed("head3", lambda v: -v - 1), "head3 must be", id="negative head"),
        pytest.param(changed("head3", lambda v: v[:-1]), "head3 must be", id="short head"),
        pytest.param(changed("head3", lambda v: v.int()), "no plain tensor of real", id="integers"),
        pytest.param(changed("features.0.weight", lambda v: v.to(torch.complex64)), "", id="complex numbers"),
    ],
)
def test_weights_that_fit_their_hash_but_are_none_are_refused(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    refused("brain-squeeze", brain(tmp_path, data), reason)


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(b"[" * 100_000, id="lists nested deep"),
        pytest.param(b'{"a":' * 100_000, id="objects nested deep"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b'{"sha256": ' + b"9" * 5000 + b"}", id="5000 digits"),
    ],
)
def test_a_card_that_is_none_is_refused(tmp_path: Path, card: bytes) -> None:
    refused("brain-squeeze", brain(tmp_path, card=card), "not a model card")


@pytest.mark.parametrize("card", [b"{}", b'{"sha256": null}', b'{"sha256": ["x"]}', b'{"sha256": 1e400}'])
def test_a_card_without_the_hash_of_its_weights_is_refused(tmp_path: Path, card: bytes) -> None:
    refused("brain-squeeze", brain(tmp_path, card=card), "is not its card's")


def test_a_card_of_next_to_nothing_is_enough_where_the_hash_is_right(tmp_path: Path) -> None:
    assert load_weights("brain-squeeze", brain(tmp_path)).sha256 == load_weights("brain-squeeze").sha256


@pytest.mark.parametrize(
    "state",
    [
        pytest.param({"features.99.weight": "a word"}, id="word for a tensor"),
        pytest.param({"features.0.weight": [1, 2]}, id="list for a tensor"),
        pytest.param({"features.0.weight": torch.zeros(64, 3, 3, 3).to_sparse()}, id="sparse"),
        pytest.param({"features.0.weight": torch.zeros(64, 3, 3, 3, device="meta")}, id="no values"),
        pytest.param({"features.0.weight": torch.zeros(64, 3, 3, 3).long()}, id="integers"),
        pytest.param({1: torch.zeros(1), None: 2}, id="keys that are no words"),
    ],
)
def test_a_state_dict_of_odd_things_is_refused(tmp_path: Path, state: dict[object, object]) -> None:
    torch.save(state, tmp_path / LPIPS_FILE)
    refused("lpips-squeeze", tmp_path / LPIPS_FILE, "")


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["brain-squeeze", "lpips-squeeze"])
@pytest.mark.parametrize(
    ("file", "make", "reason"),
    [
        pytest.param("x.safetensors", Path.mkdir, "is not a file", id="folder"),
        pytest.param("x.safetensors", pipe, "is not a file", id="pipe"),
        pytest.param("x" * 300 + ".safetensors", None, "name too long", id="long name"),
        pytest.param("x\0.safetensors", None, "null", id="NUL"),
        pytest.param("none.safetensors", None, "No such file", id="missing"),
    ],
)
def test_a_path_that_is_no_file_is_one_line(
    tmp_path: Path, name: str, file: str, make: Callable[[Path], None] | None, reason: str
) -> None:
    if make is not None:
        make(tmp_path / file)
    refused(name, tmp_path / file, reason)


def test_a_pipe_in_the_place_of_a_card_is_not_waited_for(tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "brain-squeeze.safetensors", tmp_path / "brain.safetensors")
    os.mkfifo(tmp_path / "brain.json")
    refused("brain-squeeze", tmp_path / "brain.safetensors", "is not a file")
