"""Scored cases whose maps come from a seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from uadbench.bench.score.cases import Scored

SIDE = 32


def disc(pixels: int, side: int = SIDE) -> np.ndarray:
    """A mask of exactly so many pixels."""
    mask = np.zeros((side, side), dtype=bool)
    mask.flat[:pixels] = True
    return mask


def make(
    i: int,
    pixels: int,
    rng: np.random.Generator,
    signal: float = 0.2,
    decimals: int | None = None,
    side: int = SIDE,
) -> Scored:
    mask = disc(pixels, side)
    anomaly = np.clip(rng.random((side, side)) * 0.8 + signal * mask, 0, 1)
    if decimals is not None:
        anomaly = anomaly.round(decimals)
    return Scored(f"c{i}", f"s{i}", pixels > 0, anomaly.astype(np.float32), mask)


def cases(pixels: list[int], seed: int = 0, first: int = 0, **options) -> list[Scored]:
    rng = np.random.default_rng(seed)
    return [make(first + i, n, rng, **options) for i, n in enumerate(pixels)]


def with_heads(test: list[Scored]) -> list[Scored]:
    """The same whose head is the left half of the image."""
    return [replace(c, head=np.indices(c.mask.shape)[1] < c.mask.shape[1] // 2) for c in test]


def pooled(test: list[Scored]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([c.anomaly.ravel() for c in test]), np.concatenate([c.mask.ravel() for c in test])


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def at_best(anomaly: np.ndarray, mask: np.ndarray, threshold: float = 0.31) -> dict[str, float | int | None]:
    """What ``per_case`` says of a case at the threshold of the pooled max Dice."""
    found = anomaly > np.float32(threshold)
    hit, false = int((found & mask).sum()), int((found & ~mask).sum())
    dice = 2 * hit / (hit + false + int(mask.sum())) if mask.any() else None
    return {"dice_at_max": dice, "false_px": false}
