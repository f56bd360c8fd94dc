"""Training: exact resumption, learning, refusal of what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from uadbench.engine.networks.checkpoint import CheckpointError
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.training import BANDS, Pool, TrainingConfig, train, validation_loss

SMALL = UNetConfig(channels=(16, 16), attention=(False, True), head_channels=8, groups=4, embedding=16)
IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 32, 32)).astype(np.float32)
POOLS = (Pool("noise", IMAGES, 1.0), Pool("flat", np.full((3, 32, 32), 0.5, np.float32), 0.5))
CONFIG = TrainingConfig(steps=8, batch_size=2, warmup=2, precision="fp32", ema=0.9)


def weights(state: Path, stop: int | None = None, config: TrainingConfig = CONFIG) -> dict[str, torch.Tensor]:
    network = None
    for progress, averaged in train(POOLS, config, state, "data", save_every=3, network=SMALL):
        network = averaged
        if progress.step == stop:
            break
    assert network is not None
    return network().state_dict()


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, noise: str) -> None:
    config = TrainingConfig(noise=noise, steps=8, batch_size=2, warmup=2, precision="fp32", ema=0.9)
    whole = weights(tmp_path / "whole.pt", config=config)
    weights(tmp_path / "killed.pt", stop=5, config=config)  # the last state is that of step 3
    resumed = weights(tmp_path / "killed.pt", config=config)
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, atol=0, rtol=0)


def test_a_finished_training_gives_its_weights_again_without_training(tmp_path: Path) -> None:
    whole = weights(tmp_path / "a.pt")
    steps = [progress.step for progress, _ in train(POOLS, CONFIG, tmp_path / "a.pt", "data", network=SMALL)]
    assert steps == [8]
    for name, weight in weights(tmp_path / "a.pt").items():
        torch.testing.assert_close(weight, whole[name], atol=0, rtol=0)


def test_training_lowers_the_validation_loss_in_the_bands_it_trains_on(tmp_path: Path) -> None:
    config = TrainingConfig(steps=60, batch_size=8, warmup=5, learning_rate=3e-3, precision="fp32", ema=0.9)
    losses = {}
    for progress, averaged in train(POOLS, config, tmp_path / "a.pt", "data", network=SMALL):
        if progress.step in (1, 60):
            losses[progress.step] = validation_loss(averaged(), IMAGES, "gaussian")
    assert list(losses[1]) == [f"{low}-{high}" for low, high in BANDS]
    assert losses[60]["251-400"] < 0.8 * losses[1]["251-400"]


def test_state_of_another_training_is_refused(tmp_path: Path) -> None:
    weights(tmp_path / "a.pt")
    other = TrainingConfig(steps=8, batch_size=3, warmup=2, precision="fp32", ema=0.9)
    with pytest.raises(CheckpointError, match="belongs to a training with other settings or data"):
        weights(tmp_path / "a.pt", config=other)


def test_damaged_state_is_refused_with_the_remedy(tmp_path: Path) -> None:
    weights(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"is damaged .*delete it to start anew"):
        weights(tmp_path / "a.pt")
