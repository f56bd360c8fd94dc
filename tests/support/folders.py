"""A user's folder with one picture and one mask, and what is refused of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uadbench.datasets import DATASETS
from uadbench.datasets.case import CaseError, Dataset

HEADER = "case_id,image,mask,split,subject"
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
MASK = np.zeros((40, 30), dtype=np.uint8)
MASK[10:20, 8:20] = 255


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "index.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    Image.fromarray(PIXELS).save(folder / "a.png")
    Image.fromarray(MASK).save(folder / "m.png")
    return folder


def opened(folder: Path, limit: int | None = None) -> Dataset:
    return DATASETS["folder"](folder, 0, limit)


def refused(action, *parts: str) -> str:
    with pytest.raises(CaseError) as error:
        action()
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message
