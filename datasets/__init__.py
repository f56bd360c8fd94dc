"""Cases in: the data sets by name, each opened by ``DATASETS[name](root, seed, limit)``.

``params=Preprocessing(...)`` besides says how masks are resized, where not as usual.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from uadbench.datasets.case import Dataset
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing

__all__ = ["DATASETS"]


class Opener(Protocol):
    """Opens a data set; CaseError where its files are not there."""

    def __call__(
        self,
        root: Path | None = None,
        seed: int = 0,
        limit: int | None = None,
        params: Preprocessing = PREPROCESSING,
    ) -> Dataset: ...


def opener(module: str, function: str, **options: Any) -> Opener:
    """The function ``uadbench.datasets.<module>.<function>`` with options, imported when first called."""

    def open_dataset(
        root: Path | None = None,
        seed: int = 0,
        limit: int | None = None,
        params: Preprocessing = PREPROCESSING,
    ) -> Dataset:
        opened = getattr(import_module(f"uadbench.datasets.{module}"), function)
        dataset: Dataset = opened(root, seed, limit, params=params, **options)
        return dataset

    return open_dataset


DATASETS: dict[str, Opener] = {
    "phantom": opener("phantom", "open_phantom"),
    "phantom-wrist": opener("phantom_wrist", "open_phantom_wrist"),
    "ixi-stroke": opener("public.ixi_stroke", "open_ixi_stroke"),
    "ixi-stroke-balanced": opener("public.ixi_stroke", "open_ixi_stroke", balanced=True),
    "soop-flair": opener("public.soop_flair", "open_soop_flair"),
    "grazpedwri": opener("public.grazpedwri", "open_grazpedwri"),
    "folder": opener("folder", "open_folder"),
}
