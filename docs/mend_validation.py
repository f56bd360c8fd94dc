"""Scores of Mend's maps, factor by factor, on validation lesions: ``python docs/mend_validation.py DATA_ROOT``.

Writes docs/results/mend-validation.csv, which Mend's page is held against. Scores are fractions, by the code that
scores runs; no test case is read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import uadbench
from uadbench.bench.score.summary import Scored, summarize
from uadbench.datasets import DATASETS
from uadbench.datasets.case import Dataset
from uadbench.engine.anomaly import gaussian_smooth
from uadbench.engine.networks.checkpoint import load_checkpoint, shipped

__all__ = ["COLUMNS", "DATA", "MAPS", "main", "rows"]

DATA = ("soop-flair", "ixi-stroke")
Floats = NDArray[np.float32]
Maps = Callable[[Floats, int], Floats]
"""Images [N, H, W] in [0, 1] and the data set's lesion_sign -> maps."""


def _mend(power: int = 1, **switches: Any) -> Maps:
    settings = {"mend": switches} if switches else {}
    return lambda x, sign: uadbench.detect(x, "mend", lesion_sign=sign, **settings).anomaly ** power


def _dae(asymmetry: bool) -> Maps:
    """Mend's T, of DAE's change, alone or with Mend's A."""

    def maps(x: Floats, sign: int) -> Floats:
        undone = sign * _smooth(x - uadbench.detect(x, "dae").reconstruction, 1.5)
        differs = sign * _smooth(x - x[..., ::-1], 8.0)
        return np.sqrt(undone.clip(0) * (0.02 + differs.clip(0))) if asymmetry else undone.clip(0)

    return maps


def _smooth(x: Floats, sigma: float) -> Floats:
    return gaussian_smooth(torch.from_numpy(np.ascontiguousarray(x))[:, None], sigma)[:, 0].numpy()


MAPS: Mapping[str, Maps] = {
    "T": _mend(asymmetry=None, placed=False),
    "T A": _mend(placed=False),
    "T P": _mend(asymmetry=None),
    "T P A": _mend(),
    "T P A, no root": _mend(power=3),
    "DAE's T": _dae(asymmetry=False),
    "DAE's T A": _dae(asymmetry=True),
}
COLUMNS = (
    "dice_max", "dice_average", "dice_small", "dice_medium", "dice_large", "auprc", "dice_max_exact",
)  # fmt: skip


def rows(dataset: Dataset) -> list[dict[str, Any]]:
    """A row a map: scores of the data set's validation cases with a lesion of more than 3 px."""
    samples = [dataset.load(case) for case in dataset.split("val") if case.lesion]
    images = np.stack([sample.image for sample in samples])
    found = []
    for name, made in MAPS.items():
        cases = [
            Scored(sample.case.case_id, sample.case.subject, True, anomaly, sample.mask)
            for sample, anomaly in zip(samples, made(images, dataset.lesion_sign), strict=True)
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
