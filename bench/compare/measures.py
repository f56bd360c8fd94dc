"""What cells are compared by: every score of the vocabulary, and the times of single cases.

Scores are computed anew from the stored maps of the cases that both cells finished, resampled alike. Dice a case and
times are paired case by case. The unit that is resampled is the subject; for times it is the batch: the cases of one
batch share one measured time, so counting them as independent would make chance look like a change. First calls
(warm-up, compilation) are left out of times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from uadbench.bench.compare.pairs import CompareError, Pair, Side, finished
from uadbench.bench.plan.fields import listed
from uadbench.bench.score.cases import Scored
from uadbench.bench.score.cells import incomplete_volumes, operating_point, slice_of, thresholds_of
from uadbench.bench.score.measured import Cases
from uadbench.bench.score.statistics import MIN_SUBJECTS, Difference, paired_difference
from uadbench.bench.score.summary import differences
from uadbench.bench.score.tally import Tally, tally
from uadbench.datasets.case import Box
from uadbench.engine.post import head
from uadbench.reports.runs import Run
from uadbench.reports.vocabulary import LOAD_LIMIT, MEASURES

__all__ = [
    "CHOICES",
    "DEFAULT",
    "DEFAULTS",
    "DICE_CASE",
    "TIMES",
    "Maps",
    "Row",
    "better",
    "check_measures",
    "default_of",
    "rows_of",
]

DICE_CASE = "dice_case"
Read = Callable[[Mapping[str, Any]], float | None]

TIMES: dict[str, Read] = {
    "latency": lambda record: record.get("latency_ms"),
    "network": lambda record: (record.get("stages_ms") or {}).get("network") or None,  # 0: it has no network
}
"""Times in milliseconds an image, from the record of a case."""

CHOICES = (*MEASURES, *TIMES)
DEFAULT = ("dice_max", "dice_average", DICE_CASE, *TIMES)
DEFAULTS = {"mask": DEFAULT, "boxes": ("box_f1", "box_f1_papers", "box_recall", "froc_mean", *TIMES)}
"""What is compared unless the user says otherwise, by the truth of the first run's data set."""


def default_of(runs: Sequence[Run]) -> tuple[str, ...]:
    """The measures of DEFAULTS for these runs."""
    return DEFAULTS[str((runs[0].manifest.get("dataset") or {}).get("truth") or "mask")]


@dataclass(frozen=True)
class Row:
    """One measure of one pair: B - A over the shared cases.

    change : None where no case has it on both sides
    lost : cases with a value in A that failed or have none in B
    unjudged : why no verdict is given, "" where one is
    p_holm : p corrected over all rows of the comparison
    """

    measure: str
    change: Difference | None
    lost: int = 0
    unjudged: str = ""
    p_holm: float | None = None

    @property
    def relative(self) -> float | None:
        """The change as a fraction of A's value; None when that is 0."""
        return self.change.value / self.change.a if self.change and self.change.a else None

    @property
    def verdict(self) -> str:
        """ "better", "worse", "=" where the two are not told apart, "" where that is not judged.

        The interval must leave out 0 and the corrected p be below 0.05, or many rows together would make chance look
        like a finding.
        """
        if self.change is None or self.unjudged or self.change.lo is None:
            return ""
        if not (self.change.significant and (self.p_holm is None or self.p_holm < 0.05)):
            return "="
        return "better" if self.change.value * better(self.measure) > 0 else "worse"


def check_measures(names: Iterable[str]) -> None:
    """Refuse a name that is none of CHOICES with a CompareError that lists them."""
    for name in names:
        if name not in CHOICES:
            raise CompareError(f"--measure {name!r} is unknown; choose from {listed(list(CHOICES))}")


def better(measure: str) -> int:
    """+1 where higher is better, -1 where lower is."""
    return -1 if measure in TIMES else MEASURES[measure].better


@dataclass(frozen=True)
class Counted:
    """What was counted of one side's cases, and a hash of each case's mask, which tells other truths."""

    tally: Tally
    masks: Mapping[str, bytes]


@dataclass
class Maps:
    """What was counted of maps, read once a comparison holds several cells against one: the last two are kept."""

    kept: dict[tuple[str, str, tuple[str, ...], frozenset[str]], Counted] = field(default_factory=dict)

    def of(self, side: Side, ids: Sequence[str], incomplete: frozenset[str] = frozenset()) -> Counted:
        """The cases in the order of ``ids``, each looked at once; RunError where one cannot be read.

        incomplete : volumes that are not compared, as not all of their slices are
        """
        key = (str(side.run.path), side.cell.slug, tuple(ids), incomplete)
        counted = self.kept.pop(key, None) or _counted(side, ids, incomplete)
        self.kept[key] = counted  # the last used is dropped last
        while len(self.kept) > 2:
            del self.kept[next(iter(self.kept))]
        return counted


def rows_of(pair: Pair, measures: Sequence[str], maps: Maps, seed: int, n_boot: int) -> list[Row]:
    """The pair's rows in the order of ``measures``; p is not yet corrected. The pair shares a finished case."""
    pooled = [name for name in measures if name in MEASURES and name != DICE_CASE]
    found = _pooled_rows(pair, pooled, maps, seed, n_boot) if pooled else {}
    for name in measures:
        if name == DICE_CASE:
            found[name] = _paired_row(pair, name, _dice_of(pair.a), _dice_of(pair.b), seed, n_boot)
        elif name in TIMES:
            found[name] = _judged(pair, _paired_row(pair, name, TIMES[name], TIMES[name], seed, n_boot))
    return [found[name] for name in measures]


def _counted(side: Side, ids: Sequence[str], incomplete: frozenset[str]) -> Counted:
    records = finished(side.cell)
    chosen = [records[case_id] for case_id in ids]
    masks: dict[str, bytes] = {}

    def read(place: int) -> Scored:
        case = _scored(side, chosen[place])
        truth = np.packbits(case.mask).tobytes() if case.boxes is None else repr(case.boxes).encode()
        masks[case.case_id] = hashlib.blake2b(truth, digest_size=16).digest()
        return case

    subjects, lesion = [str(r["subject"]) for r in chosen], [bool(r["lesion"]) for r in chosen]
    cases = Cases(subjects, lesion, read, [slice_of(r) for r in chosen], incomplete)
    thresholds, operating = thresholds_of(side.cell.metrics or {}), operating_point(side.cell.info)
    return Counted(tally(cases, thresholds, operating), masks)


def _scored(side: Side, record: Mapping[str, Any]) -> Scored:
    image, mask, boxes = side.run.directory.read_sample(record["case_id"])
    lesion = bool(record["lesion"])
    return Scored(
        record["case_id"],
        str(record["subject"]),
        lesion,
        side.cell.arrays(record["case_id"])[0],
        mask,
        record.get("metrics") or {},
        None if lesion else head(image),
        None if boxes is None else tuple(Box(*box) for box in boxes),
    )


def _pooled_rows(pair: Pair, names: Sequence[str], maps: Maps, seed: int, n_boot: int) -> dict[str, Row]:
    a, b = finished(pair.a.cell), finished(pair.b.cell)
    ids = sorted(a.keys() & b.keys())
    shared = frozenset(ids)
    incomplete = frozenset().union(
        *(incomplete_volumes(side.cell.cases, shared) for side in (pair.a, pair.b))
    )
    first, second = (maps.of(side, ids, incomplete) for side in (pair.a, pair.b))
    if other := next((case_id for case_id in ids if first.masks[case_id] != second.masks[case_id]), None):
        raise CompareError(f"case {other} has another lesion in B than in A; the data are not the same")
    changes = differences(names, first.tally, second.tally, seed, n_boot)
    lost = _failed_in_b(pair)
    return {name: _row(name, change, lost) for name, change in changes.items()}


def _row(name: str, change: Difference | None, lost: int) -> Row:
    if change is None:
        return Row(name, None, lost, "no case has it on both sides")
    unjudged = ""
    if change.n_subjects < MIN_SUBJECTS:
        one, more = ("batch", "batches") if name in TIMES else ("subject", "subjects")
        count = f"{change.n_subjects} {one if change.n_subjects == 1 else more}"
        unjudged = f"not judged: {count}, {MIN_SUBJECTS} needed"
    elif change.lo is None:
        unjudged = "not judged: undefined in resamples"
    return Row(name, change, lost, unjudged)


def _dice_of(side: Side) -> Read:
    """record -> its case's Dice at the healthy threshold."""
    scores = side.cell.scores
    return lambda record: (scores.get(record["case_id"]) or {}).get("dice")


def _paired_row(pair: Pair, name: str, read_a: Read, read_b: Read, seed: int, n_boot: int) -> Row:
    a, b = finished(pair.a.cell), finished(pair.b.cell)
    ids: list[str] = []
    values: list[tuple[float, float]] = []
    lost = _failed_in_b(pair)
    for case_id in sorted(a.keys() & b.keys()):
        if name in TIMES and (a[case_id].get("first_call") or b[case_id].get("first_call")):
            continue
        one, two = read_a(a[case_id]), read_b(b[case_id])
        if one is not None and two is not None:
            ids.append(case_id)
            values.append((one, two))
        lost += one is not None and two is None and name == DICE_CASE
    if not ids:
        return _row(name, None, lost)
    first, second = np.array(values, dtype=np.float64).T
    units = [str(a[case_id]["subject"]) for case_id in ids]
    if name in TIMES:
        units = _batches([a[i] for i in ids], [b[i] for i in ids])
    return _row(name, paired_difference(first, second, units, seed, n_boot), lost)


def _failed_in_b(pair: Pair) -> int:
    """Cases that A finished and B tried and did not finish; those that B never had are only noted."""
    done = finished(pair.a.cell)
    return sum(record["status"] != "ok" and record["case_id"] in done for record in pair.b.cell.cases)


def _judged(pair: Pair, row: Row) -> Row:
    """The row, without interval and p where either cell was timed while something else was running."""
    for side in (pair.a, pair.b):
        streams = max((case.get("streams", 1) for case in finished(side.cell).values()), default=1)
        if row.change is not None and streams > 1:
            reason = f"not judged: {streams} batches ran at a time"
            return replace(row, change=replace(row.change, lo=None, hi=None, p=None), unjudged=reason)
        load = (side.cell.latency or {}).get("load_max")
        if load is None:
            load = max(
                (c["load"] for c in finished(side.cell).values() if c.get("load") is not None), default=0.0
            )
        threads = (side.run.manifest.get("environment") or {}).get("threads")
        if row.change is not None and threads and load > LOAD_LIMIT * threads:
            reason = f"not judged: load {load:.1f} with {threads} thread{'s' * (threads != 1)}"
            return replace(row, change=replace(row.change, lo=None, hi=None, p=None), unjudged=reason)
    return row


def _batches(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels that join cases which shared a batch on either side.

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
