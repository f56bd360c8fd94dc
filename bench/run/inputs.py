"""Cases of a run: chosen once, grouped into fixed batches, read once and kept beside the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

__all__ = ["MEDIAN_LIMIT", "Healthy", "Loader", "healthy_median", "in_batches", "load_case"]

MEDIAN_LIMIT = 200

T = TypeVar("T")


def in_batches(cases: Sequence[T], size: int) -> list[tuple[T, ...]]:
    """Batch k always holds the same cases, whatever is done already, so results do not hang on interruptions."""
    return [tuple(cases[start : start + size]) for start in range(0, len(cases), size)]


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

    def read(self, case: Case) -> Sample | str:
        """The sample, or the reason why there is none."""
        if case.case_id in self._failed:
            return self._failed[case.case_id]
        try:
            image, mask = self._run.read_input(case.case_id)
            boxes = self._run.read_boxes(case.case_id)
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
            boxes = None if sample.boxes is None else [astuple(box) for box in sample.boxes]
            self._keep(case.case_id, sample.image, sample.mask, boxes)
        self._shape = self._shape or sample.image.shape
        return sample

    def _from_dataset(self, case: Case) -> Sample | str:
        found = load_case(self._dataset, case)
        if isinstance(found, str):
            return found
        if (found.boxes is None) == (self._dataset.truth == "boxes"):
            return f"its truth is {'a mask' if found.boxes is None else 'boxes'}, its data set's {self._dataset.truth}"
        return _fault(found, self._shape) or found


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
    """The median of healthy slices and what it was made of.

    median : float32 [1, 1, H, W] in [-1, 1], None where no healthy slice can be read
    record : {"split", "n", "failed": [{"case_id", "reason"}]} for the run's record
    """

    median: Tensor | None
    record: dict[str, Any]


def healthy_median(run: RunDirectory, dataset: Dataset) -> Healthy:
    """The pixelwise median of at most ``MEDIAN_LIMIT`` healthy training slices, kept in the run directory.

    Where a data set has no healthy training slice, its healthy validation slices serve, and the record says so.
    Slices that cannot be read are left out and named in the record.
    """
    try:
        median, record = run.read_median()
    except RunError:
        made, record = _median(dataset)
        if made is None:
            return Healthy(None, record)
        median = made
        run.write_median(median, record)
    return Healthy(to_signed(torch.from_numpy(median)[None, None]), record)


def _median(dataset: Dataset) -> tuple[NDArray[np.float32] | None, dict[str, Any]]:
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
            median = np.median(np.stack(images), axis=0).astype(np.float32)
            return median, {"split": split, "n": len(images), "failed": failed}
    return None, {"split": None, "n": 0, "failed": failed}


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
