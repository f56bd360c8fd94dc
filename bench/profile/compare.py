"""Two profiles, row by row: is anything slower by more than a limit, beyond chance, on the same machine?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.bench.profile.record import PROFILE, SCHEMA
from uadbench.bench.profile.stability import Ratio, ratio_of_medians
from uadbench.reports.atomic import RunError, read_json
from uadbench.reports.profile import arm_text

__all__ = ["KEY", "Comparison", "RowChange", "compare_profiles", "load_profile", "row_key", "what_was_timed"]

KEY = ("network", "method", "label", "backend", "precision", "device", "batch")


@dataclass(frozen=True)
class RowChange:
    """One row in both profiles.

    ratio : of the medians, ours over the baseline's, above 1 where ours is slower; None where there is nothing
    unjudged : why no verdict is given, "" where one is
    """

    title: str
    ratio: Ratio | None
    unjudged: str = ""
    lost: bool = False

    def fails(self, limit: float) -> bool:
        """Slower than the baseline by more than ``limit``, a fraction, with an interval that leaves out 1; or lost."""
        if self.lost:
            return True
        if self.unjudged or self.ratio is None:
            return False
        return self.ratio.value > 1 + limit and self.ratio.lo > 1


@dataclass(frozen=True)
class Comparison:
    """Of a profile with its baseline. missing, new : titles of rows that only the baseline, or only we have."""

    rows: tuple[RowChange, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def judged(self) -> int:
        """How many rows have a verdict."""
        return sum(not row.unjudged for row in self.rows)


def load_profile(path: Path) -> dict[str, Any]:
    """profile.json, or the one of a folder; RunError where it is none."""
    found = read_json(path / PROFILE if path.is_dir() else path)
    rows = found.get("rows")
    whole = isinstance(rows, list) and all(isinstance(row, dict) and _is_row(row) for row in rows)
    if found.get("kind") != "profile" or found.get("schema") != SCHEMA or not whole:
        raise RunError(f"{path}: is no profile of this version; give the folder of a `bench profile`")
    return found


def _is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row can be matched, and its calls have times above 0."""
    raw = row.get("raw")
    keyed = all(isinstance(row.get(name), str | int) for name in KEY)
    return (
        keyed
        and isinstance(raw, list)
        and all(isinstance(call, dict) and _is_time(call.get("ms")) for call in raw)
    )


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < float("inf")


def row_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two rows the same measurement, threads apart."""
    return tuple(row[name] for name in KEY)


def compare_profiles(baseline: Mapping[str, Any], ours: Mapping[str, Any]) -> Comparison:
    """Match rows by network, method, arm and batch. Never judged: other machines, thread counts or hints, rows
    taken under load, noisy, drifting or of too few calls, without passing parity, and another amount of work."""
    before = {row_key(row): row for row in baseline["rows"]}
    after = {row_key(row): row for row in ours["rows"]}
    shared = [key for key in after if key in before]
    other = _other(baseline, ours)
    return Comparison(
        tuple(_change(before[key], after[key], other) for key in shared),
        tuple(_title(row) for key, row in before.items() if key not in after),
        tuple(_title(row) for key, row in after.items() if key not in before),
    )


def _change(before: Mapping[str, Any], after: Mapping[str, Any], other: str) -> RowChange:
    title, old, new = _title(after), _times(before), _times(after)
    if before.get("status") == "ok" and after.get("status") == "failed" and not other:
        return RowChange(title, None, f"failed now: {after.get('reason')}", lost=True)
    if not old or not new:
        return RowChange(title, None, f"not judged: no times {'in the baseline' if not old else 'now'}")
    ratio = ratio_of_medians(new, old)
    unjudged = other or _doubt(before, "the baseline was") or _doubt(after, "it was") or _work(before, after)
    return RowChange(title, ratio, f"not judged: {unjudged}" if unjudged else "")


def _times(row: Mapping[str, Any]) -> list[float]:
    return [float(call["ms"]) for call in row["raw"]]


def _other(baseline: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Why no row of the two can be judged; "" where they can."""
    if baseline.get("machine") != ours.get("machine"):
        return f"another machine ({baseline.get('machine')}, now {ours.get('machine')})"
    if baseline.get("threads") != ours.get("threads"):
        return f"{ours.get('threads')} threads, the baseline had {baseline.get('threads')}"
    if baseline.get("hint") != ours.get("hint"):
        return f"OpenVINO's hint is {ours.get('hint')}, the baseline had {baseline.get('hint')}"
    return ""


def _doubt(row: Mapping[str, Any], who: str) -> str:
    if row.get("under_load"):
        return f"{who} taken under load ({row.get('load_max') or 0:.1f})"
    if row.get("parity") not in ("reference", "pass"):
        return f"{who} without a pass of parity ({row.get('parity')})"
    stability = row.get("stability") or {}
    if stability.get("verdict") != "stable":
        return f"{who} {stability.get('text') or 'not stable'}"
    return ""


def _work(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    for name, what in (("nfe", "network calls"), ("flops", "FLOPs")):
        if before.get(name) != after.get(name):
            return f"another amount of work ({before.get(name)} {what}, now {after.get(name)})"
    return ""


def _title(row: Mapping[str, Any]) -> str:
    return f"{what_was_timed(row)}, {arm_text(row)}, batch {row['batch']}"


def what_was_timed(row: Mapping[str, Any]) -> str:
    """'unet-gaussian', or the method's label with its network."""
    return str(row["network"]) if row["method"] == "-" else f"{row['label']} ({row['network']})"
