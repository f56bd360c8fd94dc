"""A data set by what a user types, "brats:t2:all": the name, and, where it has a choice, which of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from uadbench.bench.plan.config import ConfigError, unknown
from uadbench.datasets import DATASETS, Opener, Volumes
from uadbench.datasets.case import Dataset

__all__ = ["find_opener", "open_dataset"]


def find_opener(text: str) -> Opener:
    """What opens "NAME" or "NAME:OPTION:..."; ConfigError where there is no such data set or it has no options."""
    name, *options = text.split(":")
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    opener = DATASETS[name]
    if not options:
        return opener
    if not isinstance(opener, Volumes):
        raise ConfigError(
            f"data set {name} has nothing to choose from, and {text!r} names {options[0]!r}; give {name}"
        )
    return partial(opener, options=tuple(options))


def open_dataset(text: str, root: Path | None, seed: int = 0, limit: int | None = None) -> Dataset:
    """The data set; raises ConfigError on a name that is none, CaseError where it is not here or an option is none."""
    return find_opener(text)(root, seed, limit)
