"""The columns of the table of cells, and which of them nothing in it speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from uadbench.reports.clocks import streams_of
from uadbench.reports.identity import variant_of
from uadbench.reports.runs import Cell, Run
from uadbench.reports.truth import truth_of_cell
from uadbench.reports.vocabulary import HEADLINES, MEASURES, RANKED, SCORES, SIZE_NAMES

__all__ = ["FIXED", "TEXT", "columns", "truth_in", "unused"]

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
    "dice_average",
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
"""The columns that leaderboard.csv starts with; scripts may rely on them. Scores are fractions. Those of masks are left
out where the truth of every run is boxes."""

_IDENTITY = ("title", "perceptual", "settings", "device", "variant", "arm")
TEXT = frozenset(
    [
        "dataset",
        "method",
        "noise",
        "steps",
        "backend",
        "precision",
        "kind",
        *_IDENTITY,
        "post",
        "not_applicable",
        "rank_note",
        "speedup_note",
        "parity",
        "parity_note",
        "pareto",
        "pareto_note",
        "origin",
        "truth",
        "subset",
        "fingerprint",
        "version",
        "cell",
        "run",
    ]
)


def columns() -> Iterator[str]:
    yield from FIXED
    yield from ["kind", *_IDENTITY, "seed", "post"]
    for score in SCORES:
        for name in (score, f"{score}_lo", f"{score}_hi"):
            if name not in FIXED:
                yield name
    yield from [f"dice_{size}_n" for size in SIZE_NAMES]
    yield from [*(f"rank_{score}" for score in RANKED), "rank_note"]
    yield "n_seeds"
    for headline in HEADLINES.values():
        yield from (f"{headline.name}_seeds_{name}" for name in ("mean", "min", "max"))
    yield from ["n_lesion", "n_healthy", "n_excluded", "t_start", "not_applicable"]
    yield from [
        "latency_ms_p95",
        "latency_ms_p99",
        "first_call_ms",
        "warmup_ms",
        "peak_memory_mib",
        "load_max",
    ]
    yield from ["streams", "images_per_s"]
    yield from ["timed_batches", "batch_size", "speedup", "speedup_note", "parity", "parity_note"]
    yield from ["pareto", "pareto_note"]
    yield from ["threads", "version", "origin", "truth", "subset", "fingerprint", "cell", "run"]


def unused(runs: Sequence[Run]) -> Iterator[str]:
    """Columns that speak of post-processing, or of several batches at a time, where no cell has any."""
    cells = [cell for run in runs for cell in run.cells]
    if all(streams_of(cell) == 1 for cell in cells):
        yield from ("streams", "images_per_s")
    if all(variant_of(cell.info).post == "none" for cell in cells):
        yield "post"
    truths = {truth_in(run, cell) for run in runs for cell in run.cells} or {"mask"}
    if truths == {"mask"}:
        yield "truth"
    for name, measure in MEASURES.items():
        there = any(name in (cell.metrics or {}) for cell in cells)
        if ((measure.optional or measure.volumes) and not there) or not any(map(measure.applies_to, truths)):
            yield from _columns_of(name)
    if "mask" not in truths:
        yield from (f"dice_{size}_n" for size in SIZE_NAMES)


def _columns_of(name: str) -> Iterator[str]:
    """Every column of a measure."""
    yield from (name, f"{name}_lo", f"{name}_hi")
    if name in RANKED:
        yield f"rank_{name}"
    if name in {headline.name for headline in HEADLINES.values()}:
        yield from (f"{name}_seeds_{kind}" for kind in ("mean", "min", "max"))


def truth_in(run: Run, cell: Cell) -> str:
    """What the cell's cases carry, "mask" or "boxes"."""
    known = (run.manifest.get("dataset") or {}).get("truth")
    return truth_of_cell(cell, str(known or "mask"))
