"""nnU-Net's ``summary.json``, the file its evaluation writes, so that what reads it reads ours.

One entry a case with counts of pixels and the ratios Dice and IoU, their means by label, and the means over labels
other than background. There is one label, 1, anomalous. A ratio of nothing to nothing, of a case without truth and
without a finding, is NaN, as there, and left out of the means.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "Compared", "compare", "summary_bytes"]

LABEL = "1"
METRICS = ("Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref")


@dataclass(frozen=True)
class Compared:
    """One case: its two files, and the value of each of ``METRICS``."""

    prediction_file: str
    reference_file: str
    metrics: dict[str, float]


def compare(
    found: NDArray[np.bool_], truth: NDArray[np.bool_], prediction_file: str, reference_file: str
) -> Compared:
    """Count the pixels of two masks of one shape."""
    tp, fp = int(np.count_nonzero(found & truth)), int(np.count_nonzero(found & ~truth))
    fn, tn = int(np.count_nonzero(~found & truth)), int(np.count_nonzero(~found & ~truth))
    either = tp + fp + fn
    metrics = {
        "Dice": 2 * tp / (2 * tp + fp + fn) if either else float("nan"),
        "IoU": tp / either if either else float("nan"),
        **{"FN": fn, "FP": fp, "TN": tn, "TP": tp, "n_pred": fp + tp, "n_ref": fn + tp},
    }
    return Compared(prediction_file, reference_file, metrics)


def summary_bytes(cases: Sequence[Compared]) -> bytes:
    """The file's content for at least one case."""
    mean = {name: _mean([case.metrics[name] for case in cases]) for name in METRICS}
    content: dict[str, Any] = {
        "foreground_mean": mean,
        "mean": {LABEL: mean},
        "metric_per_case": [
            {
                "metrics": {LABEL: case.metrics},
                "prediction_file": case.prediction_file,
                "reference_file": case.reference_file,
            }
            for case in cases
        ],
    }
    return (json.dumps(content, indent=4, sort_keys=True) + "\n").encode()


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if value == value]
    return float(np.mean(defined)) if defined else float("nan")
