"""Cases in: the data sets by name, each opened by ``DATASETS[name](root, seed, limit)``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from uadbench.datasets.case import Dataset

__all__ = ["DATASETS"]

Opener = Callable[[Path | None, int, int | None], Dataset]


def opener(module: str, function: str) -> Opener:
    """The function ``uadbench.datasets.<module>.<function>``, imported when first called."""

    def open_dataset(root: Path | None = None, seed: int = 0, limit: int | None = None) -> Dataset:
        dataset: Dataset = getattr(import_module(f"uadbench.datasets.{module}"), function)(root, seed, limit)
        return dataset

    return open_dataset


DATASETS: dict[str, Opener] = {
    "phantom": opener("phantom", "open_phantom"),
    "ixi-stroke": opener("public.ixi_stroke", "open_ixi_stroke"),
    "soop-flair": opener("public.soop_flair", "open_soop_flair"),
    "folder": opener("folder", "open_folder"),
}
