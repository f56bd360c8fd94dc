"""Cases in: the data sets by name, each opened by ``DATASETS[name](root, seed, limit)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import Dataset

__all__ = ["DATASETS", "training_slices"]

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


def training_slices(root: Path | None) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every real healthy slice that the shipped checkpoints may see, as (case id, image float32 [128, 128] in [0, 1]).

    root : folder that holds ixi-midaxial/, stroke-masks/ and soop-flair/; see ``sources.find_root``

    The train splits of ixi-stroke (T1w, 465 subjects) and soop-flair (FLAIR, 220), in this order. Subjects of
    any validation or test case are not among them: ValueError if they were. CaseError where a slice cannot be read.
    """
    for name in ("ixi-stroke", "soop-flair"):
        dataset = DATASETS[name](root, 0, None)
        held_out = {case.subject for case in dataset.cases if case.split != "train"}
        for case in dataset.split("train"):
            if case.lesion or case.subject in held_out:
                raise ValueError(
                    f"{name}: {case.case_id} is in the train split but has a lesion or is also held out"
                )
            yield f"{name}:{case.case_id}", dataset.load(case).image
