"""Mend with its parts removed, from sweeps of its switches: ``python docs/mend_ablation.py SWEEP...``.

Each SWEEP is the run directory that the command on Mend's page left. Writes docs/results/mend-ablation.csv: scores of
each combination and its paired change from Mend as it is, with 95 % intervals over subjects, not corrected.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from uadbench.reports.runs import load_run

__all__ = ["SCORES", "SWITCHES", "main", "rows"]

SWITCHES = {"mirrored": "on", "placed": "on", "signed": "on", "asymmetry": "0.02"}
"""What is varied -> Mend as it is."""
SCORES = ("dice_max", "dice_average", "auprc")


def rows(run: Path) -> list[dict[str, Any]]:
    """A row a combination of a sweep."""
    frame = pd.read_csv(run / "sweep.csv", dtype={"asymmetry": str}, keep_default_na=False)
    whole = frame[(frame[list(SWITCHES)] == list(SWITCHES.values())).all(axis=1)]
    (mend,) = whole["cell"]
    loaded = load_run(run)
    paired = (loaded.paired or {})["measures"]
    network = loaded.manifest["checkpoints"]["mend-unet"]["sha256"]
    found = []
    for _, row in frame.iterrows():
        scores: dict[str, Any] = {}
        for score in SCORES:
            ends = ("", "_lo", "_hi")
            change = _change(paired[score], mend, row["cell"])
            scores |= {f"{score}{end}": row[f"{score}{end}"] for end in ends}
            scores |= {f"{score}_change{end}": value for end, value in zip(ends, change, strict=True)}
        kept = {name: row[name] for name in (*SWITCHES, "nfe", "n_lesion")}
        data = row["dataset"].removesuffix(":val")
        found.append({"dataset": data, **kept, **scores, "run": row["run"], "network": network})
    return found


def _change(pairs: list[dict[str, Any]], before: str, after: str) -> tuple[Any, Any, Any]:
    """Difference and interval of after less before; Nones where they are the same."""
    for pair in pairs:
        if (pair["a"], pair["b"]) == (before, after):
            return pair["difference"], pair["lo"], pair["hi"]
        if (pair["a"], pair["b"]) == (after, before):
            return -pair["difference"], -pair["hi"], -pair["lo"]
    return None, None, None


def main(arguments: list[str]) -> int:
    """Write the table from the given sweeps; returns the exit code."""
    if not arguments:
        print("usage: python docs/mend_ablation.py SWEEP...", file=sys.stderr)
        return 2
    table = [row for run in arguments for row in rows(Path(run))]
    path = Path(__file__).parent / "results" / "mend-ablation.csv"
    pd.DataFrame(table).to_csv(path, index=False, float_format="%.6f", lineterminator="\n")
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
