"""How a slice of a NIfTI is turned to be looked at, anterior on top and the patient's left on the left, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["turned", "turned_back"]


def turned(plane: NDArray[Any], axes: NDArray[np.float64], across: int) -> NDArray[Any]:
    """A slice as it is stored, [first, second] of the array axes that are left, as an image [H, W].

    axes : nibabel's orientation: for each array axis, the anatomical axis (0 R, 1 A, 2 S) and its direction
    across : the array axis that was cut
    """
    first, second = (axes[axis] for axis in range(3) if axis != across)
    if first[1] < 0:
        plane = plane[::-1]
    if second[1] < 0:
        plane = plane[:, ::-1]
    if first[0] > second[0]:
        plane = plane.T
    return np.ascontiguousarray(plane[:, ::-1].T)


def turned_back(image: NDArray[Any], axes: NDArray[np.float64], across: int) -> NDArray[Any]:
    """What ``turned`` gives this image for, as it is stored."""
    first, second = (axes[axis] for axis in range(3) if axis != across)
    plane = image.T[:, ::-1]
    if first[0] > second[0]:
        plane = plane.T
    if second[1] < 0:
        plane = plane[:, ::-1]
    if first[1] < 0:
        plane = plane[::-1]
    return np.ascontiguousarray(plane)
