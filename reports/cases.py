"""The table of single cases: one row a case and cell, with everything that is known of both, for other programs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uadbench.reports.atomic import write_bytes
from uadbench.reports.identity import arm_of, variant_of
from uadbench.reports.runs import split_of
from uadbench.reports.truth import HEALTHY
from uadbench.reports.vocabulary import STAGES

if TYPE_CHECKING:
    import pandas as pd

    from uadbench.reports.runs import Cell, Run

__all__ = ["COLUMNS", "CaseTableError", "case_rows", "check_targets", "csv_bytes", "write_cases"]

RECONSTRUCTION = ("ssim", "psnr", "mae", "lpips")
BOXES = {"box_f1": "f1", "box_recall": "recall", "box_precision": "precision"}
"""Column -> key of a case's scores, where the truth is boxes."""

# Column -> its type; all but texts may be missing. The order is that of the file.
COLUMNS: dict[str, str] = {
    **dict.fromkeys(("run", "run_id", "dataset", "cell", "label", "method", "title", "kind"), "string"),
    **dict.fromkeys(("noise", "steps", "perceptual", "post", "settings"), "string"),
    **dict.fromkeys(("t_start", "seed"), "Int64"),
    **dict.fromkeys(("backend", "precision", "device", "provider"), "string"),
    **dict.fromkeys(("case", "subject", "split"), "string"),
    "scored": "boolean",
    "volume": "string",
    "position": "Int64",
    "lesion": "boolean",
    "group": "string",
    "lesion_px": "Int64",
    "boxes": "string",
    **dict.fromkeys(("status", "reason"), "string"),
    **dict.fromkeys(("threshold", "dice", *BOXES), "Float64"),
    "dice_at_max": "Float64",
    "false_px": "Int64",
    "box_false_positives": "Int64",
    **dict.fromkeys(("score", *RECONSTRUCTION), "Float64"),
    **dict.fromkeys(("latency_ms", "network_call_ms"), "Float64"),
    **{f"{stage}_ms": "Float64" for stage in STAGES},
    "nfe": "Int64",
    **dict.fromkeys(("batch", "batch_size"), "Int64"),
    "first_call": "boolean",
    **dict.fromkeys(("load", "peak_memory_mib"), "Float64"),
    **dict.fromkeys(("arrays_sha256", "version"), "string"),
}


class CaseTableError(Exception):
    """The table cannot be written; the message says why and what to do, in one line."""


def case_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """The columns of ``COLUMNS``, a row for each case of each cell, in the order of the runs; scores are fractions."""
    import pandas as pd

    rows = [row for run in runs for cell in run.cells for row in _rows(run, cell)]
    columns = {name: pd.array([row.get(name) for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
    return pd.DataFrame(columns)


def _rows(run: Run, cell: Cell) -> Iterator[dict[str, Any]]:
    info, metrics = cell.info, cell.metrics or {}
    variant, arm = variant_of(info), arm_of(info)
    shared: dict[str, Any] = {key: info.get(key) for key in ("dataset", "kind", "t_start")}
    shared |= {
        "run": run.path.resolve().name,
        "run_id": run.manifest.get("run_id"),
        "version": run.manifest.get("version"),
        "cell": cell.slug,
        "label": f"{variant.label} · {arm.label}",
        "method": variant.method,
        "title": variant.title,
        "noise": variant.noise,
        "steps": variant.steps,
        "perceptual": variant.perceptual,
        "post": variant.post,
        "settings": json.dumps(json.loads(variant.settings), sort_keys=True),
        "seed": variant.seed,
        "backend": arm.backend,
        "precision": arm.precision,
        "device": arm.device,
        "provider": (info.get("backend_info") or {}).get("provider"),
        "threshold": _threshold(metrics),
    }
    scores = cell.scores
    for record in cell.cases:
        yield {**shared, **split_of(run, record), **_case(record, scores.get(record["case_id"]) or {})}


def _threshold(metrics: dict[str, Any]) -> float | None:
    """The value that 5 % of healthy validation pixels exceed, which stands with a measure of the cell's truth."""
    return (metrics.get(HEALTHY[metrics.get("truth") or "mask"]) or {}).get("threshold")


def _case(record: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """The columns that follow from a line of cases.jsonl and its scores."""
    keys = (
        *("subject", "lesion", "lesion_px", "status", "reason", "arrays_sha256"),
        *("latency_ms", "network_call_ms", "nfe", "batch", "batch_size", "first_call", "load"),
        "peak_memory_mib",
    )
    volume = record.get("volume") or None
    stages, found = record.get("stages_ms") or {}, record.get("metrics") or {}
    return {
        "case": record["case_id"],
        "volume": volume,
        "position": record.get("position") if volume else None,
        **{key: record.get(key) for key in keys},
        **{key: scores.get(key) for key in ("dice", "group", "score", "dice_at_max", "false_px")},
        "boxes": ", ".join(scores["boxes"]) if "boxes" in scores else None,
        **{column: scores.get(key) for column, key in BOXES.items()},
        "box_false_positives": scores.get("false_positives"),
        **{key: found.get(key) for key in RECONSTRUCTION},
        **{f"{stage}_ms": stages.get(stage) for stage in STAGES},
    }


def check_targets(paths: Sequence[Path], overwrite: bool = False) -> None:
    """Whether ``write_cases`` can write all of these, so that it is known before the first is written.

    Raises CaseTableError for another ending, a folder, a file that is there or named twice, Parquet without pyarrow.
    """
    seen: set[Path] = set()
    for path in paths:
        if path.suffix.lower() not in ENCODERS:
            raise CaseTableError(f"{path}: is neither {' nor '.join(ENCODERS)}; name such a file")
        if path.is_dir():
            raise CaseTableError(f"{path}: is a folder; name a file")
        if path.exists() and not overwrite:
            raise CaseTableError(f"{path}: is there; name another file, or --overwrite to replace it")
        if path.resolve() in seen:
            raise CaseTableError(f"{path}: is named twice; name each file once")
        seen.add(path.resolve())
        _encode(case_rows([]), path)


def write_cases(frame: pd.DataFrame, paths: Sequence[Path], overwrite: bool = False) -> Iterator[Path]:
    """Write the table as .csv or .parquet, each file whole or not at all; a missing value is an empty field, or null.

    Yields each path when it is written. Raises CaseTableError, as ``check_targets``, before anything is.
    """
    check_targets(paths, overwrite)
    for path in paths:
        write_bytes(path, _encode(frame, path))
        yield path


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """UTF-8, commas, numbers to six digits."""
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()


def _encode(frame: pd.DataFrame, path: Path) -> bytes:
    try:
        return ENCODERS[path.suffix.lower()](frame)
    except ImportError as error:
        raise CaseTableError(
            f"{path}: Parquet needs pyarrow; `pip install 'uadbench[parquet]'`, or name a .csv"
        ) from error


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """Parquet with the types of ``COLUMNS``; ImportError without pyarrow."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    return buffer.getvalue()


ENCODERS: dict[str, Callable[[pd.DataFrame], bytes]] = {".csv": csv_bytes, ".parquet": parquet_bytes}
"""Ending of a file, in small letters -> how the table is written there."""
