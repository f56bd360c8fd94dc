"""`phantom`: generated T1w slices with simulated strokes; how one is made is in ``anatomy``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.anatomy import GENERATOR, SIZE, generate
from uadbench.datasets.case import SPLITS, Case, CaseError, Dataset, Sample
from uadbench.datasets.lesions import SIZE_GROUPS
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing
from uadbench.datasets.selection import count_test, fingerprint, generated_cases, limit_test

__all__ = ["POPULATION", "open_phantom"]

POPULATION = 2026  # seed of the data set; the seed of a run does not change it
TRAINING_POPULATION, TRAINING_SLICES = 7, 600
ATLAS = "ICBM 152 nonlinear symmetric 2009a, as in nilearn"
COUNTS = {
    "train healthy": 64,
    "val healthy": 6,
    "val lesions a size": 2,
    "test lesions a size": 6,
    "test healthy": 6,
}
CAVEATS = (
    "Synthetic: anatomy, contrast, noise and lesions are all simulated; scores say little about real patients.",
    "Every phantom descends from one symmetric atlas and varies less than people do.",
)
UNRESIZED = (
    "Phantoms are made at 128 x 128: no mask is resized, and another mask_rule than half changes nothing."
)


def _plan(limit: int | None) -> list[Case]:
    return generated_cases(
        "phantom",
        list(SIZE_GROUPS),
        limit,
        healthy={split: COUNTS[f"{split} healthy"] for split in SPLITS},
        of_each_kind={"val": COUNTS["val lesions a size"], "test": COUNTS["test lesions a size"]},
    )


def _load(population: int, case: Case) -> Sample:
    kind = case.case_id.rsplit("-", 1)[1]
    if kind not in (*SIZE_GROUPS, "healthy"):
        raise CaseError(f"{case.case_id} is no phantom case; take the cases from the data set's own list")
    return Sample(case, *generate(population, case.case_id, kind if case.lesion else None))


def _training() -> Iterator[NDArray[np.float32]]:
    """Healthy slices of a population of their own: none of them is a case of the data set."""
    return (generate(TRAINING_POPULATION, f"train-{i:04d}", None)[0] for i in range(TRAINING_SLICES))


def open_phantom(
    root: Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    params: Preprocessing = PREPROCESSING,
    population: int = POPULATION,
) -> Dataset:
    """Open the phantoms: train 64 healthy; val 6 healthy, 6 with a lesion; test 6 healthy, 18 with a lesion.

    root : not used, there are no files
    seed : the run's seed, not used: other noise in a run must not mean other data
    limit : so many test cases, fewer or more than the default 24, three lesions to a healthy one, sizes alternating
    params : a mask rule changes nothing here, as phantoms are made at their final size; another than the usual is told
    population : the seed of the data. Training of shipped checkpoints uses another population and ids that start
        with "train-"; no id here does

    Raises ValueError for a limit below 1.
    """
    del root, seed
    every = _plan(limit)
    cases = limit_test(every, limit)
    preprocessing: dict[str, object] = {
        "generator": GENERATOR,
        "population": population,
        "size": SIZE,
        "atlas": ATLAS,
        "counts": dict(COUNTS),
        "size_groups_px": {name: list(bounds) for name, bounds in SIZE_GROUPS.items()},
        "scale": "98th percentile of all pixels to 1, clipped, 12 bit",
    }
    return Dataset(
        name="phantom",
        title="Synthetic T1w phantoms with simulated strokes",
        modality="T1w (synthetic)",
        lesion_sign=-1,
        cases=cases,
        load=partial(_load, population),
        native=lambda case: _load(population, case).image,
        training=_training,
        caveats=(*CAVEATS, UNRESIZED) if params.mask_rule != PREPROCESSING.mask_rule else CAVEATS,
        licence="atlas: ICBM 152 licence (free use with the copyright notice), shipped with nilearn",
        citation="Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033",
        preprocessing=preprocessing,
        origin="synthetic",
        n_test=count_test(every),
        fingerprint=fingerprint(cases, (), json.dumps(preprocessing, sort_keys=True)),
    )
