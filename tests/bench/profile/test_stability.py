"""A series of times is judged by the stated rule."""

from __future__ import annotations

import numpy as np
import pytest

from uadbench.bench.profile.stability import LEAST, judge_stability, ratio_of_medians


def test_constant_times_are_stable_without_spread_or_drift() -> None:
    found = judge_stability([10.0] * 20)
    assert (found.verdict, found.spread, found.drift) == ("stable", 0.0, 0.0)


def test_times_that_alternate_by_a_third_are_noisy_with_their_quartiles() -> None:
    found = judge_stability([9.0, 12.0] * 10)
    assert found.verdict == "noisy"
    assert found.spread == pytest.approx(3 / 10.5)
    assert found.drift == 0.0
    assert found.text == "noisy, IQR 28.6%"


def test_a_step_of_a_tenth_halfway_is_a_drift_of_a_tenth() -> None:
    found = judge_stability([10.0] * 10 + [11.0] * 10)
    assert found.verdict == "drifting"
    assert found.drift == pytest.approx(1 / 10.5)
    assert found.drift_lo is not None
    assert found.drift_lo > 0


def test_a_machine_that_gets_faster_drifts_too() -> None:
    assert judge_stability(np.linspace(20, 10, 30).tolist()).text.startswith("drifting, -")


def test_one_outlier_among_many_changes_no_verdict() -> None:
    assert judge_stability([10.0] * 15 + [80.0] + [10.0] * 14).verdict == "stable"


@pytest.mark.parametrize("n", [0, 1, LEAST - 1])
def test_few_calls_are_not_judged(n: int) -> None:
    assert judge_stability([10.0] * n).text == "too few"


def test_a_ratio_of_medians_has_an_interval_about_it() -> None:
    rng = np.random.default_rng(0)
    slow, fast = 2 * rng.normal(10, 0.5, 40), rng.normal(10, 0.5, 40)
    found = ratio_of_medians(slow.tolist(), fast.tolist())
    assert found.lo < found.value < found.hi
    assert found.lo > 1.8
    assert found.hi < 2.2


def test_what_disturbs_both_sides_of_a_round_widens_no_paired_interval() -> None:
    common = np.random.default_rng(1).uniform(1, 3, 30)
    paired = ratio_of_medians((2 * common).tolist(), common.tolist(), paired=True)
    assert paired.lo == pytest.approx(2.0)
    assert paired.hi == pytest.approx(2.0)
    alone = ratio_of_medians((2 * common).tolist(), common.tolist())
    assert alone.hi - alone.lo > 0.2


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 times"):
        ratio_of_medians([1.0] * 3, [1.0] * 2, paired=True)
