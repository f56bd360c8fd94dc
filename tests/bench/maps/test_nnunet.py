"""nnU-Net's summary.json: its keys and its arithmetic."""

from __future__ import annotations

import json
import math

import numpy as np

from uadbench.bench.maps.nnunet import METRICS, compare, summary_bytes

FOUND = np.array([[1, 1, 1, 0, 0, 0]], dtype=bool)
TRUTH = np.array([[1, 1, 0, 1, 0, 0]], dtype=bool)
EMPTY = np.zeros((1, 6), dtype=bool)


def test_counts_and_ratios_are_those_of_the_pixels() -> None:
    metrics = compare(FOUND, TRUTH, "p", "r").metrics
    counts = {"TP": 2, "FP": 1, "FN": 1, "TN": 2, "n_pred": 3, "n_ref": 3}
    assert {key: metrics[key] for key in counts} == counts
    assert (metrics["Dice"], metrics["IoU"]) == (2 / 3, 1 / 2)


def test_nothing_against_nothing_is_nan_and_left_out_of_the_means() -> None:
    cases = [
        compare(FOUND, TRUTH, "a", "b"),
        compare(EMPTY, EMPTY, "c", "d"),
        compare(FOUND, EMPTY, "e", "f"),
    ]
    found = json.loads(summary_bytes(cases))
    assert math.isnan(found["metric_per_case"][1]["metrics"]["1"]["Dice"])
    assert found["metric_per_case"][2]["metrics"]["1"]["Dice"] == 0
    assert found["mean"]["1"]["Dice"] == 1 / 3
    assert found["mean"]["1"]["FP"] == 4 / 3
    assert found["foreground_mean"] == found["mean"]["1"]


def test_the_file_has_the_keys_that_readers_of_nnunets_look_for() -> None:
    found = json.loads(summary_bytes([compare(FOUND, TRUTH, "mask/a.nii.gz", "truths/a.nii.gz")]))
    assert set(found) == {"foreground_mean", "mean", "metric_per_case"}
    (case,) = found["metric_per_case"]
    assert case["prediction_file"] == "mask/a.nii.gz"
    assert case["reference_file"] == "truths/a.nii.gz"
    assert set(found["foreground_mean"]) == set(case["metrics"]["1"]) == set(METRICS)
