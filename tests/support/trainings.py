"""Trainings of a small network on a few small slices, and what they leave."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.cells import make_dataset
from uadbench.bench.plan import data
from uadbench.bench.run import training as module
from uadbench.bench.run import training_sources
from uadbench.bench.run.training import Training, run_training
from uadbench.bench.run.training_sources import load_lesions, load_sources
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.training import loop, losses
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.place import Place

SMALL = UNetConfig(channels=(16, 16), attention=(False, False), head_channels=8, groups=4, embedding=16)
UNET = "unet-gaussian.safetensors"
CONFIG = TrainingConfig(steps=6, batch_size=2, warmup=2, ema=0.9)


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small network and data sets of a few small slices in the place of the real ones."""
    monkeypatch.setattr(module, "train", partial(loop.train, save_every=2))
    monkeypatch.setitem(losses.SHAPES, "small", SMALL)
    monkeypatch.setattr(
        data,
        "DATASETS",
        {
            "fake": lambda root, seed, limit: make_dataset(),
            "bad": lambda root, seed, limit: make_dataset(bad=("val0",)),
            "untrained": lambda root, seed, limit: make_dataset(train=0),
        },
    )
    monkeypatch.setattr(training_sources, "to_size", lambda image: image)


def make_training(output: Path, **changes: Any) -> Training:
    output.mkdir(exist_ok=True)
    fields = {
        "config": CONFIG,
        "sources": load_sources({"fake": 2.0}, None),
        "output": output,
        "initial": (),
        "place": Place(),
        "lesions": load_lesions(["fake"], None),
        "command": "bench train",
    }
    return Training(**{**fields, **changes})


def steps_of(
    training: Training, stop_at: int | None = None, told: list[str] | None = None
) -> list[tuple[int, bool]]:
    """(step, whether it was validated) of a run of the training, which is left at a step as a kill would."""
    found = []
    tell = (lambda line: None) if told is None else told.append
    for progress, record in run_training(training, 2, lambda: None, tell):
        found.append((progress.step, record is not None))
        if progress.step == stop_at:
            break
    return found


def log_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log-gaussian.jsonl").read_text().splitlines()]


def rows_of(table: Path) -> list[dict[str, str]]:
    """Without the seconds, which differ."""
    with table.open(newline="") as stream:
        return [
            {name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(stream)
        ]
