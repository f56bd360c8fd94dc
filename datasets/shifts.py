"""Simulated changes of a scanner: intensities of the head, changed by a formula of one number.

An image is float32 [H, W] in [0, 1]; the head is given as a mask, and what lies outside keeps its values. At 1 every
shift leaves the image as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHIFTS", "shifted"]

Values = NDArray[np.float64]

SHIFTS: dict[str, Callable[[Values, float], Values]] = {
    "contrast": lambda x, c: x.mean() + c * (x - x.mean()),
    "gain": lambda x, g: g * x,
    "gamma": lambda x, gamma: x**gamma,
}
"""Kind -> what it makes of the head's pixels [n] in [0, 1], before they are clipped to [0, 1]."""


def shifted(
    image: NDArray[np.float32], head: NDArray[np.bool_], kind: str, value: float
) -> NDArray[np.float32]:
    """The image with a shift of that kind inside the head; ``value`` above 0. An empty head changes nothing."""
    result = np.array(image, dtype=np.float32)
    if head.any() and value != 1:
        result[head] = np.clip(SHIFTS[kind](image[head].astype(np.float64), value), 0, 1)
    return result
