"""What the page's template shows of a section: plain values, already worded, nothing escaped yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from uadbench.reports.caveats import LOAD_LIMIT, busy_threads
from uadbench.reports.page.cases import (
    Chosen,
    anomaly_image,
    case_inputs,
    choose,
    colour_range,
    grey_image,
    outline_image,
)
from uadbench.reports.page.figures import shown_cells
from uadbench.reports.places import short_text
from uadbench.reports.ranking import Marks
from uadbench.reports.rows import Section, cell_label, run_id
from uadbench.reports.store import Cell, Run, RunError, read_arrays
from uadbench.reports.text import DASH, figure, milliseconds, percent

__all__ = ["case_browser", "glance", "quality_rows", "result_rows", "timing_rows"]

_QUALITY = ["dice_max_exact", "dice_average", "dice_case", "ssim_healthy", "psnr_healthy", "lpips_healthy"]


def result_rows(frame: pd.DataFrame, found: Marks) -> list[dict[str, Any]]:
    """The rows of the main table, methods and floors, in the frame's order."""
    top = max(frame["dice_max_hi"].max(), frame["dice_max"].max())
    scale = 1.0 if pd.isna(top) or top <= 0 else float(top)
    return [_result_row(index, row, found, scale) for index, row in frame.iterrows()]


def _result_row(index: Any, row: Any, found: Marks, scale: float) -> dict[str, Any]:
    name, _, rest = row["variant"].partition(" · ")
    scores = {
        score: _score(index, row, score, found)
        for score in [
            "dice_max",
            "dice_small",
            "dice_medium",
            "dice_large",
            "auprc",
            "dice_healthy_fpr5",
            "auroc_image",
        ]
    }
    bar = None
    if not pd.isna(row["dice_max"]):
        low = row["dice_max"] if pd.isna(row["dice_max_lo"]) else row["dice_max_lo"]
        high = row["dice_max"] if pd.isna(row["dice_max_hi"]) else row["dice_max_hi"]
        bar = {key: f"{100 * value / scale:.1f}" for key, value in (("v", row["dice_max"]), ("lo", low))}
        bar["width"] = f"{100 * (high - low) / scale:.1f}"
    return {
        "name": name,
        "rest": rest,
        "kind": row["kind"],
        "backend": row["backend"],
        "precision": row["precision"],
        "engine": f"{row['backend']} {row['precision']}",
        "label": cell_label(row),
        "below": found.below.get(index, ""),
        "scores": scores,
        "bar": bar,
        "nfe": _plain(row["nfe"], figure),
        "p50": _plain(row["latency_ms_p50"], milliseconds),
        "p90": _plain(row["latency_ms_p90"], milliseconds),
        "call": _plain(row["network_ms_p50"], milliseconds),
        "speedup": _plain(row["speedup"], lambda value: DASH if pd.isna(value) else f"{value:.2f}×"),
        "speedup_note": row["speedup_note"],
        "parity": row["parity"],
        "parity_note": row["parity_note"],
        "cases": _plain(row["n_cases"], figure),
        "failed": _plain(row["n_failed"], figure),
        "run": row["run"],
    }


def _plain(value: Any, text: Any) -> dict[str, str]:
    return {"text": text(value), "sort": "" if pd.isna(value) else f"{float(value):.9g}"}


def _score(index: Any, row: Any, score: str, found: Marks) -> dict[str, Any]:
    mark = "best" if (index, score) in found.best else "tie" if (index, score) in found.ties else ""
    return _plain(row[score], percent) | {"mark": mark, "interval": _interval(row, score)}


def _interval(row: Any, score: str, factor: float = 100.0, digits: int = 1) -> str:
    low, high = row[f"{score}_lo"], row[f"{score}_hi"]
    return "" if pd.isna(low) or pd.isna(high) else f"{low * factor:.{digits}f}–{high * factor:.{digits}f}"


def quality_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Further scores of the shown cells: exact Dice, Dice a case, reconstruction of healthy slices."""
    rows = []
    for _, row in shown_cells(frame).iterrows():
        entry: dict[str, Any] = {"label": row["variant"], "kind": row["kind"]}
        for score in _QUALITY:
            percents = score.startswith("dice")
            factor, digits = (100.0, 1) if percents else (1.0, 1 if score == "psnr_healthy" else 3)
            text = DASH if pd.isna(row[score]) else f"{row[score] * factor:.{digits}f}"
            entry[score] = {"text": text, "interval": _interval(row, score, factor, digits)}
        rows.append(entry)
    return rows


def timing_rows(section: Section) -> list[dict[str, Any]]:
    """Latency percentiles, first call, warm-up, memory and load of every cell, with a warning on a loaded machine."""
    rows = []
    for index, row in section.frame.iterrows():
        busy = busy_threads(section, int(str(index)))
        load = row["load_max"]
        # the first call is of a whole batch, the percentiles are of an image; warm-up is once a cell
        first = row["first_call_ms"] / row["batch_size"]
        values = [row[f"latency_ms_{key}"] for key in ("p50", "p90", "p95", "p99")]
        rows.append(
            {
                "label": cell_label(row),
                "kind": row["kind"],
                "n": figure(row["timed_batches"]),
                "ms": [milliseconds(value) for value in [*values, first, row["warmup_ms"]]],
                "batch": figure(row["batch_size"]),
                "memory": DASH if pd.isna(row["peak_memory_mib"]) else f"{row['peak_memory_mib']:.0f}",
                "load": DASH if pd.isna(load) else f"{load:.1f}",
                "busy": "" if busy is None else f"above {LOAD_LIMIT} × {busy} threads",
            }
        )
    return rows


def glance(section: Section, found: Marks) -> list[tuple[str, str, str]]:
    """(caption, figure, detail) of what one wants to know first."""
    frame = section.frame[section.frame["dice_max"].notna()]
    methods, floors = frame[frame["kind"] != "floor"], frame[frame["kind"] == "floor"]
    items = []
    for caption, part in (("Best method, max Dice", methods), ("Best floor, max Dice", floors)):
        if len(part):
            row = part.loc[part["dice_max"].idxmax()]
            interval = _interval(row, "dice_max")
            name = row["variant"] + (f", {interval}" if interval else "")
            items.append((caption, f"{percent(row['dice_max'])} %", name))
    if len(methods) and len(floors):
        variants: dict[str, bool] = {}
        for index, row in methods.iterrows():  # best cell first: a variant counts by its best cell
            variants.setdefault(row["variant"], index in found.below)
        below = sorted(name for name, is_below in variants.items() if is_below)
        text = ", ".join(below) if below else "every method is above the best floor"
        items.append(("Methods below the best floor", f"{len(below)} of {len(variants)}", text))
    faster = section.frame[section.frame["speedup"].notna()]
    if len(faster):
        row = faster.loc[faster["speedup"].idxmax()]
        items.append(("Largest speed-up with parity", f"{row['speedup']:.2f}×", cell_label(row)))
    return items


def case_browser(section: Section) -> dict[str, Any]:
    """The chosen cases with their pictures, input and truth first, then every method and floor."""
    frame = shown_cells(section.frame)
    several = len(section.runs) > 1
    shown: list[tuple[str, Run, Cell]] = []
    for index, row in frame.iterrows():
        run, cell = section.cell(int(str(index)))
        if cell.metrics is not None:
            label = row["variant"] + (f" · {run_id(run)}" if several and row["kind"] != "floor" else "")
            shown.append((label, run, cell))
    chosen = choose([cell for _, _, cell in shown])
    tops = [colour_range(cell, chosen) for _, _, cell in shown]
    cases = []
    for case in chosen:
        inputs = case_inputs(section.runs, case)
        if inputs is None:
            continue
        image, mask = inputs
        truth = outline_image(image, mask) if mask.any() else None
        panels = [_panel(label, cell, case, top) for (label, _, cell), top in zip(shown, tops, strict=True)]
        cases.append(
            {
                "case": case,
                "title": _title(case),
                "input": grey_image(image),
                "truth": truth,
                "panels": panels,
            }
        )
    scales = [(label, f"{top:.3g}") for (label, _, _), top in zip(shown, tops, strict=True)]
    return {"cases": cases, "scales": scales, "engines": _engines(shown)}


def _engines(shown: Sequence[tuple[str, Run, Cell]]) -> str:
    names = sorted({f"{cell.info.get('backend')} {cell.info.get('precision')}" for _, _, cell in shown})
    return ", ".join(names)


def _title(case: Chosen) -> str:
    if case.group == "healthy":
        return f"healthy, score rank {case.rank} of {case.of}"
    return f"{case.group} lesion, {case.lesion_px} px, rank {case.rank} of {case.of}"


def _panel(label: str, cell: Cell, case: Chosen, top: float) -> dict[str, Any]:
    name, _, rest = label.partition(" · ")
    panel: dict[str, Any] = {
        "label": label,
        "name": name,
        "rest": rest,
        "floor": cell.info.get("kind") == "floor",
    }
    record = next((entry for entry in cell.cases if entry["case_id"] == case.case_id), None)
    if record is None or record.get("status") != "ok":
        status = record.get("status") if record else "not run"
        reason = short_text(str((record or {}).get("reason") or ""))
        return panel | {"missing": f"{status}: {reason}" if reason else str(status)}
    try:
        anomaly, reconstruction = read_arrays(cell.path, case.case_id)
    except RunError:
        return panel | {"missing": "the run no longer holds this case's arrays"}
    scored = ((cell.metrics or {}).get("per_case") or {}).get(case.case_id) or {}
    value, word = (scored.get("dice"), "Dice") if case.lesion_px else (scored.get("score"), "score")
    text = "" if value is None else f"{word} {percent(value) if word == 'Dice' else f'{value:.3g}'}"
    return panel | {
        "missing": "",
        "reconstruction": grey_image(reconstruction),
        "map": anomaly_image(anomaly, top),
        "value": text,
    }
