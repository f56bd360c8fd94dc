"""Cells against each other, case by case: what differs, and how sure that is.

Only cases that both sides finished are compared; those that only A finished are counted, for a method must not look
better because its hard cases failed. Holm's correction runs over all rows of one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from uadbench.bench.compare.measures import DEFAULT, Maps, Row, rows_of
from uadbench.bench.compare.pairs import CompareError, Pair, choose_pairs, finished
from uadbench.bench.compare.settings import Setting, batch_size, differing_settings
from uadbench.bench.score.statistics import holm
from uadbench.reports.runs import Run

__all__ = ["RESAMPLES", "Compared", "Comparison", "compare_runs"]

RESAMPLES = 5000
"""More than a run's own intervals take: the smallest p is 2 / 5001, and must survive a correction over 100 rows."""


@dataclass(frozen=True)
class Compared:
    """A pair with its rows, one a measure. n_cases : that both finished; differs : settings; notes : one line each"""

    pair: Pair
    n_cases: int
    rows: tuple[Row, ...]
    differs: tuple[Setting, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """All pairs, and what the reader should know besides, one line each."""

    pairs: tuple[Compared, ...]
    notes: tuple[str, ...]


def compare_runs(
    runs: Sequence[Run],
    measures: Sequence[str] = DEFAULT,
    methods: Sequence[str] = (),
    backends: Sequence[str] = (),
    seed: int = 0,
    n_boot: int = RESAMPLES,
    force: bool = False,
) -> Comparison:
    """Compare variants of one run, or of two (see ``choose_pairs``): differences B - A.

    measures : of ``measures.CHOICES``; force : compare in spite of different data; a note says so
    Raises CompareError when the data differ, a name cannot be told, or no pair shares a finished test case.
    """
    notes = _same_data(runs, force)
    pairs, left_out = choose_pairs(runs, methods, backends)
    maps = Maps()
    compared: list[Compared] = []
    for pair in pairs:
        shared = finished(pair.a.cell).keys() & finished(pair.b.cell).keys()
        rows = tuple(rows_of(pair, measures, maps, seed, n_boot))
        compared.append(Compared(pair, len(shared), rows, differing_settings(pair), tuple(_case_notes(pair))))
    if not any(one.n_cases for one in compared):
        raise CompareError(
            "no test case was finished on both sides; were they run on the same cases, to the end?"
        )
    return Comparison(tuple(_corrected(compared)), (*notes, *left_out))


def _same_data(runs: Sequence[Run], force: bool) -> list[str]:
    """Refuse (or, forced, note) runs on other data."""
    prints = [str((run.manifest.get("dataset") or {}).get("fingerprint"))[:12] for run in runs]
    if len(set(prints)) == 1:
        return []
    what = f"the runs differ in data (fingerprint): A {prints[0]}, B {prints[1]}"
    if not force:
        raise CompareError(f"{what}; a paired comparison would mean little (--force does it all the same)")
    return [what]


def _case_notes(pair: Pair) -> list[str]:
    a, b = set(finished(pair.a.cell)), set(finished(pair.b.cell))
    counts = (("A", len(a - b)), ("B", len(b - a)))
    notes = [f"{n} case{'s' * (n > 1)} finished only in {label}, not compared" for label, n in counts if n]
    if batch_size(pair.a) != batch_size(pair.b):
        notes.append("batch sizes differ, which changes times")
    return notes


def _corrected(compared: Sequence[Compared]) -> list[Compared]:
    """The same with Holm's p, over all rows that have one."""
    p_values = [row.change.p if row.change else None for one in compared for row in one.rows]
    adjusted = iter(holm(p_values))
    return [
        replace(one, rows=tuple(replace(row, p_holm=next(adjusted)) for row in one.rows)) for one in compared
    ]
