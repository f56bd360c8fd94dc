"""What the timed calls are shown: phantom cases, and for a single call the same noised to one level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uadbench.bench.plan.weights import NetworkFile
from uadbench.datasets import DATASETS
from uadbench.datasets.case import Dataset, Sample
from uadbench.engine.interfaces import to_signed
from uadbench.engine.rng import noise_source
from uadbench.engine.steps import add_noise

__all__ = ["DATASET", "Inputs", "make_inputs", "read_samples"]

DATASET = "phantom"
LEVEL = 250  # of the noised images of a single call
JUDGED = (
    12  # cases at least that parity is judged on: one may have no lesion, which is where arms differ most
)


@dataclass(frozen=True)
class Inputs:
    """A batch.

    images, x_t : float32 [B, 1, H, W]; x_t is noised to level t, or the images where ``noise`` is "none"; t : int64 [B]
    cond : the images again, for a network that is also shown them
    judged : float32 [N, 1, H, W], what parity is judged on, whole batches that begin with this one
    """

    samples: tuple[Sample, ...]
    images: Tensor
    x_t: Tensor
    t: Tensor
    cond: Tensor | None
    noise: str
    judged: Tensor

    def on(self, device: str) -> tuple[Tensor, Tensor, Tensor | None]:
        """x_t, t and cond on a device."""
        return self.x_t.to(device), self.t.to(device), None if self.cond is None else self.cond.to(device)


def read_samples(batches: Sequence[int]) -> tuple[Dataset, tuple[Sample, ...]]:
    """The phantom data set and as many of its first test cases as these batch sizes are timed and judged with."""
    count = max(map(_judged, batches))
    dataset = DATASETS[DATASET](None, 0, count)
    return dataset, tuple(dataset.load(case) for case in dataset.split("test")[:count])


def _judged(batch: int) -> int:
    """Whole batches of at least ``JUDGED`` cases."""
    return batch * -(-JUDGED // batch)


def make_inputs(
    network: NetworkFile, samples: Sequence[Sample], seed: int, batch: int | None = None
) -> Inputs:
    """Cases as the network was trained to see them, noised or as they are, the same for every arm.

    batch : so many of the samples, all by default
    """
    shown = to_signed(torch.from_numpy(np.stack([sample.image for sample in samples])).unsqueeze(1))
    samples, images = samples[:batch], shown[:batch]
    if network.restores:
        noise, level, x_t = "none", 1, images
    else:
        noise, level = str(network.card.get("noise") or "gaussian"), min(LEVEL, network.schedule.length)
        ids = [sample.case.case_id for sample in samples]
        draw = noise_source(noise, seed, ids, (images.shape[2], images.shape[3]))
        x_t = add_noise(network.schedule, images, level, draw(level))
    t = torch.full(images.shape[:1], level, dtype=torch.int64)
    judged = shown[: _judged(len(images))]
    return Inputs(tuple(samples), images, x_t, t, images if network.conditioned else None, noise, judged)
