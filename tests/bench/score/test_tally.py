"""Scores of many cases, taken from sums by subject and from bins, are those of few cases, taken exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.scored import cases, with_heads

from uadbench.bench.score import statistics
from uadbench.bench.score.cases import Scored, Thresholds
from uadbench.bench.score.measured import Cases
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.statistics import case_weights
from uadbench.bench.score.summary import differences, fix_thresholds, summarize
from uadbench.bench.score.tally import EDGE_CASES, tally
from uadbench.reports.vocabulary import MEASURES

BINNED = ("auprc", "dice_max_exact")
OF_MASKS = [name for name, m in MEASURES.items() if m.applies_to("mask") and not m.volumes]
OTHERS = [name for name in OF_MASKS if name not in BINNED]
POINT = OperatingPoint(0.6, 3)


def slices(seed: int, signal: float = 0.2) -> list[Scored]:
    """60 slices of 11 subjects: healthy ones and lesions of each size, some too small, with reconstruction scores."""
    pixels = [(0, 60, 300, 700, 2, 90)[k % 6] for k in range(60)]
    rng = np.random.default_rng(seed)
    made = with_heads(cases(pixels, seed, signal=signal))
    scores = [{} if case.lesion else {"ssim": rng.random(), "psnr": 30 * rng.random()} for case in made]
    return [replace(c, subject=f"s{k % 11}", metrics=scores[k]) for k, c in enumerate(made)]


def alike(entry: dict[str, Any], **tolerances: float) -> dict[str, Any]:
    """The same numbers, nearly; None only where it is None."""
    return {
        key: None if value is None else pytest.approx(value, **tolerances) for key, value in entry.items()
    }


def counted_reads(test: list[Scored]) -> tuple[Cases, list[int]]:
    read: list[int] = []

    def look(place: int) -> Scored:
        read.append(place)
        return test[place]

    return Cases([case.subject for case in test], [case.lesion for case in test], look), read


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, Any], dict[str, Any]]:
    """The same cases below and above the stated size."""
    test, val = slices(1), with_heads(cases([0] * 4, 8, first=100))
    few, many = (
        summarize(test, val, 2, n_boot=60, operating=POINT, exact_pixels=size) for size in (10**9, 0)
    )
    return few, many


@pytest.mark.parametrize("name", OTHERS)
def test_sums_by_subject_give_the_scores_and_intervals_of_single_cases(
    both: tuple[dict[str, Any], dict[str, Any]], name: str
) -> None:
    few, many = both
    assert few[name]["value"] is not None or name == "lpips_healthy"
    # the threshold of many healthy pixels is the upper end of a bin, which may call a pixel otherwise
    assert many[name] == alike(few[name], rel=3e-3, abs=1e-4)


def test_each_case_is_counted_at_the_threshold_of_the_pooled_max_dice(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """Of few cases and of many, by counting pixels again; a healthy case has false pixels and no Dice."""
    for found in both:
        threshold, pooled = np.float32(found["dice_max"]["threshold"]), np.zeros(3)
        for case in slices(1):
            if (entry := found["per_case"].get(case.case_id)) is None:
                continue
            called = case.anomaly > threshold
            counts = np.array([np.sum(called & case.mask), np.sum(called & ~case.mask), np.sum(case.mask)])
            dice = 2 * counts[0] / counts.sum() if case.lesion else None
            assert (entry["dice_at_max"], entry["false_px"]) == (dice and pytest.approx(dice), counts[1])
            pooled += counts if case.lesion else 0
        assert found["dice_max"]["value"] == pytest.approx(2 * pooled[0] / pooled.sum())


@pytest.mark.parametrize("name", BINNED)
def test_what_takes_every_value_is_within_its_stated_error_and_says_it(
    both: tuple[dict[str, Any], dict[str, Any]], name: str
) -> None:
    few, many = both
    assert not {"error", "interval_error"} & set(few[name])
    assert abs(many[name]["value"] - few[name]["value"]) <= many[name]["error"] + 1e-12 < 2e-3
    for end in ("lo", "hi"):
        assert many[name][end] == pytest.approx(few[name][end], abs=many[name]["interval_error"])
    assert many[name]["interval_error"] < 0.02


def test_the_file_says_the_rest_alike_and_holds_the_curve_that_a_report_would_read_all_maps_for(
    both: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    few, many = both
    json.dumps(many, allow_nan=False)
    assert set(many) - set(few) == {"dice_curve"}
    assert max(many["dice_curve"]["dice"]) == many["dice_max"]["value"]
    assert [many[key] for key in ("n_cases", "n_excluded")] == [few[key] for key in ("n_cases", "n_excluded")]
    assert many["per_case"].keys() == few["per_case"].keys()


def test_each_map_is_read_once_and_those_that_give_the_bins_edges_twice() -> None:
    test = slices(3)
    for size, more in ((10**9, 0), (0, sum(case.lesion for case in test))):
        lazy, read = counted_reads(test)
        counted = tally(lazy, Thresholds(0.5, 0.5), exact_pixels=size)
        first = test.index(next(case for case in test if case.lesion))
        assert sorted(read) == sorted([*range(len(test)), first, *read_again(test, more)])
        assert bool(counted.maps) == counted.exact == (size > 0)
    assert len(test) < EDGE_CASES


def read_again(test: list[Scored], n: int) -> list[int]:
    return [place for place, case in enumerate(test) if case.lesion][:n]


def test_two_methods_differ_alike_below_and_above_the_stated_size() -> None:
    sides, names = (slices(1), slices(4, signal=0.25)), OTHERS
    found = []
    for size in (10**9, 0):
        a, b = (tally(side, Thresholds(0.7, 0.7), POINT, exact_pixels=size) for side in sides)
        found.append(differences(names, a, b, seed=5, n_boot=80))
    few, many = found
    for name in names:
        one, two = few[name], many[name]
        assert (one is None) == (two is None) == (name == "lpips_healthy")
        if one is not None and two is not None:
            assert (two.value, two.lo, two.hi, two.p) == pytest.approx((one.value, one.lo, one.hi, one.p))
            assert (two.n_cases, two.n_subjects) == (one.n_cases, one.n_subjects)


def test_resamples_do_not_hang_on_how_many_are_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    test, val, subjects = slices(6), cases([0] * 4, 8, first=100), ["a", "b", "a", "c"]
    whole, scores = case_weights(subjects, 3, 50), summarize(test, val, 2, n_boot=50, exact_pixels=0)
    monkeypatch.setattr(statistics, "BLOCK", 12)
    np.testing.assert_array_equal(case_weights(subjects, 3, 50), whole)
    monkeypatch.setattr(statistics, "BLOCK", 300)
    again = summarize(test, val, 2, n_boot=50, exact_pixels=0)
    for name in OF_MASKS:
        if name in again:
            assert again[name] == alike(scores[name], rel=1e-12), name


def test_a_lesion_or_a_case_given_twice_is_refused_among_many_cases_too() -> None:
    val = cases([0] * 3, 8)
    with pytest.raises(ValueError, match="c1: has a lesion"):
        fix_thresholds([val[0], replace(val[1], lesion=True), val[2]], exact_pixels=0)
    with pytest.raises(ValueError, match="c0: given twice"):
        tally([*slices(1), slices(1)[0]], Thresholds(), exact_pixels=0)
