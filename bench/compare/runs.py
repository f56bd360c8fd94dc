"""Two runs against each other, case by case: what changed, and how sure that is.

Cells are matched by method, noise, steps, back end and precision; inside a cell, test cases by case id. Only cases
that both runs finished are compared; those that only A finished are counted, for a run must not look better because
its hard cases failed.

The unit that is resampled is the subject for Dice. For latency it is the batch: the cases of one batch share one
measured time, so counting them as independent would make chance look like a change. First calls (warm-up,
compilation) are left out of latency. Holm's correction runs over all rows of one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from uadbench.bench.score.statistics import N_BOOT, Difference, holm, paired_difference
from uadbench.reports.store import Cell, Run

__all__ = ["KEYS", "MEASURES", "CompareError", "Comparison", "Row", "compare_runs"]

KEYS = ("method", "noise", "steps", "backend", "precision")
Key = tuple[str, ...]


class CompareError(Exception):
    """Two runs cannot be compared, or a gate cannot be read; one line: what, which, the remedy."""


@dataclass(frozen=True)
class Measure:
    """Something measured on every case.

    better : +1 when higher is better, -1 when lower is better
    read : (case record, per-case entry of metrics.json) -> value, None where undefined
    timed : whether it is a time (batches resampled, first calls left out)
    """

    better: int
    read: Callable[[Mapping[str, Any], Mapping[str, Any]], float | None]
    timed: bool = False


MEASURES: dict[str, Measure] = {
    "dice": Measure(+1, lambda record, scores: scores.get("dice")),  # at the healthy threshold
    "latency": Measure(-1, lambda record, scores: record.get("latency_ms"), timed=True),
    "network": Measure(-1, lambda record, scores: (record.get("stages_ms") or {}).get("network"), timed=True),
}


@dataclass(frozen=True)
class Row:
    """One measure of one cell: B - A over the shared cases.

    lost : cases with a value in A that failed, were skipped or have none in B; p_holm : p corrected over all rows
    """

    cell: Key
    measure: str
    change: Difference
    lost: int
    p_holm: float | None = None

    @property
    def relative(self) -> float | None:
        """The change as a fraction of A's mean; None when that is 0."""
        return self.change.value / self.change.mean_a if self.change.mean_a else None


@dataclass(frozen=True)
class Comparison:
    """What two runs' shared cells give.

    missing : (cell, measure) without a single case that has it in both runs
    notes : what the reader should know besides, one line each
    """

    rows: tuple[Row, ...]
    missing: tuple[tuple[Key, str], ...]
    notes: tuple[str, ...]


def compare_runs(
    a: Run,
    b: Run,
    measures: Sequence[str] = ("dice", "latency"),
    across: Sequence[str] = (),
    seed: int = 0,
    n_boot: int = N_BOOT,
    force: bool = False,
) -> Comparison:
    """Compare B with A, cell by cell.

    across : keys that may differ between the two, e.g. ("backend",) to hold one run's torch against the other's
        ONNX Runtime; the rest must still name one cell in each run
    force : compare in spite of different data or seeds; a note says so
    Raises CompareError when the data or seeds differ, or no cell, or no case of a cell, is shared.
    """
    notes = _same_ground(a, b, force)
    keys = tuple(key for key in KEYS if key not in across)
    first, second = _by_key(a, keys), _by_key(b, keys)
    shared = [key for key in first if key in second]
    if not shared:
        raise CompareError(
            f"the runs share no cell: A has {_names(first)}; B has {_names(second)}; "
            f"--across KEY lets a key differ ({', '.join(KEYS)})"
        )
    for label, other, cells in (("A", second, first), ("B", first, second)):
        notes += [f"only in {label}: {'/'.join(key)}" for key in cells if key not in other]
    for key in shared:
        notes += _case_notes(key, first[key], second[key])
    if not any(_finished(first[key]).keys() & _finished(second[key]).keys() for key in shared):
        raise CompareError(
            "the runs share no finished test case; were they run on the same cases, to the end?"
        )
    tried = {
        (key, name): _compare_cell(key, first[key], second[key], name, seed, n_boot)
        for key in shared
        for name in measures
    }
    rows = [row for row in tried.values() if row is not None]
    missing = [pair for pair, row in tried.items() if row is None]
    notes += [f"{'/'.join(key)}: no case has {name} in both runs" for key, name in missing]
    adjusted = holm([row.change.p for row in rows])
    rows = [replace(row, p_holm=p) for row, p in zip(rows, adjusted, strict=True)]
    return Comparison(tuple(rows), tuple(missing), tuple(notes))


def _same_ground(a: Run, b: Run, force: bool) -> list[str]:
    """Refuse (or, forced, note) runs on other data or seeds; note other code, weights or machine."""
    notes: list[str] = []
    for title, path in (("data (fingerprint)", ("dataset", "fingerprint")), ("seed", ("seed",))):
        one, two = _look(a.manifest, path), _look(b.manifest, path)
        if one != two:
            what = f"the runs differ in {title}: A {_short(one)}, B {_short(two)}"
            if not force:
                raise CompareError(
                    f"{what}; a paired comparison would mean little (--force does it all the same)"
                )
            notes.append(what)
    softer = (
        ("version", ("version",)),
        ("code", ("git", "commit")),
        ("checkpoints", ("checkpoints",)),
        ("perceptual net", ("perceptual", "sha256")),
        ("processor; times are not comparable", ("environment", "cpu")),
        ("threads", ("environment", "threads")),
    )
    for title, path in softer:
        one, two = _look(a.manifest, path), _look(b.manifest, path)
        if one != two:
            notes.append(f"the runs differ in {title}: A {_short(one)}, B {_short(two)}")
    return notes


def _look(manifest: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = manifest
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return (
            ", ".join(f"{name} {_short(_look(value, [name, 'sha256']))}" for name in sorted(value)) or "none"
        )
    text = "unknown" if value is None else str(value)
    return text if len(text) <= 40 else text[:12]


def _by_key(run: Run, keys: Sequence[str]) -> dict[Key, Cell]:
    cells: dict[Key, Cell] = {}
    for cell in run.cells:
        key = tuple(str(cell.info.get(name)) for name in keys)
        if key in cells:
            raise CompareError(
                f"{run.path}: {cells[key].slug} and {cell.slug} both match {'/'.join(key)}; use fewer --across"
            )
        cells[key] = cell
    return cells


def _names(cells: Mapping[Key, Cell]) -> str:
    return ", ".join(cell.slug for cell in cells.values()) or "none"


def _finished(cell: Cell) -> dict[str, dict[str, Any]]:
    """The finished test cases by id."""
    return {c["case_id"]: c for c in cell.cases if c["status"] == "ok" and c.get("split", "test") == "test"}


def _case_notes(key: Key, a: Cell, b: Cell) -> list[str]:
    first, second = set(_finished(a)), set(_finished(b))
    counts = (("A", len(first - second)), ("B", len(second - first)))
    notes = [
        f"{'/'.join(key)}: {n} case(s) finished only in {label}, not compared" for label, n in counts if n
    ]
    sizes = [max((c.get("batch_size", 1) for c in _finished(cell).values()), default=1) for cell in (a, b)]
    if sizes[0] != sizes[1]:
        notes.append(f"{'/'.join(key)}: batch size {sizes[0]} in A, {sizes[1]} in B, which changes times")
    return notes


def _compare_cell(key: Key, a: Cell, b: Cell, name: str, seed: int, n_boot: int) -> Row | None:
    """The row, or None when no shared case has the measure in both runs."""
    measure = MEASURES[name]
    first, second = _finished(a), _finished(b)
    shared = sorted(set(first) & set(second))
    ids, pairs = [], []
    # a case lost is one that B tried and did not finish; one that B never had is only noted
    lost = sum(record["status"] != "ok" and record["case_id"] in first for record in b.cases)
    for case_id in shared:
        records = first[case_id], second[case_id]
        if measure.timed and any(record.get("first_call") for record in records):
            continue
        values = [
            measure.read(record, _scores(cell, case_id)) for record, cell in zip(records, (a, b), strict=True)
        ]
        if values[0] is not None and values[1] is not None:
            ids.append(case_id)
            pairs.append((values[0], values[1]))
        lost += values[0] is not None and values[1] is None
    if not ids:
        return None
    one, two = np.array(pairs, dtype=np.float64).T
    units = [str(first[case_id]["subject"]) for case_id in ids]
    if measure.timed:
        units = _batches([first[i] for i in ids], [second[i] for i in ids])
    return Row(key, name, paired_difference(one, two, units, seed, n_boot), lost)


def _scores(cell: Cell, case_id: str) -> Mapping[str, Any]:
    return ((cell.metrics or {}).get("per_case") or {}).get(case_id) or {}


def _batches(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels that join cases which shared a batch in either run.

    Cases of a batch carry the same latency to the last bit (the batch's time divided by its size), which tells them.
    """
    n = len(first)
    rows, columns = [], []
    for records in (first, second):
        leader: dict[float | None, int] = {}
        for i, record in enumerate(records):
            if record.get("batch_size", 1) > 1:
                rows.append(i)
                columns.append(leader.setdefault(record.get("latency_ms"), i))
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    return [str(label) for label in connected_components(graph, directed=False)[1]]
