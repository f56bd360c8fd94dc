"""`phantom-wrist`: generated wrist radiographs with anomalies whose boxes are exact; how one is drawn is in
``wrist_anatomy`` and ``wrist_anomalies``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.boxes import carry
from uadbench.datasets.case import SPLITS, Case, CaseError, Dataset, Sample
from uadbench.datasets.deform import case_rng
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing, preprocess, to_square
from uadbench.datasets.selection import count_test, fingerprint, generated_cases, limit_test
from uadbench.datasets.wrist_anatomy import SIZE, draw_wrist, radiograph
from uadbench.datasets.wrist_anomalies import KINDS, VISIBLE, Found, compose

__all__ = ["GENERATOR", "POPULATION", "generate", "open_phantom_wrist"]

GENERATOR = "wrist-1"  # raised whenever the same ids come out otherwise
POPULATION = 2026  # seed of the data set; the seed of a run does not change it
TRAINING_POPULATION, TRAINING_IMAGES = 7, 1200
COUNTS = {
    "train healthy": 64,
    "val healthy": 8,
    "val of each kind": 1,
    "test of each kind": 6,
    "test healthy": 8,
}
COMPANIONS = 0.3  # the chance that another anomaly comes along: hardware is there because of a fracture
CAVEATS = (
    "Synthetic: bones, beam, noise and anomalies are all simulated; scores say little about real patients.",
    "Anomalies are brighter than what they replace, but for fractures, which are darker.",
    "Boxes hold exactly what was changed; those that people draw are wider.",
)


def generate(
    population: int, case_id: str, kind: str | None = None
) -> tuple[NDArray[np.float64], list[Found]]:
    """One radiograph as a detector gives it: (image [128, W] >= 0, W from 84 to 104; boxes in its pixels).

    population, case_id : the same pair gives the same bytes, whatever was drawn before; a case with an anomaly is
        the healthy case of the same name with it put in
    kind : a key of ``KINDS``, or None; another kind may come along
    """
    rng = case_rng(GENERATOR, population, case_id)
    wrist = draw_wrist(rng)
    chosen: tuple[str, ...] = ()
    if kind is not None:
        own = case_rng(GENERATOR, population, case_id, kind)
        others = [name for name in KINDS if name != kind and own.random() < COMPANIONS / 2]
        chosen = (kind, *others[:2])
        attenuation, found = compose(wrist, chosen, own)
    else:
        attenuation, found = compose(wrist, (), rng)
    image, first = radiograph(attenuation, case_rng(GENERATOR, population, case_id, "beam"))
    width = image.shape[1]
    inside = [
        (name, top, max(left - first, 0), bottom, min(right - first, width))
        for name, top, left, bottom, right in found
        if min(right - first, width) > max(left - first, 0)
    ]
    return image, inside


def _plan(limit: int | None) -> list[Case]:
    return generated_cases(
        "wrist",
        list(KINDS),
        limit,
        healthy={split: COUNTS[f"{split} healthy"] for split in SPLITS},
        of_each_kind={"val": COUNTS["val of each kind"], "test": COUNTS["test of each kind"]},
    )


def _kind(case: Case) -> str | None:
    kind = case.case_id.rsplit("-", 1)[-1]
    if kind not in (*KINDS, "healthy"):
        raise CaseError(f"{case.case_id} is no wrist phantom; take the cases from the data set's own list")
    return kind if case.lesion else None


def _load(population: int, params: Preprocessing, case: Case) -> Sample:
    native, found = generate(population, case.case_id, _kind(case))
    image, mask = preprocess(native, None, params, name=case.case_id)
    shape = (native.shape[0], native.shape[1])
    boxes = tuple(carry(name, edges, shape, params, case.case_id) for name, *edges in found)  # type: ignore[arg-type]
    return Sample(case, _rounded(image), mask, boxes)


def _rounded(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """On a 12-bit scale, as detectors store it, so that bytes do not hang on the last bit."""
    return (np.round(image * 4095) / 4095).astype(np.float32)


def _native(population: int, case: Case) -> NDArray[np.float32]:
    return _rounded(to_square(generate(population, case.case_id, _kind(case))[0], name=case.case_id))


def _training() -> Iterator[NDArray[np.float32]]:
    """Healthy wrists of a population of their own: none of them is a case of the data set."""
    for number in range(TRAINING_IMAGES):
        yield _rounded(to_square(generate(TRAINING_POPULATION, f"train-{number:04d}")[0]))


def open_phantom_wrist(
    root: Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    params: Preprocessing = PREPROCESSING,
    population: int = POPULATION,
) -> Dataset:
    """Open the wrists: train 64 healthy; val 8 healthy, 5 with an anomaly; test 8 healthy, 30 with one or more.

    root, seed : not used: there are no files, and other noise in a run must not mean other data
    limit : so many test cases, fewer or more than the default 38, kinds taking turns
    params : of the pre-processing; the mask rule changes nothing, as the truth is boxes
    population : the seed of the data; training takes another

    Raises ValueError for a limit below 1.
    """
    del root, seed
    every = _plan(limit)
    cases = limit_test(every, limit)
    preprocessing: dict[str, object] = {
        **params.record(),
        "generator": GENERATOR,
        "population": population,
        "rows": SIZE,
        "counts": dict(COUNTS),
        "companions": COMPANIONS,
        "visible": VISIBLE,
    }
    return Dataset(
        name="phantom-wrist",
        title="Synthetic wrist radiographs with boxes",
        modality="radiograph (synthetic)",
        lesion_sign=+1,
        cases=cases,
        load=partial(_load, population, params),
        native=partial(_native, population),
        training=_training,
        truth="boxes",
        networks={"unet-gaussian": "unet-gaussian-wrist"},
        caveats=CAVEATS,
        licence="none needed, as all is generated",
        preprocessing=preprocessing,
        origin="synthetic",
        n_test=count_test(every),
        fingerprint=fingerprint(cases, (), json.dumps(preprocessing, sort_keys=True)),
    )
