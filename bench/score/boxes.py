"""What a map finds of an image's boxes at one threshold (Bercea et al. 2024, arXiv 2403.08464, Table 2).

A pixel is above where ``map > threshold``, strictly, compared in float32. A box is found where more than a tenth of its
pixels is above. What is wrongly found is counted in two ways: by connected components, which is ours, and as the
authors' practice has it, by how often the pixels outside all boxes outweigh those inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import Box

__all__ = ["CAP", "SHARE", "BoxCounts", "components", "count_boxes", "filled", "is_false", "ratios"]

SHARE = 10  # one part in so many: a box is found, and a component is true, where more of it than that counts
CAP = 10  # false positives of an image, at most


@dataclass(frozen=True)
class BoxCounts:
    """One image at one threshold.

    found : bool, one a box
    false : connected components that are false, not capped
    outside, inside : pixels above the threshold outside all boxes, and inside any
    """

    found: NDArray[np.bool_]
    false: int
    outside: int
    inside: int

    @property
    def false_capped(self) -> int:
        """Components, at most ``CAP``."""
        return min(CAP, self.false)

    @property
    def false_by_area(self) -> int:
        """The authors' count: how many times what lies outside outweighs what lies inside, whole times, at most CAP."""
        return min(CAP, self.outside // max(self.inside, 1))


def filled(boxes: Sequence[Box], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """bool [H, W]: the pixels of any box."""
    inside = np.zeros(shape, dtype=bool)
    for box in boxes:
        inside[box.where] = True
    return inside


def components(above: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """(labels [H, W], how many): connected components, corners touching, numbered from 1; 0 is none."""
    from scipy.ndimage import label

    labels, count = label(above, structure=np.ones((3, 3), dtype=bool))
    return labels, int(count)


def is_false(labels: NDArray[np.int32], count: int, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """bool [count]: which components are false positives: no more than a tenth of their pixels lies in boxes."""
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    within = np.bincount(labels[inside], minlength=count + 1)[1:]
    return SHARE * within <= sizes


def count_boxes(anomaly: NDArray[np.float32], boxes: Sequence[Box], threshold: float) -> BoxCounts:
    """Count what is found and what is wrongly found of one image; no box is a healthy image."""
    above = np.asarray(anomaly, dtype=np.float32) > np.float32(threshold)
    inside = filled(boxes, above.shape)
    found = [SHARE * np.count_nonzero(above[box.where]) > above[box.where].size for box in boxes]
    labels, count = components(above)
    return BoxCounts(
        np.array(found, dtype=bool),
        int(np.count_nonzero(is_false(labels, count, inside))),
        int(np.count_nonzero(above & ~inside)),
        int(np.count_nonzero(above & inside)),
    )


def ratios(found: int, boxes: int, false: int) -> tuple[float, float, float]:
    """(precision, recall, F1) of one image with at least one box.

    Precision is 0 where nothing at all was found, as recall is then; F1 is 2 found / (found + boxes + false), which is
    defined always.
    """
    precision = found / (found + false) if found + false else 0.0
    return precision, found / boxes, 2 * found / (found + boxes + false)
