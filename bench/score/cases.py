"""What is measured on single cases: size group, image score, reconstruction; which may be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import SIZES, Box
from uadbench.datasets.case import TOO_SMALL as SMALLEST

__all__ = [
    "TOO_SMALL",
    "Scored",
    "Thresholds",
    "check_case",
    "check_cases",
    "healthy_threshold",
    "healthy_thresholds",
    "histogram_kld",
    "image_score",
    "reconstruction_metrics",
    "size_group",
    "top_mean",
]

KLD_BINS = 64  # a slice of 128 x 128 has some 7000 pixels of head, about 100 a bin
TOO_SMALL = f"lesion of {SMALLEST} px or fewer"


@dataclass(frozen=True)
class Scored:
    """A case with its anomaly map.

    anomaly : float32 [H, W] >= 0
    mask : bool [H, W], all False when healthy
    metrics : what ``reconstruction_metrics`` (and "lpips", the perceptual net) gave; None = undefined
    head : bool [H, W], the head in its image (``engine.post.head``); None where nobody asked, as of lesion cases
    boxes : the truth where it is boxes, () when healthy; None where it is a mask
    """

    case_id: str
    subject: str
    lesion: bool
    anomaly: NDArray[np.float32]
    mask: NDArray[np.bool_]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    head: NDArray[np.bool_] | None = None
    boxes: tuple[Box, ...] | None = None


@dataclass(frozen=True)
class Thresholds:
    """The values that at most 5 % of healthy validation pixels exceed: of the image, of the head; None without any."""

    image: float | None = None
    head: float | None = None


def size_group(mask: NDArray[np.bool_]) -> str | None:
    """The group in ``datasets.case.SIZES`` by lesion pixels; None for 3 pixels or fewer."""
    pixels = int(np.count_nonzero(mask))
    return next((name for name, (over, up_to) in SIZES.items() if over < pixels <= up_to), None)


def image_score(anomaly: NDArray[np.float32]) -> float:
    """One number for an image: the mean of its top 1 % of pixels (164 of 128 x 128).

    A maximum hangs on one pixel and a mean over the image on the size of the head; the top 1 % is about the
    size of the lesions sought (small: up to 71 px, medium: up to 570 px).
    """
    return top_mean(np.sort(anomaly, axis=None))  # faster here than np.partition


def top_mean(pixels: NDArray[np.float32]) -> float:
    """The mean of the largest hundredth of sorted pixels."""
    return float(pixels[-pixels.size // 100 :].mean(dtype=np.float64))


def healthy_thresholds(healthy_val: Sequence[Scored]) -> Thresholds:
    """Both thresholds, of maps in memory; that of the head is None unless every case says where its head is."""
    known = all(case.head is not None for case in healthy_val)
    return Thresholds(
        healthy_threshold(healthy_val), healthy_threshold(healthy_val, inside=True) if known else None
    )


def healthy_threshold(healthy_val: Sequence[Scored], percent: int = 5, inside: bool = False) -> float | None:
    """The lowest value that at most ``percent`` % of the pooled healthy pixels exceed; None without any.

    inside : whether only pixels of the head count; else all do, background included

    It is one of the map's own values (float32). Maps with few distinct values may stay below ``percent`` %.
    """
    if not healthy_val:
        return None
    maps = [case.anomaly[case.head] if inside else case.anomaly.ravel() for case in healthy_val]
    pixels = np.concatenate(maps).astype(np.float32)
    if not pixels.size:
        return None
    rank = -(-pixels.size * (100 - percent) // 100) - 1
    return float(np.sort(pixels)[rank])


def reconstruction_metrics(
    image: NDArray[np.float32], reconstruction: NDArray[np.float32]
) -> dict[str, float | None]:
    """SSIM (7 x 7 window, data range 1), PSNR in dB (None for identical images: infinite) and MAE.

    image, reconstruction : float32 [H, W] in [0, 1]
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    x, x_rec = np.asarray(image, dtype=np.float64), np.asarray(reconstruction, dtype=np.float64)
    if x.shape != x_rec.shape:
        raise ValueError(f"image {x.shape} and reconstruction {x_rec.shape} differ in shape")
    if not (np.isfinite(x).all() and np.isfinite(x_rec).all()):
        raise ValueError("image or reconstruction holds NaN or infinity")
    return {
        "ssim": float(structural_similarity(x, x_rec, data_range=1.0)),
        "psnr": None
        if np.array_equal(x, x_rec)
        else float(peak_signal_noise_ratio(x, x_rec, data_range=1.0)),
        "mae": float(np.abs(x - x_rec).mean()),
    }


def histogram_kld(
    image: NDArray[np.float32], reconstruction: NDArray[np.float32], inside: NDArray[np.bool_]
) -> float | None:
    """KL(image || reconstruction) of their intensity histograms in nats, >= 0; None where nothing counts.

    image, reconstruction : [H, W] in [0, 1]; inside : bool [H, W], the pixels that count
    Pixels that are 0 or 1 in the image are left out: what was clipped has no intensity that could be followed, and as
    all of it lies in one bin it would outweigh the rest. ``KLD_BINS`` equal bins over [0, 1]; one is added to each
    count, as an empty bin among some thousand pixels does not say that its intensities never occur.
    """
    from scipy.stats import entropy

    counted = inside & (image > 0) & (image < 1)
    if not counted.any():
        return None
    counts = [
        np.histogram(pixels[counted], bins=KLD_BINS, range=(0.0, 1.0))[0] + 1
        for pixels in (image, reconstruction)
    ]
    return float(entropy(*counts))


def check_cases(cases: Sequence[Scored]) -> None:
    """Refuse what cannot be scored with a ValueError that names the case (see ``summarize``)."""
    seen: set[str] = set()
    for case in cases:
        check_case(case, seen)


def check_case(case: Scored, seen: set[str]) -> None:
    """The same of one case; ``seen``, the ids of those before it, gets its id."""
    if case.case_id in seen:
        raise ValueError(f"case {case.case_id}: given twice")
    seen.add(case.case_id)
    if case.boxes is not None and case.lesion != bool(case.boxes):
        called = "lesion" if case.lesion else "healthy"
        raise ValueError(f"case {case.case_id}: is called {called} and has {len(case.boxes)} boxes")
    if case.anomaly.ndim != 2 or case.anomaly.shape != case.mask.shape:
        raise ValueError(
            f"case {case.case_id}: map {case.anomaly.shape} and mask {case.mask.shape} must be one [H, W]"
        )
    if case.mask.dtype != np.bool_:
        raise ValueError(f"case {case.case_id}: the mask is {case.mask.dtype}, not bool")
    if not np.isfinite(case.anomaly).all():
        raise ValueError(f"case {case.case_id}: the anomaly map holds NaN or infinity")
    if case.anomaly.min() < 0:
        raise ValueError(f"case {case.case_id}: the anomaly map holds {case.anomaly.min()}; it must be >= 0")
    if not case.lesion and case.mask.any():
        raise ValueError(
            f"case {case.case_id}: is called healthy, but its mask has {case.mask.sum()} lesion px"
        )
