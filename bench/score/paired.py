"""Every pair of a run's rows held against each other on the same cases and resamples, for ranks and ties.

Intervals of two rows say little of their difference: both hang on the same cases. So each pair is resampled alike, over
subjects, on the test cases that both finished, every row with its own best threshold in every resample, and the p
values of one measure are corrected by Holm's method over all pairs of the run. Rows that differ only in back end or
in the seed of the noise are one variant and not tested against each other, nor are rows of different seeds, unless one
draws no noise: what is paired was drawn from the same generators.

The smallest p of a bootstrap is 2 / (draws + 1), and must survive a correction over all pairs; so the number of draws
follows from the number of pairs (``draws_for``), and not from ``n_boot`` of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.score.cases import Thresholds
from uadbench.bench.score.cells import operating_point, scored_cases, thresholds_of
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.pooled import fine_samples
from uadbench.bench.score.sample import Sample, Score, samples
from uadbench.bench.score.scorers import scores
from uadbench.bench.score.statistics import Difference, holm, resampled_difference
from uadbench.bench.score.tally import Tally, tally
from uadbench.reports.identity import Variant, variant_of
from uadbench.reports.schema import check_metrics
from uadbench.reports.store import RunDirectory
from uadbench.reports.vocabulary import MEASURES, RANKED

__all__ = ["compare_rows", "draws_for"]

LEAST, MOST, A_PAIR = 2000, 20_000, 100
BINS = 1024  # of the average precision's resamples: off by 1e-3 of its swings, the same way in both rows


@dataclass(frozen=True)
class _Row:
    """A scored cell. ids : the test cases that it finished; operating : of post-processed maps"""

    slug: str
    thresholds: Thresholds
    operating: OperatingPoint | None
    ids: frozenset[str]


def draws_for(n_pairs: int) -> int:
    """Resamples for so many pairs: a hundred a pair, so that the smallest p is 0.02 after Holm; 2000 to 20000.

    Above 200 pairs the smallest p grows, to 0.05 at 500; the report says where no difference can pass.
    """
    return min(MOST, max(LEAST, A_PAIR * n_pairs))


def compare_rows(
    run: RunDirectory,
    slugs: Sequence[str],
    order: Iterable[str],
    seed: int,
    before_row: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """paired.json: for each ranked measure, every pair of rows with difference B - A, interval, p and Holm's p.

    slugs : the run's cells; those without scores are left out
    order : ids of the run's cases
    before_row : called before each row is scored; may raise to stop

    lo, hi and p are None with fewer than ``MIN_SUBJECTS`` subjects. Pairs of which a row has no value are left out.
    Raises RunError where what is stored cannot be read.
    """
    same: dict[frozenset[str], frozenset[str]] = {}  # rows mostly finished the same cases: one set for all
    rows = {slug: row for slug in slugs if (row := _row(run, slug, same)) is not None}
    variants = {slug: variant_of(run.cell(slug).info) for slug in rows}
    pairs = [(a, b) for a, b in combinations(rows, 2) if _comparable(variants[a], variants[b])]
    n_draws = draws_for(len(pairs))
    draw = partial(samples, seed=seed, n_boot=n_draws)
    found = _scores(run, rows, pairs, list(order), draw, before_row)
    return {
        "seed": seed,
        "draws": n_draws,
        "n_pairs": len(pairs),
        "measures": {name: _tested(name, rows, pairs, found) for name in _ranked(found)},
    }


def _comparable(one: Variant, two: Variant) -> bool:
    """Whether they differ in more than the seed of the noise, and have the same seed where both draw noise."""
    same_seed = one.seed == two.seed or "none" in (one.noise, two.noise)
    return same_seed and replace(one, seed=0) != replace(two, seed=0)


def _row(run: RunDirectory, slug: str, same: dict[frozenset[str], frozenset[str]]) -> _Row | None:
    cell = run.cell(slug)
    metrics, info = cell.metrics, cell.info
    if metrics is None or info.get("not_applicable"):
        return None
    check_metrics(cell.path / "metrics.json", metrics)
    ids = frozenset(r["case_id"] for r in cell.read_cases() if r["split"] == "test" and r["status"] == "ok")
    return _Row(slug, thresholds_of(metrics), operating_point(info), same.setdefault(ids, ids))


@dataclass(frozen=True)
class _Resampled:
    """What stays of a score while other rows are scored: not its cases."""

    value: float
    samples: NDArray[np.float64]
    n_cases: int
    n_subjects: int


Scores = dict[tuple[str, frozenset[str]], dict[str, _Resampled | None]]


def _scores(
    run: RunDirectory,
    rows: Mapping[str, _Row],
    pairs: Sequence[tuple[str, str]],
    order: Sequence[str],
    draw: Callable[[Tally], Iterable[Sample]],
    before_row: Callable[[], None],
) -> Scores:
    """(row, shared cases) -> its scores on them. One set of cases where every row finished the same, as is usual."""
    wanted: dict[frozenset[str], dict[str, None]] = {}
    for a, b in pairs:
        wanted.setdefault(rows[a].ids & rows[b].ids, {}).update({a: None, b: None})
    found: Scores = {}
    for shared, slugs in wanted.items():
        for slug in slugs:
            before_row()
            cell, row = run.cell(slug), rows[slug]
            by_id = {record["case_id"]: record for record in cell.read_cases() if record["case_id"] in shared}
            cases = scored_cases(run, cell, (by_id[case_id] for case_id in order if case_id in shared))
            counted = tally(replace(cases, slices=()), row.thresholds, row.operating, BINS)  # none by volume
            names = [name for name in RANKED if MEASURES[name].applies_to(counted.truth)]
            scored = scores(names, draw(counted), {"auprc": _auprc_binned})
            found[slug, shared] = {name: _resampled(score) for name, score in scored.items()}
    return found


def _resampled(score: Score) -> _Resampled | None:
    if score.value is None or score.samples is None:
        return None
    return _Resampled(score.value, score.samples, len(score.cases), score.n_subjects)


def _ranked(found: Scores) -> list[str]:
    """The measures that were scored; those of masks where there is no pair."""
    scored = {name for entry in found.values() for name in entry}
    return [name for name in RANKED if name in scored or (not found and MEASURES[name].applies_to("mask"))]


def _auprc_binned(sample: Sample) -> Score:
    """Average precision, value and resamples from the same bins: many draws at little cost."""
    if not sample.lesions:
        return Score()
    counts = sample.tally.fine[1]
    value = fine_samples(np.ones((1, len(counts.lesion))), counts)[0][0]
    return Score(float(value), sample.fine[0], sample.lesions)


def _tested(
    name: str, rows: Mapping[str, _Row], pairs: Sequence[tuple[str, str]], scored: Scores
) -> list[dict[str, Any]]:
    """The pairs of one measure, corrected together."""
    found: list[tuple[str, str, Difference]] = []
    for a, b in pairs:
        shared = rows[a].ids & rows[b].ids
        one, two = scored[a, shared].get(name), scored[b, shared].get(name)
        if one is None or two is None:
            continue
        values, drawn = (one.value, two.value), (one.samples, two.samples)
        found.append((a, b, resampled_difference(values, drawn, one.n_cases, one.n_subjects)))
    corrected = holm([change.p for *_, change in found])
    return [
        {
            "a": a,
            "b": b,
            "difference": change.value,
            "lo": change.lo,
            "hi": change.hi,
            "p": change.p,
            "p_holm": p_holm,
            "n_cases": change.n_cases,
            "n_subjects": change.n_subjects,
        }
        for (a, b, change), p_holm in zip(found, corrected, strict=True)
    ]
