"""``soop-flair``: real FLAIR slices of stroke patients with real lesion masks.

Stroke Outcome Optimization Project, OpenNeuro ds004889 (Absher et al. 2024, doi:10.1038/s41597-024-03667-5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import Case, CaseError, Dataset, Sample
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing, preprocess, to_square
from uadbench.datasets.readers import read_slice
from uadbench.datasets.selection import count_test, fingerprint, fixed_order, limit_test, read_split
from uadbench.datasets.sources import SOURCES, find_root

__all__ = ["CAVEATS", "make_split", "open_soop_flair"]

CAVEATS = (
    "soop-flair is FLAIR, not T1w: lesions are bright.",
    "Its masks were drawn on DWI of the acute stroke, so edges can be off on FLAIR.",
    "Old infarcts and white-matter hyperintensities are not labelled and count as false positives.",
    "Slices without lesion come from stroke patients too; their lesion lies elsewhere in the volume.",
    "33 slices with fewer than 20 lesion pixels on the original grid are left out; no test lesion has under 9 px.",
    "Grey values inside lesions were recovered from a half-transparent overlay, with an error of about 1 level of 255.",
)

# How the 371 slices without lesion and the 637 of at least MIN_LESION_PX are divided, in the fixed order.
MIN_LESION_PX = 20
HEALTHY_TRAIN, HEALTHY_VAL, LESION_VAL = 220, 51, 20


def make_split(index: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows of the committed split file from the data's index.csv; one slice a subject, so no subject twice.

    Healthy: slices without lesion, 220 train, 51 val, the rest test. Lesion: slices of at least 20 lesion pixels in
    the original grid, 20 val, the rest test. Slices with fewer lesion pixels are in no split. Order: fixed_order, so
    that any prefix is a random sample.
    """
    sizes = {row["case"]: int(row["lesion_px_in_slice"]) for row in index}
    healthy = fixed_order("soop-flair", (case for case, size in sizes.items() if size == 0))
    lesion = fixed_order("soop-flair", (case for case, size in sizes.items() if size >= MIN_LESION_PX))
    cut = HEALTHY_TRAIN + HEALTHY_VAL
    parts = (
        ("train", "0", healthy[:HEALTHY_TRAIN]),
        ("val", "0", healthy[HEALTHY_TRAIN:cut]),
        ("val", "1", lesion[:LESION_VAL]),
        ("test", "0", healthy[cut:]),
        ("test", "1", lesion[LESION_VAL:]),
    )
    return [{"case": case, "split": split, "lesion": flag} for split, flag, cases in parts for case in cases]


def open_soop_flair(
    root: Path | None = None, seed: int = 0, limit: int | None = None, params: Preprocessing = PREPROCESSING
) -> Dataset:
    """Open soop-flair.

    root : folder of the data set or its parent; see ``find_root``
    seed : the run's seed, not used: nothing here is random
    limit : at most this many test cases, lesion and healthy in the full test split's proportion
    params : of the pre-processing

    Raises CaseError when the data are not there.
    """
    folder = find_root("soop-flair", root)
    rows = read_split("soop-flair")
    every = tuple(Case(row["case"], row["case"], row["split"], row["lesion"] == "1") for row in rows)
    cases = limit_test(every, limit)
    source = SOURCES["soop-flair"]
    return Dataset(
        name="soop-flair",
        title="SOOP FLAIR, real acute stroke lesions",
        modality="FLAIR",
        lesion_sign=1,
        cases=cases,
        load=partial(load, folder, params),
        native=partial(native, folder),
        caveats=(*CAVEATS, *params.mask_caveats()),
        licence=source.licence,
        citation=source.citation,
        preprocessing=params.record(),
        n_test=count_test(every),
        fingerprint=fingerprint(cases, files(folder, cases), params.mask_key()),
    )


def load(folder: Path, params: Preprocessing, case: Case) -> Sample:
    """Read and pre-process one case; CaseError when its files cannot be used."""
    path = folder / "images" / f"{case.case_id}.png"
    mask = read_slice(folder / "masks" / f"{case.case_id}.png") if case.lesion else None
    if mask is not None and not mask.any():
        raise CaseError(f"{case.case_id}: a lesion case whose mask is empty; restore the original mask file")
    image, lesion = preprocess(read_slice(path), mask, params, name=str(path))
    return Sample(case, image, lesion)


def native(folder: Path, case: Case) -> NDArray[np.float64]:
    """See ``Dataset.native``."""
    path = folder / "images" / f"{case.case_id}.png"
    return to_square(read_slice(path), name=str(path))


def files(folder: Path, cases: Iterable[Case]) -> Iterator[Path]:
    """Every file that the validation and test cases are made of, in order."""
    for case in cases:
        if case.split != "train":
            yield folder / "images" / f"{case.case_id}.png"
        if case.lesion:
            yield folder / "masks" / f"{case.case_id}.png"
