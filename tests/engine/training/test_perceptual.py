"""Training of brain-squeeze: deterministic, also when interrupted, and what it gives can be used."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from uadbench.bench.cli import cli
from uadbench.bench.run import training_sources
from uadbench.bench.run.training_sources import Sources
from uadbench.engine.networks.checkpoint import CheckpointError
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.engine.perceptual.weights import content_hash
from uadbench.engine.training import perceptual
from uadbench.engine.training.loop import Pool
from uadbench.engine.training.perceptual import PerceptualTraining, train_distance

SHORT = PerceptualTraining(steps=2, head_steps=2, batch_size=2)
THREE = PerceptualTraining(steps=3, head_steps=2, batch_size=2)
SLICES = 40


def textured_disc(seed: int) -> np.ndarray:
    """A bright disc with texture, 96 x 96, in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((96, 96)) - 47.5
    return np.clip((rows**2 + columns**2 < 36**2) * (0.6 + 0.1 * rng.normal(size=(96, 96))), 0, 1)


def slices_of_discs() -> np.ndarray:
    return np.stack([textured_disc(i) for i in range(SLICES)]).astype(np.float32)


def stopping_after(calls: int) -> Callable[[], None]:
    """Raises KeyboardInterrupt at the call after so many."""
    left = calls

    def stop() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def whole() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What a training that nobody stopped gives."""
    return train_distance(slices_of_discs(), THREE)


@pytest.mark.parametrize("done", [pytest.param(1, id="features"), pytest.param(4, id="heads")])
def test_an_interrupted_training_goes_on_to_the_weights_and_the_card_of_one_that_was_not(
    whole: tuple[dict[str, torch.Tensor], dict[str, Any]], tmp_path: Path, done: int
) -> None:
    """Stopped within the features or the heads, the state is kept; losses that were told stand in the card once."""
    slices, state, told = slices_of_discs(), tmp_path / "net.state.pt", list[dict]()
    with pytest.raises(KeyboardInterrupt):
        train_distance(slices, THREE, told.append, state, stopping_after(done))
    assert torch.load(state, weights_only=True)["step"] == min(done, 3)
    tensors, record = train_distance(slices, THREE, told.append, state)
    assert content_hash(tensors) == content_hash(whole[0])
    assert record == whole[1]
    assert told == record["losses"]


def test_a_state_of_other_settings_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    slices, state = slices_of_discs(), tmp_path / "net.state.pt"
    with pytest.raises(KeyboardInterrupt):
        train_distance(slices, SHORT, state=state, stop=stopping_after(1))
    with pytest.raises(CheckpointError, match="belongs to a training with other settings or data"):
        train_distance(slices, dataclasses.replace(SHORT, seed=1), state=state)
    with pytest.raises(CheckpointError, match="other settings or data"):
        train_distance(slices[::-1].copy(), SHORT, state=state)
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        train_distance(slices, SHORT, state=state)


def test_the_command_takes_several_data_sets_and_goes_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 130 and the state beside the output; then the weights, a card that names all the data, no state."""
    pools = tuple(Pool(n, [textured_disc(i) for i in range(20)], 1.0, lambda image: image) for n in "ab")
    sources = Sources(pools, {}, ({"name": "a"}, {"name": "b"}))
    named: list[list[str]] = []
    monkeypatch.setattr(
        training_sources, "load_sources", lambda names, root: named.append(list(names)) or sources
    )
    real = perceptual.feature_loss
    calls = iter(range(100))

    def interrupted_once(*arguments: Any) -> torch.Tensor:
        if next(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(perceptual, "feature_loss", interrupted_once)
    output = tmp_path / "new" / "net.safetensors"
    words = ["train-perceptual", "--data", "ixi-stroke, soop-flair", "--output", str(output)]
    words += ["--steps", "3", "--head-steps", "2", "--batch-size", "2"]
    stopped = CliRunner().invoke(cli, words)
    assert stopped.exit_code == 130
    assert "the same command goes on from here" in stopped.stderr
    assert [path.name for path in output.parent.glob("*.*") if path.name[0] != "."] == ["net.state.pt"]
    torn = output.with_name(".net.state.pt.123.tmp")  # what a kill in the middle of writing leaves
    torn.write_bytes(b"half")
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.stderr
    assert named[0] == ["ixi-stroke", "soop-flair"]
    card = json.loads(output.with_suffix(".json").read_text())
    assert [entry["name"] for entry in card["data"]] == ["a", "b"]
    assert card["slices"] + card["slices_kept_aside"] == 40
    assert not output.with_suffix(".state.pt").exists()
    assert not torn.exists()
    assert open_perceptual("brain-squeeze", output).sha256 == card["content_sha256"]


def test_two_trainings_give_the_same_weights_and_non_negative_heads() -> None:
    slices = slices_of_discs()
    told: list[dict] = []
    tensors, record = train_distance(slices, SHORT, told.append)
    again, _ = train_distance(slices, SHORT)
    assert content_hash(tensors) == content_hash(again)
    assert all((tensors[f"head{k}"] >= 0).all() for k in range(7))
    assert all(value.dtype == torch.float16 for value in tensors.values())
    assert told == record["losses"]
    assert record["slices"] + record["slices_kept_aside"] == 40


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((39, 96, 96), id="too few"),
        pytest.param((40, 64, 64), id="too small"),
        pytest.param((40, 96, 128), id="not square"),
    ],
)
def test_slices_that_cannot_be_trained_on_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="40 or more slices"):
        train_distance(np.zeros(shape, dtype=np.float32), SHORT)
