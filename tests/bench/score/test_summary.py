"""Scores against scikit-learn, scikit-image and brute force."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from uadbench.bench.score.pooled import THRESHOLDS
from uadbench.bench.score.scorers import SCORERS
from uadbench.bench.score.statistics import case_weights, percentile_interval
from uadbench.bench.score.summary import (
    Scored,
    healthy_threshold,
    image_score,
    score_differences,
    summarize,
)
from uadbench.reports.vocabulary import SCORES

SIDE = 32


def disc(pixels: int, side: int = SIDE) -> np.ndarray:
    """A mask of exactly so many pixels."""
    mask = np.zeros((side, side), dtype=bool)
    mask.flat[:pixels] = True
    return mask


def make(
    i: int,
    pixels: int,
    rng: np.random.Generator,
    signal: float = 0.2,
    decimals: int | None = None,
    side: int = SIDE,
) -> Scored:
    mask = disc(pixels, side)
    anomaly = np.clip(rng.random((side, side)) * 0.8 + signal * mask, 0, 1)
    if decimals is not None:
        anomaly = anomaly.round(decimals)
    return Scored(f"c{i}", f"s{i}", pixels > 0, anomaly.astype(np.float32), mask)


def cases(pixels: list[int], seed: int = 0, first: int = 0, **options) -> list[Scored]:
    rng = np.random.default_rng(seed)
    return [make(first + i, n, rng, **options) for i, n in enumerate(pixels)]


def pooled(test: list[Scored]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([c.anomaly.ravel() for c in test]), np.concatenate([c.mask.ravel() for c in test])


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


data = st.builds(
    lambda pixels, seed, decimals: cases(pixels, seed, decimals=decimals),
    st.lists(st.integers(4, 1000), min_size=1, max_size=5),
    st.integers(0, 2**32),
    st.sampled_from([None, 0, 1, 2]),
)


@settings(max_examples=25, deadline=None)
@given(data)
def test_max_dice_is_the_best_of_101_pooled_dices(test: list[Scored]) -> None:
    result = summarize(test, [], seed=0, n_boot=2)
    values, truth = pooled(test)
    by_hand = [dice(values > np.float32(k / 100), truth) for k in range(101)]
    assert result["dice_max"]["value"] == pytest.approx(max(by_hand))
    assert result["dice_max"]["threshold"] == int(np.argmax(by_hand)) / 100


@settings(max_examples=25, deadline=None)
@given(data)
def test_exact_max_dice_is_the_best_over_all_distinct_values(test: list[Scored]) -> None:
    result = summarize(test, [], seed=0, n_boot=2)
    values, truth = pooled(test)
    by_hand = max(dice(values >= v, truth) for v in np.unique(values[truth]))
    exact = result["dice_max_exact"]
    assert exact["value"] == pytest.approx(by_hand)
    assert dice(values > np.float32(exact["threshold"]), truth) == pytest.approx(by_hand)
    assert exact["value"] >= result["dice_max"]["value"] - 1e-12


@settings(max_examples=25, deadline=None)
@given(data)
def test_auprc_is_scikit_learns_average_precision(test: list[Scored]) -> None:
    values, truth = pooled(test)
    result = summarize(test, [], seed=0, n_boot=2)
    assert result["auprc"]["value"] == pytest.approx(average_precision_score(truth, values))


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


def test_each_group_is_scored_on_its_own_cases_at_its_own_threshold() -> None:
    test = cases([10, 60, 100, 400, 700])
    result = summarize(test, [], seed=0, n_boot=10)
    for name, members in (("small", test[:2]), ("medium", test[2:4]), ("large", test[4:])):
        own = summarize(members, [], seed=0, n_boot=10)["dice_max"]
        entry = result[f"dice_{name}"]
        assert (entry["value"], entry["threshold"], entry["n"]) == (
            own["value"],
            own["threshold"],
            len(members),
        )
    groups = [result[f"dice_{name}"] for name in ("small", "medium", "large")]
    assert result["dice_average"]["value"] == pytest.approx(sum(g["value"] * g["n"] for g in groups) / 5)
    assert result["dice_large"]["lo"] is None  # one subject


def test_the_papers_average_is_the_mean_of_groups_weighted_by_cases() -> None:
    """THOR's Table 1: one set of weights, those of the size groups, gives every row's "Average"."""
    groups = np.array(
        [
            [9.14, 26.34, 41.26],
            [1.37, 9.53, 25.65],
            [4.55, 22.07, 43.47],
            [11.54, 39.20, 63.64],
            [4.82, 23.45, 46.65],
            [8.02, 30.16, 47.66],
        ]
    )
    average = np.array([20.41, 8.05, 16.95, 29.74, 18.07, 22.28])
    weights = np.linalg.lstsq(groups, average, rcond=None)[0]
    assert np.abs(groups @ weights - average).max() < 0.005
    assert weights.sum() == pytest.approx(1, abs=0.002)


def test_dice_at_the_healthy_threshold_is_pooled_and_by_case() -> None:
    test, val = cases([50, 200, 0]), cases([0, 0], seed=9, first=80)
    result = summarize(test, val, seed=0, n_boot=50)
    threshold = np.float32(result["dice_healthy_fpr5"]["threshold"])
    assert threshold == np.float32(healthy_threshold(val))
    values, truth = pooled(test[:2])
    assert result["dice_healthy_fpr5"]["value"] == pytest.approx(dice(values > threshold, truth))
    each = [dice(c.anomaly > threshold, c.mask) for c in test[:2]]
    assert [result["per_case"][c.case_id]["dice"] for c in test] == [*map(pytest.approx, each), None]
    assert result["dice_case"]["value"] == pytest.approx(np.mean(each))
    assert result["fpr_healthy_test"]["value"] == pytest.approx((test[2].anomaly > threshold).mean())


def test_image_auroc_is_scikit_learns_with_ties() -> None:
    test = cases([200] * 6 + [0] * 6, signal=0.0, decimals=1)
    test = [replace(c, anomaly=np.round(c.anomaly * (0.7 + 0.1 * (i % 4)), 1)) for i, c in enumerate(test)]
    scores = [image_score(c.anomaly) for c in test]
    assert len(set(scores)) < len(scores)
    result = summarize(test, [], seed=0, n_boot=50)
    assert result["auroc_image"]["value"] == pytest.approx(roc_auc_score([c.lesion for c in test], scores))


def test_every_interval_holds_its_value_and_a_seed_gives_the_same_file() -> None:
    metrics = {"ssim": 0.9, "psnr": 25.0, "lpips": 0.1}
    test = [replace(c, metrics=metrics) for c in cases([40, 300, 700] * 10 + [0] * 10)]
    val = cases([0] * 3, first=80)
    result = summarize(test, val, seed=7, n_boot=300)
    entries = {k: v for k, v in result.items() if isinstance(v, dict) and "lo" in v}
    assert len(entries) == 14
    for key, entry in entries.items():
        assert entry["lo"] - 1e-9 <= entry["value"] <= entry["hi"] + 1e-9, key
    assert json.dumps(result) == json.dumps(summarize(test, val, seed=7, n_boot=300))
    assert json.dumps(result) != json.dumps(summarize(test, val, seed=8, n_boot=300))


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


def test_the_auroc_has_no_interval_where_either_kind_has_fewer_than_ten_subjects() -> None:
    for pixels in ([200] * 30 + [0] * 9, [200] * 9 + [0] * 30):
        entry = summarize(cases(pixels), [], seed=0, n_boot=20)["auroc_image"]
        assert entry["value"] is not None
        assert (entry["lo"], entry["hi"]) == (None, None)
    assert summarize(cases([200] * 10 + [0] * 10), [], seed=0, n_boot=20)["auroc_image"]["lo"] is not None


def test_the_precision_recall_curve_holds_points_of_the_exact_curve() -> None:
    test = cases([300, 500])
    curve = summarize(test, [], seed=0, n_boot=2)["pr_curve"]
    assert len(curve["recall"]) == len(curve["precision"]) == 100
    assert curve["recall"] == sorted(curve["recall"])
    assert curve["recall"][-1] == 1.0
    values, truth = pooled(test)
    for recall, precision in list(zip(curve["recall"], curve["precision"], strict=True))[::17]:
        at = np.sort(values[truth])[::-1][round(recall * truth.sum()) - 1]
        assert precision == pytest.approx(truth[values >= at].mean())


def test_reconstruction_scores_average_over_healthy_cases_only() -> None:
    lesion, *healthy = cases([100, 0, 0])
    healthy = [
        replace(c, metrics={"ssim": s, "psnr": p})
        for c, s, p in zip(healthy, (0.8, 0.9), (20.0, None), strict=True)
    ]
    result = summarize([replace(lesion, metrics={"ssim": 0.1}), *healthy], [], seed=0, n_boot=50)
    assert result["ssim_healthy"]["value"] == pytest.approx(0.85)
    assert result["psnr_healthy"]["value"] is None  # infinite for one case
    assert result["lpips_healthy"]["value"] is None  # not measured


NOTHING = {"value": None, "lo": None, "hi": None}


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


def test_an_all_zero_map_finds_nothing_and_scores_zero() -> None:
    test = [replace(c, anomaly=np.zeros_like(c.anomaly)) for c in cases([50, 200, 0, 0])]
    val = [replace(c, anomaly=np.zeros_like(c.anomaly)) for c in cases([0], first=80)]
    result = summarize(test, val, seed=0, n_boot=10)
    prevalence = 250 / (2 * SIDE**2)
    assert result["dice_max"]["value"] == 0.0
    assert result["dice_healthy_fpr5"]["value"] == 0.0
    assert result["auprc"]["value"] == pytest.approx(prevalence)
    assert result["dice_max_exact"]["value"] == pytest.approx(2 * prevalence / (1 + prevalence))
    assert result["auroc_image"]["value"] == 0.5
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_constant_map_scores_as_if_every_pixel_were_found() -> None:
    test = [replace(c, anomaly=np.full_like(c.anomaly, 0.5)) for c in cases([50, 200])]
    result = summarize(test, [], seed=0, n_boot=10)
    prevalence = 250 / (2 * SIDE**2)
    assert result["dice_max"]["value"] == pytest.approx(2 * prevalence / (1 + prevalence))
    assert result["dice_max"]["threshold"] == 0.0
    assert result["auprc"]["value"] == pytest.approx(prevalence)


def test_a_perfect_map_scores_one_everywhere() -> None:
    test = [replace(c, anomaly=c.mask * np.float32(0.8)) for c in cases([50, 200, 600] * 4 + [0] * 10)]
    val = [replace(c, anomaly=np.zeros_like(c.anomaly)) for c in cases([0], first=80)]
    result = summarize(test, val, seed=0, n_boot=50)
    for key in ("dice_max", "dice_max_exact", "auprc", "dice_healthy_fpr5", "dice_case", "auroc_image"):
        assert (result[key]["value"], result[key]["lo"], result[key]["hi"]) == (1.0, 1.0, 1.0), key


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
    test = [replace(c, metrics={"ssim": 0.9, "psnr": 27.0, "lpips": 0.1}) for c in test]
    for difference in score_differences(SCORERS, test, test, 0, 20, thresholds=(0.5, 0.5)).values():
        assert (difference.value, difference.p) == (0.0, 1.0)


def test_a_score_without_a_value_on_one_side_has_no_difference() -> None:
    assert score_differences(["auroc_image"], cases([50, 90]), cases([50, 90]), 0, 5) == {"auroc_image": None}


def test_there_is_one_scorer_for_each_measure_of_the_vocabulary_in_its_order() -> None:
    assert tuple(SCORERS) == SCORES


@pytest.mark.benchmark
def test_a_cell_of_150_lesion_cases_is_scored_in_seconds() -> None:
    test = cases([40, 300, 900] * 50 + [0] * 50, side=128)
    val = cases([0] * 30, first=1000, side=128)
    start = time.process_time()
    summarize(test, val, seed=0, n_boot=1000)
    assert time.process_time() - start < 5
