"""What a section's figures must be read with: failed and excluded cases, a loaded machine, how much was timed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from uadbench.reports.identity import variant_of
from uadbench.reports.places import short_text
from uadbench.reports.rows import Section
from uadbench.reports.vocabulary import LOAD_LIMIT, MEASURES

__all__ = [
    "binned",
    "busy_threads",
    "decided",
    "figures",
    "load_notes",
    "problems",
    "timed_batches",
    "unfitted",
]

MAX_PROBLEMS = 60
HOW = ("arm", "n_cases", "n_candidates")  # of a fit's record, what is not its outcome


def busy_threads(section: Section, index: int) -> int | None:
    """The threads of a row's run where its load was above LOAD_LIMIT times them; None where it was not."""
    run, _ = section.cell(index)
    threads, load = (
        (run.manifest.get("environment") or {}).get("threads"),
        section.frame.loc[index, "load_max"],
    )
    if not isinstance(threads, int | float) or threads <= 0 or pd.isna(load):
        return None
    return int(threads) if float(load) > LOAD_LIMIT * threads else None


def load_notes(section: Section) -> list[str]:
    """A sentence for each number of threads with which cells were timed on a loaded machine, or shared by batches."""
    found: dict[int, list[int]] = {}
    for index in section.frame.index:
        if (threads := busy_threads(section, int(index))) is not None:
            found.setdefault(threads, []).append(int(index))
    busy = [
        f"Load reached {section.frame.loc[rows, 'load_max'].max():.1f} with {threads} "
        f"{'thread' if threads == 1 else 'threads'}: something else was running, do not trust the latencies of "
        + _where(list(section.frame.loc[rows, "cell"]), len(section.frame))
        for threads, rows in sorted(found.items())
    ]
    return busy + _throughput(section) + _places(section)


def _places(section: Section) -> list[str]:
    """A sentence where cells were computed in several places, such as shards or nodes of a cluster."""
    found: dict[tuple[str, ...], list[str]] = {}
    for index in section.frame.index:
        cell = section.cell(int(index))[1]
        if places := (cell.latency or {}).get("places"):
            found.setdefault(tuple(places), []).append(cell.slug)
    return [
        f"Computed in {len(places)} {'place' if len(places) == 1 else 'places'} ({_listed(list(places))}), so no "
        f"latency is shown: times of several machines, or of workers beside each other, are not mixed. latency.json "
        f"has them by place ({_where(slugs, len(section.frame))})"
        for places, slugs in sorted(found.items())
    ]


def _throughput(section: Section) -> list[str]:
    """A sentence for each number of batches that ran at a time, where it was more than one."""
    frame, notes = section.frame, []
    if "streams" not in frame:
        return []
    several = frame[frame["streams"] > 1]
    for streams, rows in several.groupby("streams"):
        rates = "; ".join(
            f"{cell} {'not measured, too few batches' if pd.isna(rate) else f'{rate:.3g}'}"
            for cell, rate in zip(rows["cell"], rows["images_per_s"], strict=True)
        )
        notes.append(
            f"{int(streams)} batches ran at a time, so there is throughput, in images a second, and no latency: {rates}"
        )
    return notes


def decided(section: Section) -> list[str]:
    """A sentence for each variant of which validation lesions decided something: what, and what that reaches there."""
    found: dict[str, None] = {}
    for run in section.runs:
        for cell in run.cells:
            record = cell.info.get("fitted")
            if isinstance(record, dict) and "n_cases" in record:
                label, chosen = variant_of(cell.info).label, {k: v for k, v in record.items() if k not in HOW}
                found[f"Fitted on {record['n_cases']:g} validation lesions: {label}: {figures(chosen)}"] = (
                    None
                )
    return list(found)


def figures(record: Mapping[str, Any]) -> str:
    """Names and values in words: 'threshold 0.0887, share of image 0.488'."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else format(value, '.3g')}"
        for name, value in record.items()
    )


def unfitted(section: Section) -> list[str]:
    """A sentence for each reason why post-processed cells have no fitted threshold, hence no score there."""
    found: dict[str, list[str]] = {}
    for run in section.runs:
        for cell in run.cells:
            point = cell.info.get("operating")
            if isinstance(point, dict) and point.get("fallback"):
                found.setdefault(short_text(str(point["fallback"])), []).append(cell.slug)
    return [
        f"No score at a fitted threshold: {reason} ({_where(slugs, len(section.frame))})"
        for reason, slugs in sorted(found.items())
    ]


def binned(section: Section) -> list[str]:
    """A sentence for each measure that was taken from bins, as a run of many cases does, with what it may be off by."""
    notes = []
    for name, measure in MEASURES.items():
        entries = {
            cell.slug: entry
            for run in section.runs
            for cell in run.cells
            if (entry := (cell.metrics or {}).get(name) or {}).get("error") is not None
        }
        if entries:
            off, ends = (
                max(float(entry.get(key) or 0) for entry in entries.values()) * measure.factor
                for key in ("error", "interval_error")
            )
            unit = f" {measure.unit}" if measure.unit else ""
            notes.append(
                f"{measure.title} is taken from bins: off by {off:.2g}{unit} at most, the bins of its interval by "
                f"{ends:.2g}{unit} ({_where(list(entries), len(section.frame))})"
            )
    return notes


def timed_batches(section: Section) -> str:
    """How many batches of how many images the medians of latency are of; '' where nothing was timed."""
    timed = section.frame[section.frame["timed_batches"].fillna(0) > 0]
    found: dict[tuple[int, int], list[str]] = {}
    for _, row in timed.iterrows():
        size = 0 if pd.isna(row["batch_size"]) else int(row["batch_size"])
        found.setdefault((int(row["timed_batches"]), size), []).append(str(row["cell"]))
    parts = []
    for (count, size), slugs in sorted(found.items(), reverse=True):
        images = f" of {size} {'image' if size == 1 else 'images'}" if size else ""
        parts.append(
            f"{count} {'batch' if count == 1 else 'batches'}{images} ({_where(slugs, len(section.frame))})"
        )
    return "; ".join(parts)


def _where(slugs: list[str], total: int) -> str:
    return f"all {total} cells" if len(slugs) == total and total > 1 else ", ".join(slugs)


def _listed(ids: list[str], most: int = 8) -> str:
    """Cases by name, of many the first and how many more."""
    more = f" and {len(ids) - most} more" if len(ids) > most else ""
    return ", ".join(ids[:most]) + more


def problems(section: Section) -> dict[str, Any]:
    """Failed cases and exclusions, a reason of several cases and cells told once; cells without scores.

    "cases" : (status, the cases in words, reason, the cells in words)
    """
    grouped: dict[tuple[str, str, str], dict[str, None]] = {}
    excluded: dict[tuple[str, int], list[str]] = {}
    unfinished = []
    for run in section.runs:
        begun = {cell.slug for cell in run.cells}
        unfinished += [f"{slug}: not begun" for slug in run.manifest.get("cells") or () if slug not in begun]
        for cell in [cell for cell in run.cells if not cell.info.get("not_applicable")]:
            for record in cell.cases:
                if record.get("status") != "ok":
                    reason = short_text(str(record.get("reason") or ""))
                    key = (str(record.get("status")), str(record["case_id"]), reason)
                    grouped.setdefault(key, {})[cell.slug] = None
            if cell.metrics is None:
                unfinished.append(f"{cell.slug}: {cell.n_cases} cases done, not scored")
                continue
            for reason, count in sorted((cell.metrics.get("excluded") or {}).items()):
                excluded.setdefault((str(reason), int(count)), []).append(cell.slug)
    total = sum(len(run.cells) for run in section.runs)
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (status, case_id, reason), slugs in sorted(grouped.items()):
        alike.setdefault((status, reason, _where(list(slugs), total)), []).append(case_id)
    cases = [(status, _listed(ids), reason, where) for (status, reason, where), ids in alike.items()]
    return {
        "cases": cases[:MAX_PROBLEMS],
        "more": max(0, len(cases) - MAX_PROBLEMS),
        "excluded": [(*key, _where(slugs, total)) for key, slugs in sorted(excluded.items())],
        "unfinished": unfinished,
    }
