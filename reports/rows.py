"""Runs as one table: a row a cell, grouped by data set, with what may be said about the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from uadbench.reports.atomic import RunError
from uadbench.reports.clocks import clock, reason_of, speedup, streams_of
from uadbench.reports.columns import FIXED, TEXT, columns, truth_in, unused
from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.pareto import with_front
from uadbench.reports.places import short_text
from uadbench.reports.ranking import with_ranks
from uadbench.reports.runs import Cell, Run
from uadbench.reports.seeds import with_seeds
from uadbench.reports.truth import headline_values
from uadbench.reports.vocabulary import SCORES, SIZE_NAMES

__all__ = [
    "FIXED",
    "Section",
    "cell_label",
    "rows_of",
    "run_id",
    "sections",
    "subset",
]


@dataclass(frozen=True)
class Section:
    """The cells on one set of cases: rows of the table (methods first, then floors; best Dice first) and their runs."""

    key: str
    frame: pd.DataFrame
    runs: tuple[Run, ...]

    @property
    def dataset(self) -> dict[str, Any]:
        """The manifest's account of the data set."""
        return self.runs[0].manifest.get("dataset") or {}

    def cell(self, index: int) -> tuple[Run, Cell]:
        """The run and the cell behind a row of ``frame``."""
        row = self.frame.loc[index]
        for run in self.runs:
            for cell in run.cells:
                if cell.slug == row["cell"] and run_id(run) == row["run"]:
                    return run, cell
        raise RunError(f"cell {row['cell']} of run {row['run']} is not among the runs given")


def run_id(run: Run) -> str:
    """The run's own name, or its folder's where the manifest has none."""
    return str(run.manifest.get("run_id") or run.path.resolve().name)


def cell_label(row: Any) -> str:
    """The variant with its back end and precision."""
    return f"{row['variant']} · {row['arm']}"


def rows_of(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a cell: the FIXED columns, then intervals, ranks, counts, timing, parity, run. Scores are fractions.

    What was not or could not be computed is missing (NaN), never 0. Sorted by data set, methods before floors, best
    pooled Dice first; the order of ``runs`` does not matter. RunError when a run is given twice.
    """
    names = [run_id(run) for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RunError(f"run {twice[0]} is given more than once; give each run directory once")
    records = [_record(run, cell) for run in runs for cell in run.cells]
    frame = pd.DataFrame.from_records(records, columns=list(columns()))
    for name in columns():
        if (name.startswith(("n_", "rank_")) and name not in TEXT) or name.endswith("_n"):
            frame[name] = pd.to_numeric(frame[name]).astype("Int64")
        elif name not in TEXT:
            frame[name] = pd.to_numeric(frame[name]).astype("float64")
    frame = with_seeds(with_ranks(frame, {run_id(run): run.paired for run in runs}))
    frame = with_front(frame, [clock(run, cell) for run in runs for cell in run.cells])
    frame = frame.drop(columns=list(unused(runs)))
    order = frame.assign(_floor=frame["kind"] == "floor", _score=-headline_values(frame))
    keys = ["dataset", "fingerprint", "_floor", "_score", "method", "noise", "cell", "run"]
    return frame.loc[order.sort_values(keys, na_position="last").index].reset_index(drop=True)


def _record(run: Run, cell: Cell) -> dict[str, Any]:
    manifest, info = run.manifest, cell.info
    dataset, verdict = manifest.get("dataset") or {}, (run.parity or {}).get(cell.slug) or {}
    ratio, note = speedup(run, cell)
    return {
        **_identity(info),
        "dataset": str(dataset.get("name") or info.get("dataset", "")),
        **_scores(cell.metrics or {}),
        **_times(cell),
        "speedup": ratio,
        "speedup_note": note,
        "parity": str(verdict.get("verdict", "")),
        "parity_note": reason_of(verdict),
        "t_start": info.get("t_start"),
        "version": str(manifest.get("version") or ""),
        "threads": (manifest.get("environment") or {}).get("threads"),
        "origin": str(dataset.get("origin") or ""),
        "subset": subset(dataset),
        "truth": truth_in(run, cell),
        "fingerprint": str(dataset.get("fingerprint", ""))[:12],
        "cell": cell.slug,
        "run": run_id(run),
    }


def _identity(info: dict[str, Any]) -> dict[str, Any]:
    """What a cell.json says that its cell is."""
    variant, arm = variant_of(info), arm_of(info)
    return {
        "method": variant.method,
        "title": variant.title,
        "noise": variant.noise,
        "steps": variant.steps,
        "perceptual": variant.perceptual,
        "settings": variant.settings,
        "seed": variant.seed,
        "post": variant.post,
        "variant": variant.label,
        "backend": arm.backend,
        "precision": arm.precision,
        "device": arm.device,
        "arm": arm.label,
        "kind": "floor" if variant.floor else "method",
        "not_applicable": short_text(str(info.get("not_applicable") or "")),
    }


def _scores(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of cases, each score with its interval, and how many lesions each size has."""
    counts = ("n_cases", "n_failed", "n_lesion", "n_healthy", "n_excluded")
    found = {name: metrics.get(name) for name in counts}
    for score in SCORES:
        entry = metrics.get(score) or {}
        found |= {score: entry.get("value"), f"{score}_lo": entry.get("lo"), f"{score}_hi": entry.get("hi")}
    return found | {f"dice_{size}_n": (metrics.get(f"dice_{size}") or {}).get("n") for size in SIZE_NAMES}


def _times(cell: Cell) -> dict[str, Any]:
    """Milliseconds, memory, load and calls. What a batch takes beside others is no latency: it would stand below
    figures that it is not to be held against."""
    latency, streams = cell.latency or {}, streams_of(cell)
    image, network = ((latency.get(k) if streams == 1 else None) or {} for k in ("latency_ms", "network_ms"))
    others = ("first_call_ms", "warmup_ms", "peak_memory_mib", "load_max")
    return {
        "streams": streams,
        "images_per_s": latency.get("images_per_s"),
        **{f"latency_ms_{key}": image.get(key) for key in ("p50", "p90", "p95", "p99")},
        "network_ms_p50": network.get("p50"),
        **{name: latency.get(name) for name in others},
        "timed_batches": latency.get("n") if streams == 1 else None,  # a batch is one measurement
        "nfe": cell.nfe,
        "batch_size": cell.batch_size,
    }


def subset(dataset: Mapping[str, Any]) -> str:
    """'24 of 617 test cases' where a run took only part of a data set's test split, else ''."""
    taken, whole = dataset.get("n_test"), dataset.get("n_test_all")
    kind = "validation" if dataset.get("split") == "val" else "test"
    return f"{taken} of {whole} {kind} cases" if taken and whole and taken < whole else ""


def sections(runs: Sequence[Run], frame: pd.DataFrame) -> list[Section]:
    """Rows by data set and fingerprint: runs over other cases never share a table."""
    result = []
    for (dataset, fingerprint), part in frame.groupby(["dataset", "fingerprint"], sort=True):
        names = set(part["run"])
        members = sorted((run for run in runs if run_id(run) in names), key=run_id)
        digest = hashlib.sha256(f"{dataset}/{fingerprint}".encode()).hexdigest()[:8]
        result.append(Section(f"d{digest}", part, tuple(members)))
    return result
