"""Each score against scikit-learn, closed forms and brute force."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from support.scored import SIDE, cases, dice, pooled, with_heads

from uadbench.bench.score.scorers import PAPERS_WEIGHTS
from uadbench.bench.score.summary import (
    Scored,
    healthy_threshold,
    image_score,
    summarize,
)

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
    assert weights == pytest.approx(list(PAPERS_WEIGHTS.values()), abs=0.001)


def test_the_average_at_the_papers_weights_does_not_hang_on_the_datas_own_spread() -> None:
    weights = np.array(list(PAPERS_WEIGHTS.values()))
    for pixels in ([10, 100, 400, 700], [10, 20, 60, 100, 700, 900, 1000]):
        result = summarize(cases(pixels), [], seed=0, n_boot=10)
        groups = [result[f"dice_{name}"]["value"] for name in PAPERS_WEIGHTS]
        assert result["dice_average_papers"]["value"] == pytest.approx(groups @ weights / weights.sum())
    as_theirs = cases([10] * 157 + [100] * 127 + [600] * 49)  # 0.471, 0.381 and 0.147 of 0.999
    spread_as_theirs = summarize(as_theirs, [], seed=0, n_boot=1)
    assert spread_as_theirs["dice_average_papers"]["value"] == pytest.approx(
        spread_as_theirs["dice_average"]["value"]
    )


def test_the_average_at_the_papers_weights_needs_every_group_and_ten_subjects_of_each() -> None:
    nothing = {"value": None, "lo": None, "hi": None}
    assert summarize(cases([10] * 12 + [100] * 12), [], seed=0, n_boot=20)["dice_average_papers"] == nothing
    few = summarize(cases([10] * 12 + [100] * 12 + [700] * 9), [], seed=0, n_boot=200)
    assert few["dice_average_papers"]["lo"] is None
    assert few["dice_average"]["lo"] is not None
    enough = summarize(cases([10] * 12 + [100] * 12 + [700] * 10), [], seed=0, n_boot=200)
    assert enough["dice_average_papers"]["lo"] <= enough["dice_average_papers"]["value"]


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


def test_the_heads_threshold_counts_the_heads_pixels_and_no_others() -> None:
    """Maps are 0 outside the head, half of the image: 10 % of it lie above what 5 % of all pixels exceed."""
    test, val = (with_heads(made) for made in (cases([50, 200, 0]), cases([0] * 4, seed=9, first=80)))
    test, val = ([replace(c, anomaly=c.anomaly * c.head) for c in made] for made in (test, val))
    result = summarize(test, val, seed=0, n_boot=20)
    inside = np.concatenate([c.anomaly[c.head] for c in val])
    image, head = (np.float32(result[f"dice_healthy_fpr5{end}"]["threshold"]) for end in ("", "_head"))
    assert (inside > image).mean() == pytest.approx(0.1, abs=0.001)
    assert 0.049 < (inside > head).mean() <= 0.05
    values, truth = pooled(test[:2])
    assert result["dice_healthy_fpr5_head"]["value"] == pytest.approx(dice(values > head, truth))
    healthy = test[2]
    rate = (healthy.anomaly[healthy.head] > head).mean()
    assert result["fpr_healthy_test_head"]["value"] == pytest.approx(rate)


def test_without_heads_only_what_counts_inside_them_is_null() -> None:
    result = summarize(cases([50, 0]), cases([0], first=80), seed=0, n_boot=5)
    for name in ("dice_healthy_fpr5", "fpr_healthy_test"):
        assert result[name]["value"] is not None
        assert result[f"{name}_head"]["value"] is None


def test_image_auroc_is_scikit_learns_with_ties() -> None:
    test = cases([200] * 6 + [0] * 6, signal=0.0, decimals=1)
    test = [replace(c, anomaly=np.round(c.anomaly * (0.7 + 0.1 * (i % 4)), 1)) for i, c in enumerate(test)]
    scores = [image_score(c.anomaly) for c in test]
    assert len(set(scores)) < len(scores)
    result = summarize(test, [], seed=0, n_boot=50)
    assert result["auroc_image"]["value"] == pytest.approx(roc_auc_score([c.lesion for c in test], scores))


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
