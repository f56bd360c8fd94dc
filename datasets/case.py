"""A case and a data set, as every other part sees them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZES", "SPLITS", "TOO_SMALL", "Box", "Case", "CaseError", "Dataset", "Finding", "Sample"]

SPLITS = ("train", "val", "test")
# Lesion pixels at 128 x 128, (more than, up to]: the papers' groups, but that theirs end at 10000.
SIZES: dict[str, tuple[float, float]] = {"small": (3, 71), "medium": (71, 570), "large": (570, math.inf)}
TOO_SMALL = 3  # lesions of so many pixels or fewer are not scored


class CaseError(Exception):
    """A case cannot be used; the message names the file, what is wrong and the remedy, in one line."""


@dataclass(frozen=True)
class Case:
    """A reference to one slice, cheap to hold.

    case_id : unique in its data set, letters, digits, '.', '_' and '-' only
    subject : who it is of; confidence intervals resample subjects
    split : train | val | test
    lesion : whether a lesion, mask or box, belongs to it (False = healthy)
    volume : the volume that it is a slice of, unique in its data set; "" for an image of its own
    position : which slice of the volume, from 0 at its lowest
    spacing : mm from slice to slice, row to row, column to column of the image as loaded; None where unknown
    """

    case_id: str
    subject: str
    split: str
    lesion: bool
    volume: str = ""
    position: int = 0
    spacing: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Box:
    """Where something abnormal is, in pixels of the image as loaded; rows and columns half open, right and bottom out.

    label : its class, e.g. "fracture"
    """

    label: str
    top: int
    left: int
    bottom: int
    right: int

    @property
    def where(self) -> tuple[slice, slice]:
        """Its rows and columns, to index an image with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Sample:
    """A case, read and pre-processed.

    image : float32 [H, W] in [0, 1]
    mask : bool [H, W], all False when healthy and where the truth is boxes
    boxes : the truth where it is boxes, () when healthy; None where it is a mask
    """

    case: Case
    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class Finding:
    """What is not as the shipped networks, or the papers, have it.

    what : a sentence, which also stands among the caveats
    remedy : what to run
    """

    what: str
    remedy: str


@dataclass(frozen=True)
class Dataset:
    """A named list of cases and how to read one.

    load : Case -> Sample; raises CaseError
    lesion_sign : +1 where lesions are brighter than tissue, -1 where darker
    caveats : sentences that must stand beside every figure from this data set
    truth : what samples carry, "mask" or "boxes"; it decides which measures there are
    networks : name of a network -> name of the shipped one that was trained on images like these, which serves in
        its place where the user gives no checkpoint
    findings : what was found amiss when it was opened, and the remedy; ``bench data check`` says it
    native : Case -> float [S, S] in [0, 1], the slice scaled and padded but not yet resized: what training warps
    training : the slices that training draws from, in the form of ``native``; None for the healthy train cases
    preprocessing : parameters of the pre-processing, recorded and hashed into the run
    origin : "" for real data, "synthetic", or "semi-synthetic"
    n_test : test cases in all, before any limit; 0 where no limit was set
    fingerprint : sha256 over ids, splits and file contents (or generator parameters)
    """

    name: str
    title: str
    modality: str
    lesion_sign: int
    cases: tuple[Case, ...]
    load: Callable[[Case], Sample]
    native: Callable[[Case], NDArray[np.floating]]
    training: Callable[[], Iterator[NDArray[np.floating]]] | None = None
    truth: str = "mask"
    networks: dict[str, str] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    licence: str = ""
    citation: str = ""
    preprocessing: dict[str, object] = field(default_factory=dict)
    origin: str = ""
    n_test: int = 0
    fingerprint: str = ""

    def split(self, name: str) -> tuple[Case, ...]:
        """The cases of one split, in their fixed order."""
        return tuple(case for case in self.cases if case.split == name)

    def training_slices(self) -> Iterator[NDArray[np.floating]]:
        """The healthy slices to train on, each float [S, S] in [0, 1] on its native grid; raises CaseError."""
        if self.training is not None:
            return self.training()
        return (self.native(case) for case in self.split("train") if not case.lesion)
