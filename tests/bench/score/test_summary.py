"""Which cases enter what, intervals over subjects, nulls where nothing can be computed, and paired differences."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from support.scored import cases, dice, make, pooled, with_heads

from uadbench.bench.score.cases import Thresholds
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.pooled import THRESHOLDS
from uadbench.bench.score.scorers import SCORERS
from uadbench.bench.score.statistics import case_weights, percentile_interval
from uadbench.bench.score.summary import (
    image_score,
    score_differences,
    summarize,
)
from uadbench.reports.vocabulary import MEASURES, SCORES

OF_MASKS = [name for name, m in MEASURES.items() if m.applies_to("mask") and not m.volumes]
NOTHING = {"value": None, "lo": None, "hi": None}


def test_lesions_of_three_pixels_or_fewer_are_excluded_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    tiny = [make(i, 3, rng) for i in (10, 11)]
    empty = replace(make(12, 0, rng), lesion=True)
    full = summarize([*cases([4, 100, 0]), *tiny, empty], cases([0], first=90), seed=0, n_boot=20)
    assert full["n_excluded"] == 3
    assert full["excluded"] == {"lesion of 3 px or fewer": 3}
    assert (full["n_cases"], full["n_lesion"], full["n_healthy"]) == (3, 2, 1)
    alone = summarize(cases([4, 100, 0]), cases([0], first=90), seed=0, n_boot=20)
    assert {k: v for k, v in full.items() if "exclu" not in k} == {
        k: v for k, v in alone.items() if "exclu" not in k
    }


def test_healthy_cases_do_not_enter_pixel_scores() -> None:
    lesions = cases([50, 200, 700])
    noisy = [replace(c, anomaly=np.ones_like(c.anomaly)) for c in cases([0, 0], first=50)]
    alone, together = (summarize(test, [], seed=0, n_boot=5) for test in (lesions, [*lesions, *noisy]))
    for key in ("dice_max", "dice_max_exact", "auprc", "dice_small", "dice_average"):
        assert together[key]["value"] == alone[key]["value"]


def test_every_interval_holds_its_value_and_a_seed_gives_the_same_file() -> None:
    metrics = {"ssim": 0.9, "psnr": 25.0, "lpips": 0.1}
    test = [replace(c, metrics=metrics) for c in with_heads(cases([40, 300, 700] * 10 + [0] * 10))]
    val, point = with_heads(cases([0] * 3, first=80)), OperatingPoint(0.5, 7)
    result = summarize(test, val, seed=7, n_boot=300, operating=point)
    entries = {k: v for k, v in result.items() if isinstance(v, dict) and "lo" in v}
    assert list(entries) == OF_MASKS
    for key, entry in entries.items():
        assert entry["lo"] - 1e-9 <= entry["value"] <= entry["hi"] + 1e-9, key
    assert json.dumps(result) == json.dumps(summarize(test, val, seed=7, n_boot=300, operating=point))
    assert json.dumps(result) != json.dumps(summarize(test, val, seed=8, n_boot=300, operating=point))


def test_intervals_are_those_of_whole_subjects_drawn_again() -> None:
    """By brute force: every resample's cases are written out and scored by scikit-learn."""
    test = cases([30, 60, 90, 120, 200, 700] * 3 + [20, 90] + [0] * 20, signal=0.05)
    test = [replace(c, subject=f"s{i // 2}") for i, c in enumerate(test)]
    result = summarize(test, [], seed=4, n_boot=40)
    drawn = case_weights([c.subject for c in test], seed=4, n_boot=40).astype(int)
    scores: dict[str, list[float]] = {"dice_max": [], "auprc": [], "auroc_image": []}
    for row in drawn:
        again = [c for c, n in zip(test, row, strict=True) for _ in range(n)]
        values, truth = pooled([c for c in again if c.lesion])
        scores["dice_max"].append(max(dice(values > t, truth) for t in THRESHOLDS))
        scores["auprc"].append(average_precision_score(truth, values))
        both = len({c.lesion for c in again}) == 2
        images = [image_score(c.anomaly) for c in again]
        scores["auroc_image"].append(roc_auc_score([c.lesion for c in again], images) if both else math.nan)
    for key, samples in scores.items():
        assert (result[key]["lo"], result[key]["hi"]) == pytest.approx(percentile_interval(samples)), key


def test_without_lesions_pixel_scores_are_null() -> None:
    result = summarize(cases([0, 0]), cases([0], first=80), seed=0, n_boot=10)
    assert (result["n_lesion"], result["n_healthy"]) == (0, 2)
    for key in ("auprc", "dice_case", "auroc_image", "dice_average"):
        assert result[key] == NOTHING
    assert result["dice_max"] == {**NOTHING, "threshold": None}
    assert result["dice_small"] == {**NOTHING, "threshold": None, "n": 0}
    assert result["dice_healthy_fpr5"]["value"] is None
    assert result["pr_curve"] == {"recall": [], "precision": []}
    assert result["fpr_healthy_test"]["value"] is not None


def test_without_healthy_cases_only_what_needs_them_is_null() -> None:
    result = summarize(cases([30, 90, 600]), [], seed=0, n_boot=10)
    for key in ("dice_case", "auroc_image", "fpr_healthy_test", "ssim_healthy"):
        assert result[key] == NOTHING
    assert result["dice_healthy_fpr5"] == {**NOTHING, "threshold": None}
    assert result["dice_max"]["value"] > 0
    assert all(case["dice"] is None for case in result["per_case"].values())


def test_no_case_at_all_gives_a_whole_file_of_nulls() -> None:
    result = summarize([], [], seed=0, failed=[{"case_id": "c1", "reason": "unreadable"}])
    assert result["n_failed"] == 1
    assert result["failed"] == [{"case_id": "c1", "reason": "unreadable"}]
    assert all(v["value"] is None for v in result.values() if isinstance(v, dict) and "value" in v)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_lesion_among_the_validation_cases_is_refused() -> None:
    with pytest.raises(ValueError, match="case c0: has a lesion"):
        summarize([], cases([50]), seed=0)


def test_differences_of_pooled_scores_are_paired_by_case() -> None:
    test = cases([100, 300, 700, 60, 200, 500, 90, 800] * 3, signal=0.3)
    better = [replace(c, anomaly=np.clip(c.anomaly + 0.03 * c.mask, 0, 1)) for c in test]
    names = ("dice_max", "dice_average", "auprc")
    first, second = (summarize(side, [], seed=0, n_boot=200) for side in (test, better))
    differences = score_differences(names, test, better[::-1], seed=0, n_boot=200)
    for name, difference in differences.items():
        assert first[name]["hi"] > second[name]["lo"]  # the two intervals overlap
        assert difference.value == pytest.approx(second[name]["value"] - first[name]["value"])
        assert difference.significant
        assert difference.p == pytest.approx(2 / 201)
        assert (difference.n_cases, difference.n_subjects) == (24, 24)
    with pytest.raises(ValueError, match="same lesion and healthy cases"):
        score_differences(names, test, better[1:], seed=0)


def test_a_method_against_itself_differs_by_nothing_in_any_score() -> None:
    test = cases([60, 300, 700] * 10 + [0] * 10)
    test = [replace(c, metrics={"ssim": 0.9, "psnr": 27.0, "lpips": 0.1}) for c in with_heads(test)]
    both, points = (Thresholds(0.5, 0.6),) * 2, (OperatingPoint(0.5, 7),) * 2
    for difference in score_differences(OF_MASKS, test, test, 0, 20, both, points).values():
        assert difference is not None
        assert (difference.value, difference.p) == (0.0, 1.0)


def test_a_score_without_a_value_on_one_side_has_no_difference() -> None:
    assert score_differences(["auroc_image"], cases([50, 90]), cases([50, 90]), 0, 5) == {"auroc_image": None}


def test_there_is_one_scorer_for_each_measure_of_the_vocabulary_in_its_order() -> None:
    assert tuple(SCORERS) == tuple(SCORES)


@pytest.mark.benchmark
def test_a_cell_of_150_lesion_cases_is_scored_in_seconds() -> None:
    test = cases([40, 300, 900] * 50 + [0] * 50, side=128)
    val = cases([0] * 30, first=1000, side=128)
    start = time.process_time()
    summarize(test, val, seed=0, n_boot=1000)
    assert time.process_time() - start < 5
