"""Training: exact resumption, learning, refusal of what does not fit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from uadbench.engine.networks.checkpoint import CheckpointError
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.loop import Pool, _draw_images, _identity, _learning_rate, train
from uadbench.engine.training.validation import BANDS, validation_loss

SMALL = UNetConfig(channels=(16, 16), attention=(False, True), head_channels=8, groups=4, embedding=16)
IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 32, 32)).astype(np.float32)


def identity(image: np.ndarray) -> np.ndarray:
    return image


POOLS = (
    Pool("noise", IMAGES, 1.0, identity),
    Pool("flat", np.full((3, 32, 32), 0.5, np.float32), 0.5, identity),
)
CONFIG = TrainingConfig(steps=8, batch_size=2, warmup=2, ema=0.9)


def weights(
    state: Path, stop: int | None = None, config: TrainingConfig = CONFIG, **more: Any
) -> dict[str, torch.Tensor]:
    network = None
    for progress, averaged in train(POOLS, config, state, "data", save_every=3, network=SMALL, **more):
        network = averaged
        if progress.step == stop:
            break
    assert network is not None
    return network().state_dict()


def assert_equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=0, rtol=0)


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, noise: str) -> None:
    config = TrainingConfig(noise=noise, steps=8, batch_size=2, warmup=2, ema=0.9)
    whole = weights(tmp_path / "whole.pt", config=config)
    weights(tmp_path / "killed.pt", stop=5, config=config)  # the last state is that of step 3
    resumed = weights(tmp_path / "killed.pt", config=config)
    assert_equal(whole, resumed)


def test_a_finished_training_gives_its_weights_again_without_training(tmp_path: Path) -> None:
    whole = weights(tmp_path / "a.pt")
    steps = [progress.step for progress, _ in train(POOLS, CONFIG, tmp_path / "a.pt", "data", network=SMALL)]
    assert steps == [8]
    assert_equal(weights(tmp_path / "a.pt"), whole)


def test_training_lowers_the_validation_loss_in_the_bands_it_trains_on(tmp_path: Path) -> None:
    config = TrainingConfig(steps=60, batch_size=8, warmup=5, learning_rate=3e-3, ema=0.9)
    losses = {}
    for progress, averaged in train(POOLS, config, tmp_path / "a.pt", "data", network=SMALL):
        if progress.step in (1, 60):
            losses[progress.step] = validation_loss(averaged(), IMAGES, "gaussian")
    assert list(losses[1]) == [f"{low}-{high}" for low, high in BANDS]
    assert losses[60]["251-400"] < 0.8 * losses[1]["251-400"]


def test_state_of_another_training_is_refused(tmp_path: Path) -> None:
    weights(tmp_path / "a.pt")
    other = TrainingConfig(steps=8, batch_size=3, warmup=2, ema=0.9)
    with pytest.raises(CheckpointError, match="belongs to a training with other settings or data"):
        weights(tmp_path / "a.pt", config=other)


@pytest.mark.parametrize("how", ["torn", "empty", "another file of torch", "a table of something else"])
def test_damaged_state_is_refused_with_the_remedy(tmp_path: Path, how: str) -> None:
    weights(tmp_path / "a.pt")
    if how in ("torn", "empty"):
        (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[: 500 if how == "torn" else 0])
    else:
        torch.save(torch.zeros(3) if how.startswith("another") else {"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"is damaged .*delete it to start anew"):
        weights(tmp_path / "a.pt")


def test_stopping_keeps_the_last_step_and_the_rest_follows(tmp_path: Path) -> None:
    whole = weights(tmp_path / "whole.pt")
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(train(POOLS, CONFIG, tmp_path / "a.pt", "data", save_every=3, network=SMALL, stop=stop))
    assert torch.load(tmp_path / "a.pt", weights_only=True)["step"] == 5  # and not 3, the last multiple
    steps = [p.step for p, _ in train(POOLS, CONFIG, tmp_path / "a.pt", "data", save_every=3, network=SMALL)]
    assert steps == [5, 6, 7, 8]  # the step that was kept comes first, its validation may be lacking
    assert_equal(whole, weights(tmp_path / "a.pt"))


def test_training_starts_from_the_weights_it_is_given(tmp_path: Path) -> None:
    torch.manual_seed(3)
    initial = UNet(SMALL).state_dict()
    frozen = TrainingConfig(steps=1, batch_size=2, warmup=1, learning_rate=0.0, initial="a" * 64)
    assert_equal(initial, weights(tmp_path / "a.pt", config=frozen, initial=initial))
    with pytest.raises(CheckpointError, match="belongs to a training with other settings"):
        weights(tmp_path / "a.pt", config=replace(frozen, initial="b" * 64), initial=initial)


def test_weights_of_another_data_set_are_refused(tmp_path: Path) -> None:
    weights(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="belongs to a training with other settings or data"):
        list(train(POOLS, CONFIG, tmp_path / "a.pt", "other data", network=SMALL))


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    wild = replace(CONFIG, learning_rate=1e30, warmup=1)
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at step \d+; lower the learning"):
        weights(tmp_path / "a.pt", config=wild)


def test_accumulated_batches_teach_what_one_large_batch_teaches(tmp_path: Path) -> None:
    courses = {}
    for name, sizes in {"large": (6, 1), "small": (2, 3)}.items():
        config = replace(CONFIG, batch_size=sizes[0], accumulate=sizes[1])
        courses[name] = [
            progress.loss for progress, _ in train(POOLS, config, tmp_path / name, "data", network=SMALL)
        ]
    assert len(courses["large"]) == 8
    assert courses["small"] == pytest.approx(courses["large"], rel=1e-5)


def test_a_state_of_the_time_before_accumulation_is_gone_on_from(tmp_path: Path) -> None:
    assert "accumulate" not in _identity(CONFIG, SMALL, "data")
    assert "accumulate" in _identity(replace(CONFIG, accumulate=2), SMALL, "data")
    whole = weights(tmp_path / "whole.pt")
    weights(tmp_path / "old.pt", stop=4)
    old = torch.load(tmp_path / "old.pt", weights_only=True)
    del old["lowest"]
    torch.save(old, tmp_path / "old.pt")
    assert_equal(whole, weights(tmp_path / "old.pt"))


def test_the_lowest_loss_is_that_since_the_warm_up(tmp_path: Path) -> None:
    found = [p for p, _ in train(POOLS, CONFIG, tmp_path / "a.pt", "data", network=SMALL)]
    assert [progress.lowest for progress in found[:2]] == [None, None]
    for step in range(3, 9):
        assert found[step - 1].lowest == min(progress.loss for progress in found[2:step])


def images_of(config: TrainingConfig, step: int) -> torch.Tensor:
    rows = np.arange(config.batch_size)
    return _draw_images(POOLS, config, case_generator(config.seed, f"train-step-{step}"), rows)


def test_images_hang_on_the_step_s_generator_alone() -> None:
    assert torch.equal(images_of(CONFIG, 7), images_of(CONFIG, 7))
    assert not torch.equal(images_of(CONFIG, 7), images_of(CONFIG, 8))
    assert not torch.equal(images_of(CONFIG, 7), images_of(replace(CONFIG, seed=1), 7))


def test_a_source_is_drawn_from_as_often_as_its_weight_says() -> None:
    """Source "flat" has a third of the weights."""
    images = [images_of(replace(CONFIG, batch_size=32), k) for k in range(10)]
    flat = sum(int(image.std() < 1e-3) for batch in images for image in batch[:, :, 8:24, 8:24])
    assert flat / 320 == pytest.approx(1 / 3, abs=0.08)


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    config = TrainingConfig(steps=1000, warmup=100, learning_rate=1.0)
    rates = [_learning_rate(config, step) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == 1
    assert rates[100] == 1
    assert rates[550] == pytest.approx(0.525)
    assert rates[1000] == pytest.approx(0.05)
    assert all(a >= b for a, b in pairwise(rates[100:]))
