"""Comparisons of small run directories whose differences are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.compared import FLOOR, Made, N, read, values, write_run

from uadbench.bench.compare.measures import DEFAULT, Row
from uadbench.bench.compare.pairs import CompareError, finished
from uadbench.bench.compare.runs import Comparison, compare_runs
from uadbench.bench.score.cases import Scored
from uadbench.bench.score.summary import summarize
from uadbench.reports.store import RunDirectory

THOR = Made()


def compare(*paths: Path, n_boot: int = 400, **options: Any) -> Comparison:
    return compare_runs(read(*paths), n_boot=n_boot, **options)


def only(measure: str, *paths: Path, **options: Any) -> Row:
    (one,) = compare(*paths, measures=[measure], **options).pairs
    return one.rows[0]


def one_cell(path: Path, **changes: Any) -> Path:
    return write_run(path, replace(THOR, **changes))


def test_a_run_against_itself_changes_nothing(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", THOR, Made("ddpm"))
    result = compare(a, a)
    assert [len(one.rows) for one in result.pairs] == [len(DEFAULT)] * 2
    for one in result.pairs:
        assert (one.n_cases, one.differs, one.notes) == (N, (), ())
        for row in one.rows:
            assert (row.change.value, row.change.lo, row.change.hi, row.p_holm) == (0.0, 0.0, 0.0, 1.0)
            assert (row.verdict, row.lost) == ("=", 0)
    assert result.notes == ()


@pytest.mark.parametrize("measure", ["dice_max", "dice_average", "dice_small", "auprc"])
def test_pooled_scores_are_those_of_the_stored_maps(tmp_path: Path, measure: str) -> None:
    run = write_run(tmp_path / "a", THOR, Made("ddpm", signal=0.1))
    row = only(measure, run, methods=["thor", "ddpm"])
    (loaded,) = read(run)
    scores = [
        summarize(
            [
                Scored(i, r["subject"], True, cell.arrays(i)[0], loaded.directory.read_input(i)[1])
                for i, r in finished(cell).items()
            ],
            [],
            seed=0,
            n_boot=2,
        )[measure]["value"]
        for cell in loaded.cells
    ]
    assert (row.change.a, row.change.b) == pytest.approx(scores)
    assert row.change.value == pytest.approx(scores[1] - scores[0])


def test_a_weaker_map_is_worse_in_max_dice_and_average_dice(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", THOR, Made("ddpm", signal=0.1), FLOOR)
    result = compare(run, measures=["dice_max", "dice_average"])
    assert [one.pair.a.variant.method for one in result.pairs] == ["thor", "thor"]
    for one in result.pairs:
        assert [row.verdict for row in one.rows] == ["worse", "worse"]
        for row in one.rows:
            assert row.change.hi < 0
            assert row.change.p == pytest.approx(2 / 401)
            assert row.p_holm == pytest.approx(4 * 2 / 401)  # 2 floors and methods x 2 measures


def test_only_cases_that_both_finished_are_compared_and_the_loss_is_counted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", THOR, Made("ddpm", failed=(3, 4)))
    (one,) = compare(run, methods=["thor", "ddpm"]).pairs
    assert one.n_cases == N - 2
    assert one.notes == ("2 cases finished only in A, not compared",)
    for row in one.rows:
        assert (row.change.value, row.lost) == (0.0, 2)


def test_differences_are_b_minus_a_by_case_with_subjects_as_units(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a", dice=values(), latency=np.full(N, 100.0))
    b = one_cell(tmp_path / "b", dice=values() + 0.05, latency=np.full(N, 80.0))
    dice, latency, network = compare(a, b, measures=["dice_case", "latency", "network"]).pairs[0].rows
    assert (dice.change.value, dice.change.lo, dice.change.hi) == pytest.approx((0.05, 0.05, 0.05))
    assert (dice.change.n_cases, dice.change.n_subjects) == (N, N // 2)
    assert dice.change.p == pytest.approx(2 / 2 ** (N // 2))
    assert (dice.verdict, latency.verdict) == ("better", "better")
    assert (latency.change.value, network.change.value) == pytest.approx((-20.0, -10.0))
    assert latency.relative == pytest.approx(-0.2)
    assert latency.change.n_subjects == N  # single images: each is its own measurement


def test_cases_are_matched_by_id_and_not_by_order(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a", dice=values())
    b = one_cell(tmp_path / "b", dice=values(), ids=range(N - 1, -1, -1))
    assert only("dice_case", a, b).change.value == 0.0
    assert only("dice_max", a, b).change.value == 0.0


def test_cases_of_one_batch_are_one_measurement_of_time(tmp_path: Path) -> None:
    first, second = np.repeat(np.random.default_rng(0).random((2, N // 4)), 4, axis=1) + 10
    a = one_cell(tmp_path / "a", latency=first, batch=4)
    change = only("latency", a, one_cell(tmp_path / "b", latency=second, batch=4)).change
    assert (change.n_cases, change.n_subjects) == (N, N // 4)
    shifted = np.concatenate([second[2:], second[:2]])  # other batch borders in B chain A's batches together
    chained = one_cell(tmp_path / "c", latency=shifted, batch=4)
    assert only("latency", a, chained).change.n_subjects == 1


def test_other_batch_sizes_are_noted(tmp_path: Path) -> None:
    a, b = one_cell(tmp_path / "a"), one_cell(tmp_path / "b", batch=8)
    (one,) = compare(a, b, measures=["latency"]).pairs
    assert one.notes == ("batch sizes differ, which changes times",)
    assert [setting.text for setting in one.differs] == ["batch size 1 | 8"]


def test_first_calls_are_left_out_of_latency(tmp_path: Path) -> None:
    a, b = one_cell(tmp_path / "a"), one_cell(tmp_path / "b")
    slow = next(case for case in read(b)[0].cells[0].cases if case["case_id"] == "c00")
    RunDirectory(b).cell(THOR.slug).append_case(slow | {"latency_ms": 1e6, "first_call": True})
    change = only("latency", a, b).change
    assert (change.value, change.n_cases) == (0.0, N - 1)


@pytest.mark.parametrize("side", ["a", "b"])
def test_times_taken_under_load_are_shown_but_not_judged(tmp_path: Path, side: str) -> None:
    loads = {"a": 0.5, "b": 0.5, side: 3.9}
    a, b = (one_cell(tmp_path / name, load=load) for name, load in loads.items())
    latency, network, dice = compare(a, b, measures=["latency", "network", "dice_max"]).pairs[0].rows
    for row in (latency, network):
        assert row.unjudged == "not judged: load 3.9 with 1 thread"
        assert (row.change.lo, row.change.p, row.p_holm, row.verdict) == (None, None, None, "")
        assert row.change.value == 0.0
    assert (dice.unjudged, dice.p_holm) == ("", 1.0)  # what is not judged is no test to correct for


def test_a_load_that_the_threads_explain_is_judged(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / n, replace(THOR, load=3.9), environment={"threads": 4}) for n in "ab"]
    assert only("latency", *runs).unjudged == ""


def test_a_floor_has_no_network_time_to_compare(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", THOR, FLOOR)
    row = only("network", run, methods=["thor", "blur"])
    assert (row.change, row.verdict, row.unjudged) == (None, "", "no case has it on both sides")


def test_a_pair_without_shared_cases_keeps_its_rows_unjudged(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", THOR, Made("ddpm", ids=range(5)))
    b = write_run(tmp_path / "b", THOR, Made("ddpm", ids=range(5, 10)))
    one = compare(a, b).pairs[1]
    assert one.n_cases == 0
    assert {row.unjudged for row in one.rows} == {"no case has it on both sides"}


def test_runs_without_a_shared_case_are_refused(tmp_path: Path) -> None:
    a, b = one_cell(tmp_path / "a", ids=range(5)), one_cell(tmp_path / "b", ids=range(5, 10))
    with pytest.raises(CompareError, match="no test case was finished on both sides"):
        compare(a, b)


def test_runs_on_other_data_are_refused_unless_forced(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a")
    b = write_run(tmp_path / "b", THOR, dataset={"fingerprint": "other"})
    with pytest.raises(CompareError, match=r"differ in data \(fingerprint\): A f, B other"):
        compare(a, b)
    assert compare(a, b, force=True).notes == ("the runs differ in data (fingerprint): A f, B other",)


def test_a_case_with_another_lesion_is_refused_even_where_data_may_differ(tmp_path: Path) -> None:
    a, b = one_cell(tmp_path / "a"), one_cell(tmp_path / "b")
    image, mask = RunDirectory(b).read_input("c05")
    RunDirectory(b).write_input("c05", image, ~mask)
    with pytest.raises(CompareError, match="case c05 has another lesion in B"):
        compare(a, b, force=True)


def test_few_subjects_give_a_difference_without_a_verdict(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a", ids=range(2))
    row = only("dice_max", a, a)
    assert (row.change.value, row.change.lo, row.p_holm, row.verdict) == (0.0, None, None, "")
    assert row.unjudged == "not judged: 1 subject, 10 needed"
