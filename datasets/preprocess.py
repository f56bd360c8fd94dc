"""The one pre-processing of every data set: what the papers do, with each choice written down and hashable.

Order: clip to the 98th percentile, scale to [0, 1], pad to a square, resize to 128 x 128
(Bercea et al. 2024, doi:10.48550/arXiv.2403.08464, and the works it compares with).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import CaseError

__all__ = [
    "MASK_RULES",
    "MAX_SIDE",
    "PREPROCESSING",
    "Preprocessing",
    "check_image",
    "grey_range",
    "preprocess",
    "preprocessing_hash",
    "refuse_size",
    "resize_area",
    "resize_linear",
    "resize_mask",
    "to_size",
    "to_square",
]

# Pixels: above most radiographs; a slice is padded to a square, which takes 8 bytes * side ** 2
MAX_SIDE = 4096


# Name of a rule -> ``Preprocessing.mask_rule``.
MASK_RULES: dict[str, float | str] = {"half": 0.5, "any": "any"}
MASK_CAVEAT = (
    "Truth masks are resized by mask_rule = any, the practice of THOR's authors: a pixel is lesion where any old pixel "
    "around its centre is. Small lesions come out larger than usual, by a third on the masks of ixi-stroke."
)


@dataclass(frozen=True)
class Preprocessing:
    """Parameters of the pre-processing, recorded and hashed into every run.

    size : side of the square result in pixels
    percentile : grey values above this percentile are clipped to it. It is taken over **all** pixels of the slice
        as it was read, background included and before padding, whether the skull is there or stripped: a
        percentile over tissue alone would need a brain mask, which users' images do not bring along
    low : "minimum" = the slice's smallest value becomes 0, the percentile becomes 1
    padding : "zero" = the shorter side is padded with 0 (after scaling) on both sides; the odd pixel goes last
    image_resize : "area" = mean over the pixel's footprint when shrinking, bilinear when enlarging
    mask_rule : a pixel is lesion where at least this fraction of its footprint is lesion; "any": there (from half on)
        and wherever bilinear interpolation of the mask leaves more than 0, so where any of the up to four old pixels
        around the new one's centre is lesion. Before that, every non-zero (for numbers) or True pixel of the mask is
        lesion
    version : raised whenever the code changes what comes out for the same parameters
    """

    size: int = 128
    percentile: float = 98.0
    low: str = "minimum"
    padding: str = "zero"
    image_resize: str = "area"
    mask_rule: float | str = 0.5
    version: int = 1

    def record(self) -> dict[str, object]:
        """The parameters as plain values, for the run's manifest."""
        return dict(asdict(self))

    def mask_caveats(self) -> tuple[str, ...]:
        """What must stand beside figures whose truth was not resized by the usual rule."""
        return (MASK_CAVEAT,) if self.mask_rule == "any" else ()

    def mask_key(self) -> str:
        """For the data's fingerprint: "" for the usual rule, under which it is as it always was."""
        return "" if self.mask_rule == MASK_RULES["half"] else f"mask_rule {self.mask_rule}"


PREPROCESSING = Preprocessing()


def preprocessing_hash(params: Preprocessing = PREPROCESSING) -> str:
    """sha256 of the parameters in canonical JSON."""
    return hashlib.sha256(json.dumps(params.record(), sort_keys=True).encode()).hexdigest()


def preprocess(
    image: NDArray[np.generic],
    mask: NDArray[np.generic] | None,
    params: Preprocessing = PREPROCESSING,
    name: str = "image",
    window: tuple[float, float] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bring one slice to the form that every method sees.

    image : [H, W] of any real number type, any range
    mask : [H, W] of the image's shape, non-zero = lesion; None = healthy
    name : the file, for the message of an error
    window : see ``to_square``

    Returns (image float32 [size, size] in [0, 1], mask bool [size, size]).

    Raises CaseError, one line, when the image is not two-dimensional, empty, longer than MAX_SIDE, not real, holds NaN
    or infinity or is constant below its 98th percentile, or when the mask is of another shape or not finite.
    """
    square = to_square(image, params, name, window)
    lesion = check_mask(mask, np.shape(image), name)
    return to_size(square, params), resize_mask(lesion, params)


def resize_mask(lesion: NDArray[np.bool_], params: Preprocessing = PREPROCESSING) -> NDArray[np.bool_]:
    """A mask [H, W] as bool [size, size], by the rule of ``params``."""
    square = pad_to_square(lesion.astype(np.float64))
    least = 0.5 if params.mask_rule == "any" else float(params.mask_rule)
    # 1e-9: fractions are sums of rounded weights, and "at least half" must not hang on the last bit.
    covered = np.asarray(resize_area(square, params.size) >= least - 1e-9)
    return covered | (resize_linear(square, params.size) > 1e-9) if params.mask_rule == "any" else covered


def to_square(
    image: NDArray[np.generic],
    params: Preprocessing = PREPROCESSING,
    name: str = "image",
    window: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """One slice scaled and padded, still on its native grid: float64 [S, S] in [0, 1]; errors as ``preprocess``.

    window : the grey values that become 0 and 1, where a whole volume decides; None: the slice's own
    """
    pixels = check_image(image, name)
    low, high = window or grey_range(pixels, params)
    if not high > low:
        raise CaseError(
            f"{name}: the image is constant ({low:g}) up to its {params.percentile:g}th percentile; "
            "use a slice that shows tissue"
        )
    # Divide before subtracting: the difference of two huge finite values may overflow, their halves cannot.
    scale = max(abs(low), abs(high))
    unit = (np.clip(pixels, low, high) / scale - low / scale) / (high / scale - low / scale)
    return pad_to_square(unit)


def grey_range(pixels: NDArray[np.float64], params: Preprocessing = PREPROCESSING) -> tuple[float, float]:
    """(what becomes 0, what becomes 1) of a slice [H, W]; equal where it shows nothing."""
    return float(pixels.min()), float(np.percentile(pixels, params.percentile))


def to_size(square: NDArray[np.floating], params: Preprocessing = PREPROCESSING) -> NDArray[np.float32]:
    """[S, S] in [0, 1] -> float32 [size, size] in [0, 1]: the last step for test and training images alike."""
    wide = square.astype(np.float64, copy=False)
    shrink = wide.shape[0] >= params.size
    resized = resize_area(wide, params.size) if shrink else resize_linear(wide, params.size)
    return np.clip(resized, 0, 1).astype(np.float32)


def check_image(image: NDArray[np.generic], name: str) -> NDArray[np.float64]:
    """The image as finite float64 [H, W], or CaseError."""
    array = np.asarray(image)
    if array.ndim != 2:
        raise CaseError(
            f"{name}: expected a 2-D slice, got shape {array.shape}; save one grey slice, or use a NIfTI volume "
            "with a slice number"
        )
    if array.size == 0:
        raise CaseError(f"{name}: the image is empty, shape {array.shape}; give one with pixels")
    refuse_size(array.shape, name)
    if array.dtype.kind not in "buif":
        raise CaseError(
            f"{name}: pixels of type {array.dtype} are not real numbers; save as integers or floats"
        )
    pixels = array.astype(np.float64)
    bad = int(np.count_nonzero(~np.isfinite(pixels)))
    if bad:
        raise CaseError(f"{name}: {bad} of {pixels.size} pixels are NaN or infinite; replace them, e.g. by 0")
    return pixels


def refuse_size(shape: tuple[int, ...], name: str) -> None:
    """Raise CaseError where a slice's longest side exceeds MAX_SIDE; nothing is allocated before."""
    if max(shape) > MAX_SIDE:
        sides = " x ".join(str(side) for side in shape)
        raise CaseError(
            f"{name}: {sides} pixels, the longest side may have {MAX_SIDE} (slices are padded to a square); shrink it "
            "or cut out what is needed"
        )


def check_mask(mask: NDArray[np.generic] | None, shape: tuple[int, ...], name: str) -> NDArray[np.bool_]:
    """The mask as bool of the image's shape (all False for None), or CaseError."""
    if mask is None:
        return np.zeros(shape, dtype=bool)
    array = np.asarray(mask)
    if array.shape != shape:
        raise CaseError(
            f"{name}: the mask has shape {array.shape}, its image {shape}; they must be on the same grid"
        )
    if array.dtype.kind not in "buif":
        raise CaseError(f"{name}: the mask's type {array.dtype} is not a number; save it as 0 and 255")
    if not np.isfinite(array.astype(np.float64)).all():
        raise CaseError(f"{name}: the mask holds NaN or infinity; save it as 0 (healthy) and 255 (lesion)")
    return array != 0


def pad_to_square(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """[H, W] with zeros on both ends of the shorter side; where their number is odd, the last one is extra."""
    side = max(image.shape)
    rows, columns = side - image.shape[0], side - image.shape[1]
    return np.pad(image, ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)))


def resize_area(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Square [S, S] -> [size, size], each new pixel the exact mean over its footprint in the old grid."""
    weights = area_weights(image.shape[0], size)
    return weights @ image @ weights.T


def resize_linear(image: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Square [S, S] -> [size, size], bilinear between pixel centres, edges held."""
    old = image.shape[0]
    position = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    distance = np.abs(position[:, None] - np.arange(old)[None, :])
    weights = np.clip(1 - distance, 0, None)
    return weights @ image @ weights.T


def area_weights(old: int, new: int) -> NDArray[np.float64]:
    """[new, old]: the share of each old pixel in each new one's footprint; rows sum to 1."""
    edges = np.arange(new + 1) * old / new
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels[None, :] + 1) - np.maximum(edges[:-1, None], pixels[None, :])
    return np.clip(overlap, 0, None) * new / old
