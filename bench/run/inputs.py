"""Cases of a run: chosen once, grouped into fixed batches, read once and kept beside the results."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from uadbench.datasets.case import Case, CaseError, Dataset, Sample
from uadbench.engine.interfaces import HealthyPrior, to_signed
from uadbench.reports.places import short_text
from uadbench.reports.store import RunError, read_input, write_bytes, write_input

__all__ = ["PRIOR_LIMIT", "Loader", "choose_cases", "healthy_prior", "in_batches", "spread"]

PRIOR_LIMIT = 200


def spread(cases: Sequence[Case], limit: int) -> tuple[Case, ...]:
    """At most ``limit`` of the cases, evenly spaced in their order."""
    if len(cases) <= limit:
        return tuple(cases)
    return tuple(cases[int(i)] for i in np.linspace(0, len(cases), limit, endpoint=False))


def choose_cases(dataset: Dataset, val_limit: int) -> tuple[Case, ...]:
    """The healthy validation cases (at most ``val_limit``), then all test cases, in their fixed order."""
    healthy = [case for case in dataset.split("val") if not case.lesion]
    return (*spread(healthy, val_limit), *dataset.split("test"))


def in_batches(cases: Sequence[Case], size: int) -> list[tuple[Case, ...]]:
    """Batch k always holds the same cases, whatever is done already, so results do not hang on interruptions."""
    return [tuple(cases[start : start + size]) for start in range(0, len(cases), size)]


class Loader:
    """Reads each case once, keeps its input in the run directory, and remembers what cannot be read."""

    def __init__(self, run: Path, dataset: Dataset) -> None:
        self._run, self._dataset = run, dataset
        self._failed: dict[str, str] = {}
        self._shape: tuple[int, ...] | None = None

    def read(self, case: Case) -> Sample | str:
        """The sample, or the reason why there is none."""
        if case.case_id in self._failed:
            return self._failed[case.case_id]
        try:
            image, mask = read_input(self._run, case.case_id)
            sample = Sample(case, image, mask)
        except RunError:  # not there yet, or damaged: read it (again) from the data set
            found = self._from_dataset(case)
            if isinstance(found, str):
                self._failed[case.case_id] = found
                return found
            sample = found
            write_input(self._run, case.case_id, sample.image, sample.mask)
        self._shape = self._shape or sample.image.shape
        return sample

    def _from_dataset(self, case: Case) -> Sample | str:
        try:
            sample = self._dataset.load(case)
        except CaseError as error:
            return short_text(str(error))  # reasons are published: no folder of this machine
        except Exception as error:  # a data set of others may raise anything; one bad case must not end a run
            return short_text(f"{type(error).__name__}: {error}")
        return _fault(sample, self._shape) or sample


def healthy_prior(run: Path, dataset: Dataset) -> tuple[HealthyPrior | None, dict[str, object]]:
    """The pixelwise median of at most ``PRIOR_LIMIT`` healthy training slices, kept in RUN/prior.npz.

    Where a data set has no healthy training slice, its healthy validation slices serve, and the record says so.
    Returns (prior, record); the prior is None where there are no healthy slices of either kind.
    """
    path = run / "prior.npz"
    for split in ("train", "val"):
        cases = spread([case for case in dataset.split(split) if not case.lesion], PRIOR_LIMIT)
        if not cases:
            continue
        median, n = _kept(path) or (None, 0)
        if median is None:
            images = []
            for case in cases:
                try:
                    images.append(dataset.load(case).image)
                except CaseError:
                    continue
            if not images:
                continue
            median, n = np.median(np.stack(images), axis=0).astype(np.float32), len(images)
            _keep(path, median, n)
        signed = to_signed(torch.from_numpy(median)[None, None])
        return HealthyPrior(signed, dataset.lesion_sign), {"split": split, "n": n}
    return None, {"split": None, "n": 0}


def _fault(sample: Sample, shape: tuple[int, ...] | None) -> str | None:
    """What is wrong with a sample, in words; None when it keeps the contract of ``datasets.case``."""
    image, mask = sample.image, sample.mask
    if image.ndim != 2 or image.shape != mask.shape:
        return f"image {image.shape} and mask {mask.shape} must be of one size [H, W]"
    if shape is not None and image.shape != shape:
        return f"image is {image.shape}, the others are {shape}"
    if not np.isfinite(image).all():
        return "image holds NaN or infinity"
    if image.min() < 0 or image.max() > 1:
        return f"image values span {image.min():.3g} to {image.max():.3g}; 0 to 1 is allowed"
    if mask.any() and not sample.case.lesion:
        return f"is called healthy, but its mask has {int(mask.sum())} lesion px"
    return None


def _kept(path: Path) -> tuple[np.ndarray, int] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["median"], int(archive["n"])
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _keep(path: Path, median: np.ndarray, n: int) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, median=median, n=np.int64(n))
    write_bytes(path, buffer.getvalue())
