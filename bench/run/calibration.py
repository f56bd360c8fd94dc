"""What int8 is calibrated on here, and exports are tried on: training slices of the phantom, there without a download.

No test slice of any data set is among them, and the same file serves runs on all data.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from torch import Tensor

from uadbench.datasets import DATASETS
from uadbench.engine.interfaces import to_signed
from uadbench.exporters.calibration import Healthy

__all__ = ["slices_to_try", "training_slices"]

DATASET = "phantom"
SLICES = 16


def training_slices(count: int = SLICES) -> Healthy:
    """The first healthy slices that training draws from."""
    dataset = DATASETS[DATASET]()
    record = {"data": DATASET, "slices": count, "split": "training", "fingerprint": dataset.fingerprint}
    return Healthy(record, lambda: _slices(0, count))


def slices_to_try(count: int) -> Tensor:
    """The healthy slices after those, float32 [count, 1, H, W] in [-1, 1]; again from the first of them after 16."""
    return _slices(SLICES, 2 * SLICES)[torch.arange(count) % SLICES]


def _slices(first: int, end: int) -> Tensor:
    slices = np.stack(list(islice(DATASETS[DATASET]().training_slices(), first, end)))
    return to_signed(torch.from_numpy(slices.astype(np.float32)).unsqueeze(1))
