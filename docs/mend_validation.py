"""Scores of Mend's maps, factor by factor, on validation lesions: ``python docs/mend_validation.py DATA_ROOT``.

Writes docs/results/mend-validation.csv, which Mend's page is held against. Scores are fractions, by the code that
scores runs; no test case is read.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import uadbench
from uadbench.bench.score.summary import Scored, summarize
from uadbench.datasets import DATASETS
from uadbench.datasets.case import Dataset
from uadbench.engine.networks.checkpoint import load_checkpoint, shipped

__all__ = ["COLUMNS", "DATA", "MAPS", "main", "rows"]

DATA = ("soop-flair", "ixi-stroke")
NO_A, NO_P = {"asymmetry": None}, {"placed": False}
MAPS: Mapping[str, tuple[str, dict[str, Any], int]] = {
    "T": ("mend", NO_A | NO_P, 1),
    "T A": ("mend", NO_P, 1),
    "T P": ("mend", NO_A, 1),
    "T P A": ("mend", {}, 1),
    "T P A, no root": ("mend", {}, 3),
    "intensity": ("intensity", {}, 1),
    "asymmetry": ("asymmetry", {}, 1),
}
"""Map -> the method that makes it, its switches, and the power that it is taken to."""
COLUMNS = (
    "dice_max", "dice_average", "dice_small", "dice_medium", "dice_large", "auprc", "dice_max_exact",
)  # fmt: skip


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    """A row a map: scores of the data set's validation cases with a lesion of more than 3 px."""
    samples = [dataset.load(case) for case in dataset.split("val") if case.lesion]
    images = np.stack([sample.image for sample in samples])
    found = []
    for name, (method, switches, power) in MAPS.items():
        settings = {method: switches} if switches else {}
        maps = uadbench.detect(images, method, lesion_sign=dataset.lesion_sign, **settings).anomaly
        cases = [
            Scored(sample.case.case_id, sample.case.subject, True, anomaly**power, sample.mask)
            for sample, anomaly in zip(samples, maps, strict=True)
        ]
        scores = summarize(cases, [], seed=0)
        ends = {f"dice_max_{end}": scores["dice_max"][end] for end in ("lo", "hi")}
        values = {column: scores[column]["value"] for column in COLUMNS}
        found.append({"map": name, "n_lesion": scores["n_lesion"], **values, **ends})
    return found


def main(arguments: list[str]) -> int:
    """Write the table from the data below the given folder; returns the exit code."""
    if len(arguments) != 1:
        print("usage: python docs/mend_validation.py DATA_ROOT", file=sys.stderr)
        return 2
    network = load_checkpoint(shipped("mend-unet"))[1]["sha256"]
    table = [
        {"dataset": name, **row, "network": network}
        for name in DATA
        for row in rows(DATASETS[name](Path(arguments[0]), 0, None))
    ]
    path = Path(__file__).parent / "results" / "mend-validation.csv"
    pd.DataFrame(table).to_csv(path, index=False, float_format="%.6f")
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
