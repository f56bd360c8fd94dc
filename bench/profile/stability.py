"""Whether a series of times can be believed, by a stated rule, and ratios of medians with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.statistics import percentile_interval

__all__ = [
    "DRIFT",
    "LEAST",
    "RULE",
    "SPREAD",
    "Ratio",
    "Stability",
    "judge_stability",
    "ratio_of_medians",
]

LEAST = 8  # calls, below which nothing is said
SPREAD = 0.10  # relative inter-quartile range, above which times are noisy
DRIFT = 0.05  # relative difference of the halves' medians, above which times drift
N_BOOT = 2000
RULE = (
    f"drifting: the medians of the first and the second half of the calls differ by more than {DRIFT:.0%} of the "
    f"median and the 95 % bootstrap interval of their difference leaves out 0; noisy: the inter-quartile range (IQR) "
    f"is more than {SPREAD:.0%} of the median; too few: fewer than {LEAST} calls; stable: none of these"
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stability:
    """What ``RULE`` says of a series.

    verdict : "stable", "noisy", "drifting" or "too few"
    spread : (p75 - p25) / median
    drift : (median of the second half - median of the first) / median, with its 95 % interval; None for too few
    """

    verdict: str
    spread: float | None = None
    drift: float | None = None
    drift_lo: float | None = None
    drift_hi: float | None = None

    @property
    def text(self) -> str:
        """The verdict with the number that decided it."""
        if self.spread is None or self.drift is None:
            return self.verdict
        number = f"{self.drift:+.1%}" if self.verdict == "drifting" else f"IQR {self.spread:.1%}"
        return f"{self.verdict}, {number}"


@dataclass(frozen=True)
class Ratio:
    """A ratio of medians with its 95 % percentile bootstrap interval."""

    value: float
    lo: float
    hi: float


def judge_stability(times: Sequence[float], seed: int = 0) -> Stability:
    """Judge times, in the order in which they were taken, in any unit, all above 0."""
    values = np.asarray(times, dtype=np.float64)
    if values.size < LEAST:
        return Stability("too few")
    median = float(np.median(values))
    low, high = np.percentile(values, [25, 75])
    spread = float(high - low) / median
    first, second = np.array_split(values, 2)
    drift = float(np.median(second) - np.median(first)) / median
    drawn = (_medians(second, seed) - _medians(first, seed + 1)) / median
    lo, hi = percentile_interval(drawn)
    if abs(drift) > DRIFT and lo is not None and hi is not None and (lo > 0 or hi < 0):
        verdict = "drifting"
    else:
        verdict = "noisy" if spread > SPREAD else "stable"
    return Stability(verdict, spread, drift, lo, hi)


def ratio_of_medians(
    numerator: Sequence[float], denominator: Sequence[float], paired: bool = False, seed: int = 0
) -> Ratio:
    """median(numerator) / median(denominator).

    paired : whether entry k of both was taken in the same round; rounds are then resampled together
    Raises ValueError on an empty side, and on paired ones of different lengths.
    """
    a, b = (np.asarray(side, dtype=np.float64) for side in (numerator, denominator))
    if not a.size or not b.size or (paired and a.size != b.size):
        raise ValueError(f"there are {a.size} and {b.size} times; both sides need some, paired ones as many")
    drawn = _medians(a, seed) / _medians(b, seed if paired else seed + 1)
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    return Ratio(float(np.median(a) / np.median(b)), float(lo), float(hi))


def _medians(values: Floats, seed: int) -> Floats:
    """Medians of ``N_BOOT`` resamples; the same seed and length draw the same places."""
    drawn = np.random.default_rng(seed).integers(values.size, size=(N_BOOT, values.size))
    return np.asarray(np.median(values[drawn], axis=1), dtype=np.float64)
