"""Bootstrap and paired tests against closed forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, wilcoxon

from uadbench.bench.score.statistics import (
    EXACT_UP_TO,
    MIN_SUBJECTS,
    bootstrap_p,
    case_weights,
    holm,
    paired_difference,
    percentile_interval,
    resampled_difference,
    wilcoxon_p,
)


def names(n: int) -> list[str]:
    return [f"s{i}" for i in range(n)]


def test_every_resample_draws_as_many_subjects_as_there_are() -> None:
    weights = case_weights(names(7), seed=0, n_boot=50)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert (weights == np.rint(weights)).all()


def test_cases_of_one_subject_are_drawn_together() -> None:
    weights = case_weights(["a", "b", "a", "c", "b"], seed=1, n_boot=200)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, 0].var() > 0


def test_resamples_depend_on_the_seed_and_not_on_the_order_of_cases() -> None:
    subjects = names(9)
    order = np.random.default_rng(0).permutation(9)
    shuffled = case_weights([subjects[i] for i in order], seed=3, n_boot=20)
    assert (case_weights(subjects, seed=3, n_boot=20)[:, order] == shuffled).all()
    assert (case_weights(subjects, seed=4, n_boot=20) != case_weights(subjects, seed=3, n_boot=20)).any()


def test_the_interval_of_a_share_follows_normal_theory() -> None:
    n, p = 200, 0.3
    values = np.zeros(n)
    values[: int(n * p)] = 1
    weights = case_weights(names(n), seed=0, n_boot=5000)
    lo, hi = percentile_interval(weights @ values / n)
    half = 1.959964 * np.sqrt(p * (1 - p) / n)
    assert lo == pytest.approx(p - half, abs=0.006)
    assert hi == pytest.approx(p + half, abs=0.006)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for repetition in range(600):
        sample = rng.normal(0.0, 1.0, size=50)
        lo, hi = percentile_interval(case_weights(names(50), seed=repetition, n_boot=300) @ sample / 50)
        assert lo is not None
        assert hi is not None
        covered += lo <= 0 <= hi
    # the percentile bootstrap at n = 50 covers about 94 %; four standard errors of 600 repetitions are 3.9 %
    assert 0.90 < covered / 600 < 0.98


def test_an_interval_is_refused_when_the_statistic_is_mostly_undefined() -> None:
    samples = np.linspace(0, 1, 100)
    few = samples.copy()
    few[:5] = np.nan
    many = samples.copy()
    many[:20] = np.nan
    assert percentile_interval(few) == pytest.approx(tuple(np.quantile(samples[5:], [0.025, 0.975])))
    assert percentile_interval(many) == (None, None)
    assert percentile_interval(np.full(4, np.nan)) == (None, None)


def test_repeating_each_case_inside_its_subject_does_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 30))
    once = paired_difference(a, b, names(30), seed=0)
    often = paired_difference(np.repeat(a, 5), np.repeat(b, 5), np.repeat(names(30), 5).tolist(), seed=0)
    assert (often.lo, often.hi) == pytest.approx((once.lo, once.hi))
    assert often.p == pytest.approx(once.p)
    assert (often.n_cases, often.n_subjects) == (150, 30)


def test_a_constant_change_has_an_interval_of_no_width_and_the_exact_p() -> None:
    a = np.arange(12.0)
    result = paired_difference(a, a + 0.5, names(12), seed=0)
    assert (result.value, result.lo, result.hi) == pytest.approx((0.5, 0.5, 0.5))
    assert result.p == pytest.approx(2 / 2**12)
    assert result.significant
    assert paired_difference(a, a + 0.5, names(12), seed=0).significant


def test_pairing_sees_a_change_that_overlapping_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 10, size=60)
    b = a + 0.5 + rng.normal(0, 0.1, size=60)
    weights = case_weights(names(60), seed=0)
    (_, top_of_a), (bottom_of_b, _) = (percentile_interval(weights @ values / 60) for values in (a, b))
    assert top_of_a is not None
    assert bottom_of_b is not None
    assert top_of_a > bottom_of_b
    assert paired_difference(a, b, names(60), seed=0).significant


def test_equal_values_are_tied_with_p_one() -> None:
    a = np.tile([0.2, 0.4, 0.1], 4)
    result = paired_difference(a, a, names(12), seed=0)
    assert (result.value, result.lo, result.hi, result.p) == (0.0, 0.0, 0.0, 1.0)
    assert not paired_difference(a, a, names(12), seed=0).significant


@pytest.mark.parametrize("n", [1, 9])
def test_fewer_than_ten_subjects_give_a_difference_but_neither_interval_nor_p(n: int) -> None:
    a = np.arange(2.0 * n)
    result = paired_difference(a, a + 1.5, 2 * names(n), seed=0)
    assert (result.value, result.lo, result.hi, result.p) == (1.5, None, None, None)
    assert not paired_difference(a, a + 1.5, 2 * names(n), seed=0).significant
    pooled = resampled_difference((0.2, 0.5), (np.zeros(100), np.ones(100)), 2 * n, n)
    assert (pooled.value, pooled.lo, pooled.hi, pooled.p) == (pytest.approx(0.3), None, None, None)


def test_ten_subjects_are_enough_for_an_interval() -> None:
    assert MIN_SUBJECTS == 10
    assert paired_difference(np.zeros(10), np.ones(10), names(10), seed=0).significant
    assert resampled_difference((0.0, 1.0), (np.zeros(100), np.ones(100)), 10, 10).significant


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(np.ones(999), 2 / 1000, id="all above"),
        pytest.param(-np.ones(999), 2 / 1000, id="all below"),
        pytest.param(np.zeros(999), 1.0, id="no change at all"),
        pytest.param(np.r_[np.ones(989), -np.ones(10)], 2 * 11 / 1000, id="ten beyond 0"),
        pytest.param(np.r_[np.ones(989), np.zeros(10)], 2 * 11 / 1000, id="0 counts on both sides"),
        pytest.param(np.r_[np.ones(99), np.full(5, np.nan)], 2 / 100, id="undefined left out"),
    ],
)
def test_the_bootstrap_p_is_twice_the_share_beyond_0_and_never_0(samples, expected: float) -> None:
    assert bootstrap_p(samples) == pytest.approx(expected)


def test_the_bootstrap_p_of_a_mean_follows_normal_theory() -> None:
    change = np.random.default_rng(0).normal(0.2, 1, size=100)
    samples = case_weights(names(100), seed=0, n_boot=20000) @ change / 100
    z = change.mean() / (change.std() / 10)
    assert bootstrap_p(samples) == pytest.approx(2 * norm.sf(abs(z)), rel=0.15)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=9, unique=True), st.randoms(use_true_random=False))
def test_the_signed_rank_p_is_that_of_all_sign_flips(sizes: list[int], random) -> None:
    values = np.array([size * random.choice([-1, 1]) for size in sizes], dtype=float)
    ranks = np.argsort(np.argsort(np.abs(values))) + 1
    observed = abs((ranks * np.sign(values)).sum())
    flips = np.array([abs(np.dot(ranks, signs)) for signs in product([-1, 1], repeat=len(values))])
    assert wilcoxon_p(values) == pytest.approx((flips >= observed).mean())


@pytest.mark.parametrize("n", [1, 2, 12, 40])
def test_the_signed_rank_p_is_scipys_exact_one_without_ties(n: int) -> None:
    values = np.random.default_rng(n).normal(0.2, 1, size=n)
    assert wilcoxon_p(values) == pytest.approx(wilcoxon(values, method="exact").pvalue)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9).filter(any))
def test_ties_and_zeros_keep_the_signed_rank_p_exact(sizes: list[int]) -> None:
    values = np.array(sizes, dtype=float)
    ranks = rankdata(np.abs(values)) * (values != 0)
    observed = abs((ranks * np.sign(values)).sum())
    flips = np.array([abs(np.dot(ranks, signs)) for signs in product([-1, 1], repeat=len(values))])
    assert wilcoxon_p(values) == pytest.approx((flips >= observed - 1e-9).mean())


def test_the_exact_test_passes_over_into_the_normal_approximation() -> None:
    change = np.random.default_rng(1).normal(0.15, 1, size=EXACT_UP_TO).round(1)
    approximate = wilcoxon(change, zero_method="pratt", method="asymptotic").pvalue
    assert wilcoxon_p(change) == pytest.approx(approximate, rel=0.02)
    more = np.append(change, 0.1)
    assert wilcoxon_p(more) == wilcoxon(more, zero_method="pratt", method="asymptotic").pvalue


def test_unchanged_cases_take_a_rank_but_no_sign() -> None:
    assert wilcoxon_p([3.0, 0.0, 1.0, 2.0, 0.0, 5.0, 4.0]) == pytest.approx(2 / 2**5)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        pytest.param([0.01, 0.04, 0.03], [0.03, 0.06, 0.06], id="step-down, kept monotone"),
        pytest.param([0.5, 0.9], [1.0, 1.0], id="capped at 1"),
        pytest.param([0.01, None, 0.02], [0.02, None, 0.02], id="no test, no correction for it"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_holm_corrects_step_down(p: list[float | None], expected: list[float | None]) -> None:
    assert holm(p) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("a", "b", "subjects", "message"),
    [
        pytest.param([1.0], [1.0, 2.0], ["s"], "one length", id="lengths"),
        pytest.param([], [], [], "no case", id="empty"),
        pytest.param([np.nan, 1.0], [1.0, 1.0], ["s", "t"], "NaN", id="nan"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(a, b, subjects, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        paired_difference(a, b, subjects, seed=0)


def test_no_resample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="n_boot is 0"):
        case_weights(["a"], seed=0, n_boot=0)
