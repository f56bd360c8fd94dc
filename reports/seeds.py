"""How much a variant's scores vary over the seeds of its noise, where a run has several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from uadbench.reports.identity import variant_of
from uadbench.reports.truth import headline_of
from uadbench.reports.vocabulary import SCORES

__all__ = ["SEEDS", "Spread", "spreads", "with_seeds"]

SEEDS = (
    "Over noise seeds: the mean of the rows that differ in nothing but the seed of the noise, and the lowest and the "
    "highest of them. Intervals are of one seed and do not hold this spread."
)


@dataclass(frozen=True)
class Spread:
    """One variant on one arm over several seeds.

    rows : its rows in the frame; seeds : theirs; values : score -> (mean, lowest, highest), of those that have it
    """

    label: str
    arm: str
    run: str
    kind: str
    rows: tuple[int, ...]
    seeds: tuple[int, ...]
    values: dict[str, tuple[float, float, float]]


def spreads(frame: pd.DataFrame) -> list[Spread]:
    """Variants of which one run has several seeds, in the frame's order; only scores of two or more."""
    return list(_spreads(frame))


def _spreads(frame: pd.DataFrame) -> Iterator[Spread]:
    if frame.empty:
        return
    variant = frame.apply(lambda row: replace(variant_of(row), seed=0), axis=1)
    keys = [frame["dataset"], frame["fingerprint"], frame["run"], frame["arm"], variant]
    for _, part in frame.groupby(keys, sort=False):
        if part["seed"].nunique() < 2:
            continue
        part = part.sort_values("seed")
        scored = {score: part[score].dropna() for score in SCORES if score in frame}
        first = part.iloc[0]
        yield Spread(
            str(variant[part.index[0]].label),
            str(first["arm"]),
            str(first["run"]),
            str(first["kind"]),
            tuple(map(int, part.index)),
            tuple(map(int, part["seed"])),
            {
                name: (float(values.mean()), float(values.min()), float(values.max()))
                for name, values in scored.items()
                if len(values) > 1
            },
        )


def with_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with n_seeds and the headline score's mean, lowest and highest over them, where there are several."""
    frame = frame.copy()
    for spread in spreads(frame):
        rows = list(spread.rows)
        frame.loc[rows, "n_seeds"] = len(rows)
        score = headline_of(frame.loc[rows]).name
        for name, value in zip(("mean", "min", "max"), spread.values.get(score, ()), strict=False):
            frame.loc[rows, f"{score}_seeds_{name}"] = value
    return frame
