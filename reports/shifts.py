"""What shifts of intensity did to reconstructions: means over healthy test cases, a row a cell, kind and value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from uadbench.reports.rows import Section, run_id
from uadbench.reports.runs import Cell

__all__ = ["COLUMNS", "KLD", "MEANS", "SHIFTED", "shift_lines", "shift_rows"]

KLD = "kld_unclipped"  # renamed when clipped pixels were left out, so that values of before are not taken for it
MEANS = (KLD, "mae", "ssim")
COLUMNS = ("dataset", "variant", "kind", "arm", "shift", "value", "n", *MEANS, "cell", "run")

SHIFTED = (
    "Healthy test slices, their intensities changed inside the head: how far the reconstruction follows. KLD: "
    "Kullback-Leibler divergence of the histograms inside the head, KL(input || reconstruction), without the pixels "
    "that are 0 or 1 in the input, less is better; value 1 is the slice as it is. Means over the same cases at all "
    "values of a kind, without intervals."
)

Results = dict[tuple[str, float], dict[str, Mapping[str, Any]]]


def shift_rows(section: Section) -> pd.DataFrame:
    """COLUMNS, and "index", the cell's row in ``section.frame``; sorted by cell as there, kind and value; may be empty.

    The unshifted case stands in each kind as value 1. All values of a kind are means over the same ``n`` cases: those
    that gave a result at every value of which some case did.
    """
    rows: list[dict[str, Any]] = []
    for index, row in section.frame.iterrows():
        run, cell = section.cell(int(str(index)))
        same = {key: row[key] for key in ("dataset", "variant", "kind", "arm", "cell")}
        rows += [{"index": index, **same, "run": run_id(run), **found} for found in _of_cell(cell)]
    return pd.DataFrame(rows, columns=["index", *COLUMNS])


def shift_lines(section: Section, escape: Callable[[str], str]) -> list[str]:
    """The table as Markdown below its heading; [] where no shift was run."""
    rows = shift_rows(section)
    if rows.empty:
        return []
    lines = ["### Under simulated scanner changes", "", SHIFTED, ""]
    lines += ["| method | shift | value | cases | KLD, nats | MAE | SSIM |", "| --- | --- |" + " ---: |" * 5]
    for _, row in rows.iterrows():
        means = ["–" if pd.isna(row[name]) else f"{row[name]:.3f}" for name in MEANS]
        cells = [escape(row["variant"]), row["shift"], f"{row['value']:g}", str(row["n"]), *means]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _of_cell(cell: Cell) -> Iterator[dict[str, Any]]:
    results = _results(cell.directory.read_shifts())
    plain = results.pop(("none", 1.0), {})
    for kind in sorted({kind for kind, _ in results}):
        values = {1.0: plain, **{value: found for (name, value), found in results.items() if name == kind}}
        finished = [set(found) for found in values.values() if found]
        shared = sorted(set.intersection(*finished)) if finished else []
        for value, found in sorted(values.items()):
            cases = [found[case_id] for case_id in shared] if found else []
            means = {name: _mean(case.get(name) for case in cases) for name in MEANS}
            yield {"shift": kind, "value": value, "n": len(cases), **means}


def _results(records: Iterable[Mapping[str, Any]]) -> Results:
    """(kind, value) -> case id -> its metrics; a value that was tried and failed is there without a case."""
    found: Results = {}
    for record in records:
        cases = found.setdefault((str(record["shift"]), float(record["value"])), {})
        if record["status"] == "ok" and isinstance(record.get("metrics"), dict):
            cases[record["case_id"]] = record["metrics"]
    return found


def _mean(values: Iterable[Any]) -> float | None:
    """None where a case has no number: a mean over the others could not be compared."""
    given = list(values)
    known = [value for value in given if isinstance(value, int | float)]
    return sum(known) / len(known) if known and len(known) == len(given) else None
