"""Bootstrap over subjects and paired tests, vectorised; no number is made up where one is undefined.

Every interval here is a percentile bootstrap interval over subjects: whole subjects are drawn with
replacement, so slices of one person stay together. A resample is a row of whole-number weights, one a case,
which turns resampling of any pooled statistic into a matrix product. The same subjects and seed give the
same resamples, so two methods scored on the same cases are resampled alike and their difference is paired.
The percentile bootstrap is somewhat too narrow below about 20 subjects (see the coverage test); below
``MIN_SUBJECTS`` no interval is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LEVEL",
    "MIN_SUBJECTS",
    "N_BOOT",
    "Difference",
    "bootstrap_p",
    "case_weights",
    "holm",
    "paired_difference",
    "percentile_interval",
    "resampled_difference",
    "weight_blocks",
    "wilcoxon_p",
]

LEVEL = 0.95
N_BOOT = 1000
MIN_SUBJECTS = 10
EXACT_UP_TO = 100  # differences, for the exact signed-rank test
BLOCK = 2**24  # weights at a time: 128 MiB
MIN_DEFINED = 0.9  # an interval needs the statistic to be defined in this share of the resamples

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A paired difference B - A, of means over cases or of pooled scores.

    value : b - a
    lo, hi : 95 % bootstrap interval over subjects, None with fewer than ``MIN_SUBJECTS``
    p : two-sided; for means by the Wilcoxon signed-rank test over subjects' mean differences, for pooled scores by
        the bootstrap; None likewise
    a, b : the two means or scores, of the same cases
    """

    value: float
    lo: float | None
    hi: float | None
    p: float | None
    a: float
    b: float
    n_cases: int
    n_subjects: int

    @property
    def significant(self) -> bool:
        """Whether the interval exists and leaves out 0."""
        return self.lo is not None and self.hi is not None and (self.lo > 0 or self.hi < 0)


def case_weights(subjects: Sequence[str], seed: int, n_boot: int = N_BOOT) -> Floats:
    """How often each case occurs in each resample: float64 [n_boot, n_cases], whole numbers.

    subjects : the subject of each case; the result does not depend on the cases' order
    """
    blocks = list(weight_blocks(subjects, seed, n_boot))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def weight_blocks(subjects: Sequence[str], seed: int, n_boot: int = N_BOOT) -> Iterator[Floats]:
    """The rows of ``case_weights``, in blocks of at most ``BLOCK`` numbers."""
    if n_boot < 1:
        raise ValueError(f"n_boot is {n_boot}; at least 1 resample is needed")
    if not subjects:
        yield np.zeros((n_boot, 0))
        return
    names, index = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    rng, chances = np.random.default_rng(seed), np.full(len(names), 1 / len(names))
    rows = max(1, BLOCK // len(subjects))
    for start in range(0, n_boot, rows):
        drawn = rng.multinomial(len(names), chances, size=min(rows, n_boot - start))
        yield drawn.astype(np.float64)[:, index]


def percentile_interval(samples: ArrayLike, level: float = LEVEL) -> tuple[float | None, float | None]:
    """(lo, hi) of a statistic's resampled values; resamples where it is undefined (NaN) are left out.

    (None, None) when it is undefined in more than a tenth of them: the rest would not be a fair picture.
    """
    values = np.asarray(samples, dtype=np.float64)
    defined = values[~np.isnan(values)]
    if defined.size == 0 or defined.size < MIN_DEFINED * values.size:
        return None, None
    lo, hi = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def paired_difference(
    a: ArrayLike, b: ArrayLike, subjects: Sequence[str], seed: int, n_boot: int = N_BOOT
) -> Difference:
    """Compare two values of each case.

    a, b : [n_cases], finite, of the same cases in the same order
    subjects : the cluster that each case belongs to, resampled as a whole
    Raises ValueError when the lengths differ, nothing is given, or a value is not finite.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or not first.shape == second.shape == (len(subjects),):
        raise ValueError(
            f"a, b and subjects must be of one length, not {first.shape}, {second.shape}, {len(subjects)}"
        )
    if first.size == 0:
        raise ValueError("no case to compare; at least one is needed")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a value to compare is NaN or infinite; leave its case out of both sides")
    change = second - first
    names, index = np.unique(np.asarray(subjects, dtype=str), return_inverse=True)
    lo = hi = p = None
    if len(names) >= MIN_SUBJECTS:
        weights = case_weights(subjects, seed, n_boot)
        lo, hi = percentile_interval(weights @ change / weights.sum(axis=1))
        p = wilcoxon_p(np.bincount(index, weights=change) / np.bincount(index))
    return Difference(
        value=float(change.mean()),
        lo=lo,
        hi=hi,
        p=p,
        a=float(first.mean()),
        b=float(second.mean()),
        n_cases=first.size,
        n_subjects=len(names),
    )


def resampled_difference(
    values: tuple[float, float], samples: tuple[Floats, Floats], n_cases: int, n_subjects: int
) -> Difference:
    """B - A of a score that is no mean over cases, from its values in resamples drawn alike for both [n_boot]."""
    a, b = values
    change = samples[1] - samples[0]
    lo = hi = p = None
    if n_subjects >= MIN_SUBJECTS:
        lo, hi = percentile_interval(change)
        p = None if lo is None else bootstrap_p(change)
    return Difference(b - a, lo, hi, p, a, b, n_cases, n_subjects)


def bootstrap_p(samples: ArrayLike) -> float:
    """Two-sided p value of a difference from its resampled values: twice the smaller share beyond 0, at most 1.

    Undefined values (NaN) are left out. One is added to both counts, so it is never 0: at best 2 / (n + 1).
    """
    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    beyond = min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0))
    return float(min(1.0, 2 * (beyond + 1) / (values.size + 1)))


def wilcoxon_p(differences: ArrayLike) -> float:
    """Two-sided p value of the Wilcoxon signed-rank test; 1 when all differences are zero.

    Unchanged cases take their rank but no sign (Pratt 1959). Up to ``EXACT_UP_TO`` differences the p value is exact
    under random signs, ties and zeros included (SciPy permutes there, for seconds); beyond, SciPy's normal
    approximation with its correction for ties.
    """
    from scipy.stats import rankdata, wilcoxon

    values = np.asarray(differences, dtype=np.float64)
    if not values.any():
        return 1.0
    if len(values) > EXACT_UP_TO:
        return float(wilcoxon(values, zero_method="pratt", method="asymptotic").pvalue)
    changed = values != 0
    ranks = np.rint(2 * rankdata(np.abs(values))[changed]).astype(
        int
    )  # doubled, so that shared ranks are whole
    chance = np.zeros(ranks.sum() + 1)  # chance[s] that the positive ranks sum to s
    chance[0] = 1.0
    for rank in ranks:
        chance[rank:] = 0.5 * (chance[rank:] + chance[: len(chance) - rank])
        chance[:rank] *= 0.5
    observed = ranks[values[changed] > 0].sum()
    return float(min(1.0, 2 * min(chance[: observed + 1].sum(), chance[observed:].sum())))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p values (Holm 1979); None stays None and does not count as a test."""
    adjusted: list[float | None] = [None] * len(p_values)
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted
