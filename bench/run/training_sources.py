"""What a network is trained and validated on: slices of the named data sets, read before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.plan.config import ConfigError, digest
from uadbench.bench.plan.data import open_dataset
from uadbench.bench.run.training_checks import Lesions
from uadbench.datasets.case import TOO_SMALL, Sample
from uadbench.datasets.preprocess import to_size
from uadbench.engine.training.loop import Pool

__all__ = ["Sources", "load_lesions", "load_sources"]

# Validation slices of each source that errors are measured on, and as many with lesions for Dice
HELD_OUT = 24


@dataclass(frozen=True)
class Sources:
    """What a network is trained and validated on.

    validation : source -> healthy validation slices, float32 [N, H, W] in [0, 1]
    records : for the card
    """

    pools: tuple[Pool, ...]
    validation: Mapping[str, NDArray[np.float32]]
    records: tuple[dict[str, Any], ...]

    @property
    def fingerprint(self) -> str:
        """sha256 of what is drawn from, and how often."""
        return digest(list(self.records))


def load_sources(weights: Mapping[str, float], root: Path | None) -> Sources:
    """Read the healthy training and validation slices of the named data sets.

    weights : data set -> how often it is drawn from, relative to the others
    Raises ConfigError on a name that is none, or a data set without healthy slices of either kind; CaseError where a
    slice cannot be read.
    """
    pools, validation, records = [], {}, []
    for name, weight in weights.items():
        dataset = open_dataset(name, root)
        images = [np.asarray(image, dtype=np.float32) for image in dataset.training_slices()]
        healthy = [case for case in dataset.split("val") if not case.lesion][:HELD_OUT]
        for count, split in ((len(images), "train"), (len(healthy), "val")):
            if not count:
                raise ConfigError(
                    f"{name} has no healthy {split} case to train with; train on another data set, or, if it is a "
                    f"folder of yours, give some lines of its index.csv the split {split} and no mask"
                )
        pools.append(Pool(name, images, weight, to_size))
        validation[name] = np.stack([dataset.load(case).image for case in healthy])
        content = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
        records.append(
            {
                "name": name,
                "title": dataset.title,
                "licence": dataset.licence,
                "citation": dataset.citation,
                "slices": len(images),
                "weight": weight,
                "sha256": content,
            }
        )
    return Sources(tuple(pools), validation, tuple(records))


def load_lesions(names: Iterable[str], root: Path | None) -> dict[str, Lesions]:
    """Source -> its first validation lesions that are large enough to be scored; nothing is learned from them.

    Sources without such a case are left out. Raises CaseError where a slice cannot be read.
    """
    found = {}
    for name in names:
        dataset, samples = open_dataset(name, root), list[Sample]()
        for case in dataset.split("val"):
            if case.lesion and len(samples) < HELD_OUT:
                sample = dataset.load(case)
                samples += [sample] if sample.mask.sum() > TOO_SMALL else []
        if samples:
            found[name] = Lesions(
                np.stack([sample.image for sample in samples]), np.stack([sample.mask for sample in samples])
            )
    return found
