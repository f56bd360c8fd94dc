"""Cases of a run: chosen once, grouped into fixed batches, read once and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.bench.plan.plan import spread
from uadbench.datasets.case import Box, Case, CaseError, Dataset, Sample
from uadbench.engine.interfaces import to_signed
from uadbench.reports.atomic import RunError
from uadbench.reports.places import short_text
from uadbench.reports.store import RunDirectory

__all__ = [
    "MEDIAN_LIMIT",
    "Healthy",
    "Loader",
    "Reader",
    "healthy_median",
    "in_batches",
    "kept_healthy",
    "load_case",
    "mean_and_spread",
]

MEDIAN_LIMIT = 200
REMEMBERED = 256  # inputs that a reader holds, some 20 MiB

T = TypeVar("T")


def in_batches(cases: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Batch k always holds the same cases, whatever is done already, so results do not hang on interruptions."""
    return [tuple(cases[start : start + size]) for start in range(0, len(cases), size)]


def _entries(sample: Sample) -> list[tuple[Any, ...]] | None:
    """Its boxes as the run directory keeps them."""
    return None if sample.boxes is None else [astuple(box) for box in sample.boxes]


def _checked(dataset: Dataset, case: Case, shape: tuple[int, ...] | None) -> Sample | str:
    """The sample from the data set, or the reason why it cannot be used; shape : of the run's images, if known"""
    found = load_case(dataset, case)
    if isinstance(found, str):
        return found
    if (found.boxes is None) == (dataset.truth == "boxes"):
        return f"its truth is {'a mask' if found.boxes is None else 'boxes'}, its data set's {dataset.truth}"
    return _fault(found, shape) or found


class Loader:
    """Reads each case once, keeps its input in the run directory, and remembers what cannot be read.

    keep : how an input is kept; ``run.hold_input`` where the caller commits
    """

    def __init__(
        self,
        run: RunDirectory,
        dataset: Dataset,
        keep: Callable[..., None] | None = None,
    ) -> None:
        self._run, self._dataset, self._keep = run, dataset, keep or run.write_input
        self._failed: dict[str, str] = {}
        self._shape: tuple[int, ...] | None = None
        self._there: set[str] = set()

    def take(self, sample: Sample) -> None:
        """Keep the input of a case that was read elsewhere, unless it is kept already."""
        case_id = sample.case.case_id
        if case_id in self._there:
            return
        try:
            self._run.read_input(case_id)
        except RunError:
            self._keep(case_id, sample.image, sample.mask, _entries(sample))
        self._there.add(case_id)

    def read(self, case: Case) -> Sample | str:
        """The sample, or the reason why there is none."""
        if case.case_id in self._failed:
            return self._failed[case.case_id]
        try:
            image, mask, boxes = self._run.read_sample(case.case_id)
            sample = Sample(case, image, mask, None if boxes is None else tuple(Box(*box) for box in boxes))
            # a run of an earlier version may hold this input without its boxes
            kept = _fault(sample, self._shape) is None and (boxes is None) == (self._dataset.truth != "boxes")
        except RunError:
            kept = False
        if not kept:  # not there yet, or damaged: read it (again) from the data set
            found = self._from_dataset(case)
            if isinstance(found, str):
                self._failed[case.case_id] = found
                return found
            sample = found
            self._keep(case.case_id, sample.image, sample.mask, _entries(sample))
        self._shape = self._shape or sample.image.shape
        return sample

    def _from_dataset(self, case: Case) -> Sample | str:
        return _checked(self._dataset, case, self._shape)


class Reader:
    """Reads cases where there is no run directory; the last ones stay in memory.

    shape : of the run's images, None where none could be read
    """

    def __init__(self, dataset: Dataset, shape: tuple[int, ...] | None) -> None:
        self._dataset, self._shape = dataset, shape
        self._last: dict[str, Sample | str] = {}

    def read(self, case: Case) -> Sample | str:
        """The sample, or the reason why there is none."""
        if case.case_id not in self._last:
            found = _checked(self._dataset, case, self._shape)
            if len(self._last) >= REMEMBERED:
                del self._last[next(iter(self._last))]
            self._last[case.case_id] = found
        return self._last[case.case_id]


def load_case(dataset: Dataset, case: Case) -> Sample | str:
    """The sample, or in one line why it cannot be read; no folder of this machine is named, reasons are published."""
    try:
        return dataset.load(case)
    except CaseError as error:
        return short_text(str(error))
    except Exception as error:  # a data set of others may raise anything; one bad case must not end a run
        return short_text(f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Healthy:
    """What healthy slices are like, pixel by pixel, and which were taken.

    median, mean : float32 [1, 1, H, W] in [-1, 1], None where no healthy slice can be read
    spread : float32 [1, 1, H, W], the standard deviation of grey values in [0, 1]; None likewise
    record : {"split", "n", "failed": [{"case_id", "reason"}]} for the run's record
    """

    median: Tensor | None
    record: dict[str, Any]
    mean: Tensor | None = None
    spread: Tensor | None = None


def healthy_median(run: RunDirectory, dataset: Dataset) -> Healthy:
    """The pixelwise median, mean and spread of at most ``MEDIAN_LIMIT`` healthy training slices, kept in the run.

    Where a data set has no healthy training slice, its healthy validation slices serve, and the record says so.
    Slices that cannot be read are left out and named in the record.
    """
    kept = kept_healthy(run)
    if kept.median is not None:
        return kept
    planes, record = _planes(dataset)
    if planes is None:
        return Healthy(None, record)
    run.write_median(planes, record)
    return kept_healthy(run)


def kept_healthy(run: RunDirectory) -> Healthy:
    """What the run directory holds of them; nothing where it holds none."""
    try:
        planes, record = run.read_median()
    except RunError:
        return Healthy(None, {})
    median, mean, spread = map(torch.from_numpy, planes)
    return Healthy(_plane(to_signed(median)), record, _plane(to_signed(mean)), _plane(spread))


def _plane(pixels: Tensor) -> Tensor:
    return pixels[None, None]


def _planes(dataset: Dataset) -> tuple[NDArray[np.float32] | None, dict[str, Any]]:
    """(median, mean and spread as float32 [3, H, W], the record); cases come in their fixed order."""
    failed: list[dict[str, str]] = []
    for split in ("train", "val"):
        cases = spread([case for case in dataset.split(split) if not case.lesion], MEDIAN_LIMIT)
        images = []
        for case in cases:
            found = load_case(dataset, case)
            if isinstance(found, str):
                failed.append({"case_id": case.case_id, "reason": found})
            else:
                images.append(found.image)
        if images:
            moments = mean_and_spread(images)
            planes = np.stack([np.median(np.stack(images), axis=0), *moments]).astype(np.float32)
            return planes, {"split": split, "n": len(images), "failed": failed}
    return None, {"split": None, "n": 0, "failed": failed}


def mean_and_spread(images: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixelwise mean and standard deviation of at least one image [H, W], by Welford's running sums in float64."""
    count, mean, squares = 0, np.zeros(()), np.zeros(())
    for image in images:
        count += 1
        before = image - mean
        mean = mean + before / count
        squares = squares + before * (image - mean)
    return mean, np.sqrt(squares / count)


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
    return None if sample.boxes is None else _box_fault(sample)


def _box_fault(sample: Sample) -> str | None:
    boxes, (height, width) = sample.boxes or (), sample.image.shape
    if sample.case.lesion != bool(boxes):
        return f"is called {'a lesion' if sample.case.lesion else 'healthy'}, but has {len(boxes)} boxes"
    if sample.mask.any():
        return "has boxes, and a mask that is not empty"
    for box in boxes:
        if not (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width):
            return f"box {box} does not lie in the image of {height} x {width}"
    return None
