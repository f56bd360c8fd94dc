"""What tests of int8 calibrate on: a few slices of noise, as small as the tiny network."""

from __future__ import annotations

import torch
from torch import Tensor

from support import tiny_network as tiny
from uadbench.engine.backends.form import Form
from uadbench.exporters.calibration import Healthy

INT8 = Form("int8", layout="channels-last")
CARD = {"sha256": "0", "noise": "gaussian"}


def slices(seed: int = 0, count: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, tiny.SIZE, tiny.SIZE, generator=draw) * 2 - 1


def healthy(name: str = "squares") -> Healthy:
    return Healthy({"data": name, "slices": 3, "split": "training"}, slices)
