"""Training of brain-squeeze: deterministic, and what it gives can be used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uadbench.engine.perceptual.weights import content_hash
from uadbench.engine.training.perceptual import PerceptualTraining, train_distance

SHORT = PerceptualTraining(steps=2, head_steps=2, batch_size=2)


def textured_disc(seed: int) -> np.ndarray:
    """A bright disc with texture, 96 x 96, in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((96, 96)) - 47.5
    return np.clip((rows**2 + columns**2 < 36**2) * (0.6 + 0.1 * rng.normal(size=(96, 96))), 0, 1)


def test_two_trainings_give_the_same_weights_and_non_negative_heads() -> None:
    slices = np.stack([textured_disc(i) for i in range(40)]).astype(np.float32)
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
