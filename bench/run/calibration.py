"""What int8 is calibrated on here: training slices of the phantom, which are there without a download.

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

__all__ = ["training_slices"]

DATASET = "phantom"
SLICES = 16


def training_slices(count: int = SLICES) -> Healthy:
    """The first healthy slices that training draws from."""
    dataset = DATASETS[DATASET]()

    def load() -> Tensor:
        slices = np.stack(list(islice(dataset.training_slices(), count)))
        return to_signed(torch.from_numpy(slices.astype(np.float32)).unsqueeze(1))

    record = {"data": DATASET, "slices": count, "split": "training", "fingerprint": dataset.fingerprint}
    return Healthy(record, load)
