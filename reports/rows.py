"""Runs as one table: a row a cell, grouped by data set, with what may be said about the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from uadbench.reports.places import short_text
from uadbench.reports.store import Cell, Run, RunError

__all__ = [
    "FIXED",
    "RANKED",
    "SCORES",
    "Section",
    "cell_label",
    "origin",
    "rows_of",
    "run_id",
    "sections",
    "speedup",
    "variant",
]

FIXED = [
    "dataset",
    "method",
    "noise",
    "steps",
    "backend",
    "precision",
    "n_cases",
    "n_failed",
    "dice_max",
    "dice_max_lo",
    "dice_max_hi",
    "dice_small",
    "dice_medium",
    "dice_large",
    "auprc",
    "dice_healthy_fpr5",
    "auroc_image",
    "nfe",
    "latency_ms_p50",
    "latency_ms_p90",
    "network_ms_p50",
]
"""The columns that leaderboard.csv starts with; scripts may rely on them. Scores are fractions."""

SCORES = [
    "dice_max",
    "dice_max_exact",
    "dice_average",
    "dice_small",
    "dice_medium",
    "dice_large",
    "auprc",
    "dice_healthy_fpr5",
    "dice_case",
    "auroc_image",
    "ssim_healthy",
    "psnr_healthy",
    "lpips_healthy",
]
RANKED = ["dice_max", "dice_small", "dice_medium", "dice_large", "auprc", "dice_healthy_fpr5", "auroc_image"]
"""The scores in which rows are compared; in all of them more is better."""

_TITLES = {
    "thor": "THOR",
    "ddpm": "DDPM",
    "anoddpm": "AnoDDPM",
    "autoddpm": "AutoDDPM",
    "pddpm": "pDDPM",
    "cddpm": "cDDPM",
}
_ORIGINS = {"ixi-stroke": "semi-synthetic", "phantom": "synthetic"}


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


def origin(dataset: dict[str, Any]) -> str:
    """'semi-synthetic', 'synthetic' or '' (real), by the data set's name, title and caveats."""
    if known := _ORIGINS.get(str(dataset.get("name"))):
        return known
    text = " ".join([str(dataset.get("title", "")), *map(str, dataset.get("caveats") or ())]).lower()
    if "semi-synthetic" in text:
        return "semi-synthetic"
    return "synthetic" if text.startswith(("phantom", "synthetic")) else ""


def variant(row: Any) -> str:
    """What is one method in figures: 'THOR · gaussian · 25 steps'; back end and precision left out."""
    name = _TITLES.get(str(row["method"]), str(row["method"]))
    if row["kind"] == "floor":
        return name
    parts = [name, str(row["noise"])]
    if str(row["steps"]) not in ("-", "", "None", "0"):
        parts.append("all steps" if row["steps"] == "paper" else f"{row['steps']} steps")
    return " · ".join(parts)


def cell_label(row: Any) -> str:
    """The variant with its back end and precision."""
    return f"{variant(row)} · {row['backend']} {row['precision']}"


def rows_of(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a cell: the FIXED columns, then intervals, counts, timing, speed-up, parity, run. Scores are fractions.

    What was not or could not be computed is missing (NaN), never 0. Sorted by data set, methods before floors, best
    pooled Dice first; the order of ``runs`` does not matter. RunError when a run is given twice.
    """
    names = [run_id(run) for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RunError(f"run {twice[0]} is given more than once; give each run directory once")
    records = [_record(run, cell) for run in runs for cell in run.cells]
    frame = pd.DataFrame.from_records(records, columns=list(_columns()))
    for name in _columns():
        if name.startswith("n_") or name.endswith("_n"):
            frame[name] = pd.to_numeric(frame[name]).astype("Int64")
        elif name not in _TEXT:
            frame[name] = pd.to_numeric(frame[name]).astype("float64")
    order = frame.assign(_floor=frame["kind"] == "floor", _score=-frame["dice_max"])
    keys = ["dataset", "fingerprint", "_floor", "_score", "method", "noise", "cell", "run"]
    return frame.loc[order.sort_values(keys, na_position="last").index].reset_index(drop=True)


_TEXT = frozenset(
    [
        "dataset",
        "method",
        "noise",
        "steps",
        "backend",
        "precision",
        "kind",
        "perceptual",
        "speedup_note",
        "parity",
        "parity_note",
        "origin",
        "fingerprint",
        "cell",
        "run",
    ]
)


def _columns() -> Iterator[str]:
    yield from FIXED
    yield "kind"
    for score in SCORES:
        for name in (score, f"{score}_lo", f"{score}_hi"):
            if name not in FIXED:
                yield name
    yield from [
        "dice_small_n",
        "dice_medium_n",
        "dice_large_n",
        "n_lesion",
        "n_healthy",
        "n_excluded",
        "t_start",
    ]
    yield from [
        "latency_ms_p95",
        "latency_ms_p99",
        "first_call_ms",
        "warmup_ms",
        "peak_memory_mib",
        "load_max",
    ]
    yield from ["timed_batches", "batch_size", "speedup", "speedup_note", "parity", "parity_note"]
    yield from ["perceptual", "origin", "fingerprint", "cell", "run"]


def _record(run: Run, cell: Cell) -> dict[str, Any]:
    manifest, info, metrics, latency = run.manifest, cell.info, cell.metrics or {}, cell.latency or {}
    dataset = manifest.get("dataset") or {}
    record: dict[str, Any] = {
        name: str(info.get(name, "")) for name in ("method", "noise", "steps", "backend", "precision", "kind")
    }
    record["dataset"] = str(dataset.get("name") or info.get("dataset", ""))
    for name in ("n_cases", "n_failed", "n_lesion", "n_healthy", "n_excluded"):
        record[name] = metrics.get(name)
    for score in SCORES:
        entry = metrics.get(score) or {}
        record |= {score: entry.get("value"), f"{score}_lo": entry.get("lo"), f"{score}_hi": entry.get("hi")}
        if score in ("dice_small", "dice_medium", "dice_large"):
            record[f"{score}_n"] = entry.get("n")
    image, network = latency.get("latency_ms") or {}, latency.get("network_ms") or {}
    record |= {f"latency_ms_{key}": image.get(key) for key in ("p50", "p90", "p95", "p99")}
    record["network_ms_p50"] = network.get("p50")
    record |= {
        name: latency.get(name) for name in ("first_call_ms", "warmup_ms", "peak_memory_mib", "load_max")
    }
    record["timed_batches"] = latency.get("n")  # a batch is one measurement
    calls = [case["nfe"] for case in cell.cases if case.get("status") == "ok" and case.get("nfe") is not None]
    record["nfe"] = sum(calls) / len(calls) if calls else None
    record["batch_size"] = _batch_size(cell)
    record["speedup"], record["speedup_note"] = speedup(run, cell)
    verdict = (run.parity or {}).get(cell.slug) or {}
    record |= {"parity": str(verdict.get("verdict", "")), "parity_note": _reason(verdict)}
    perceptual = manifest.get("perceptual") or {}
    record |= {"t_start": info.get("t_start"), "perceptual": str(perceptual.get("name", ""))}
    record |= {"origin": origin(dataset), "fingerprint": str(dataset.get("fingerprint", ""))[:12]}
    return record | {"cell": cell.slug, "run": run_id(run)}


def _reason(verdict: dict[str, Any]) -> str:
    return short_text(str(verdict.get("reason") or ""))


def _batch_size(cell: Cell) -> int | None:
    """The usual batch size: the largest seen, since only a run's last batch is smaller."""
    return max((case["batch_size"] for case in cell.cases if case.get("batch_size")), default=None)


def speedup(run: Run, cell: Cell) -> tuple[float | None, str]:
    """(ratio of median latencies against the same method on torch fp32 in the same run, '') or (None, why not)."""
    info = cell.info
    if info.get("kind") == "floor":
        return None, "a floor has no network"
    if info.get("backend") == "torch" and info.get("precision") == "fp32":
        return None, "the reference"
    same = ("method", "noise", "steps", "t_start", "hyperparameters")
    matches = [
        other
        for other in run.cells
        if (other.info.get("backend"), other.info.get("precision")) == ("torch", "fp32")
        and all(other.info.get(name) == info.get(name) for name in same)
    ]
    if not matches:
        return None, "this run has no torch fp32 cell of the method"
    verdict = (run.parity or {}).get(cell.slug) or {}
    if verdict.get("verdict") != "pass":
        if not verdict:
            return None, "parity was not checked"
        return None, f"parity {verdict.get('verdict')}: {_reason(verdict) or 'no reason given'}"
    if _batch_size(cell) != _batch_size(matches[0]):
        return None, "timed at another batch size than torch fp32"
    own = ((cell.latency or {}).get("latency_ms") or {}).get("p50")
    reference = ((matches[0].latency or {}).get("latency_ms") or {}).get("p50")
    if not own or not reference:
        return None, "latency was not measured"
    return reference / own, ""


def sections(runs: Sequence[Run], frame: pd.DataFrame) -> list[Section]:
    """Rows by data set and fingerprint: runs over other cases never share a table."""
    result = []
    for (dataset, fingerprint), part in frame.groupby(["dataset", "fingerprint"], sort=True):
        names = set(part["run"])
        members = sorted((run for run in runs if run_id(run) in names), key=run_id)
        digest = hashlib.sha256(f"{dataset}/{fingerprint}".encode()).hexdigest()[:8]
        result.append(Section(f"d{digest}", part, tuple(members)))
    return result
