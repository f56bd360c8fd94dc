"""Every pair of a run's rows: the same differences as elsewhere, corrected over all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from support.compared import FLOOR, Made, N, read, write_run

from uadbench.bench.compare.runs import compare_runs
from uadbench.bench.score import paired
from uadbench.bench.score.paired import LEAST, MOST, compare_rows, draws_for
from uadbench.bench.score.statistics import bootstrap_p, case_weights, holm
from uadbench.reports.identity import variant_of
from uadbench.reports.ranking import ALPHA, ranks
from uadbench.reports.store import RunDirectory
from uadbench.reports.vocabulary import MEASURES, RANKED

THOR = Made()
ORDER = [f"c{i:02}" for i in range(N)]


def result_of(path: Path, *cells: Made, draws: int = 400) -> dict:
    run = RunDirectory(write_run(path, *cells))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paired, "draws_for", lambda n_pairs: draws)
        return compare_rows(run, [cell.slug for cell in cells], ORDER, seed=0)


def test_the_smallest_p_survives_the_correction_over_all_pairs() -> None:
    for n_pairs in (1, 10, 105, 190):
        draws = draws_for(n_pairs)
        assert LEAST <= draws <= MOST
        assert n_pairs * 2 / (draws + 1) < ALPHA / 2
    assert draws_for(10_000) == MOST


@pytest.mark.parametrize("measure", ["dice_max", "dice_average", "dice_healthy_fpr5"])
def test_a_pair_is_tested_as_bench_compare_does(tmp_path: Path, measure: str) -> None:
    cells = THOR, Made("ddpm", signal=0.15)
    (pair,) = result_of(tmp_path / "a", *cells)["measures"][measure]
    row = compare_runs(read(tmp_path / "a"), [measure], ["thor", "ddpm"], n_boot=400).pairs[0].rows[0]
    assert (pair["a"], pair["b"]) == (cells[0].slug, cells[1].slug)
    assert pair["difference"] == pytest.approx(row.change.value)
    assert (pair["lo"], pair["hi"], pair["p"]) == pytest.approx((row.change.lo, row.change.hi, row.change.p))
    assert (pair["n_cases"], pair["n_subjects"]) == (N, N // 2)


def test_average_precision_from_fewer_bins_is_that_of_all_thresholds(tmp_path: Path) -> None:
    (pair,) = result_of(tmp_path / "a", THOR, Made("ddpm", signal=0.15))["measures"]["auprc"]
    row = compare_runs(read(tmp_path / "a"), ["auprc"], ["thor", "ddpm"], n_boot=400).pairs[0].rows[0]
    found, wanted = (
        (pair["difference"], pair["lo"], pair["hi"]),
        (
            row.change.value,
            row.change.lo,
            row.change.hi,
        ),
    )
    assert found == pytest.approx(wanted, abs=1e-3)


def test_p_values_are_corrected_over_all_pairs_of_one_measure(tmp_path: Path) -> None:
    cells = THOR, Made("ddpm", signal=0.19), Made("anoddpm", signal=0.1), FLOOR
    result = result_of(tmp_path / "a", *cells)
    assert result["n_pairs"] == 6
    assert set(result["measures"]) == {name for name in RANKED if MEASURES[name].applies_to("mask")}
    pairs = result["measures"]["dice_max"]
    assert len(pairs) == 6
    assert [pair["p_holm"] for pair in pairs] == holm([pair["p"] for pair in pairs])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_difference_that_overlapping_intervals_hide_gives_another_rank(tmp_path: Path) -> None:
    """The same noise with a lesion that is 0.03 brighter: better on every subject, whatever both intervals are."""
    cells = THOR, Made("ddpm", signal=0.23), replace(THOR, method="anoddpm")
    pairs = result_of(tmp_path / "a", *cells, draws=2000)["measures"]["dice_max"]
    assert ranks(pairs) == {cells[1].slug: 1, cells[0].slug: 2, cells[2].slug: 2}


def test_rows_of_one_variant_are_not_tested_against_each_other(tmp_path: Path) -> None:
    cells = THOR, replace(THOR, seed=1), replace(THOR, backend="openvino"), Made("ddpm", signal=0.1)
    result = result_of(tmp_path / "a", *cells)
    assert result["n_pairs"] == 2
    assert {pair["b"] for pair in result["measures"]["dice_max"]} == {cells[-1].slug}


def test_rows_of_different_seeds_are_not_paired_and_those_without_noise_are_with_all(tmp_path: Path) -> None:
    ddpm = Made("ddpm", signal=0.1)
    cells = THOR, replace(THOR, seed=1), ddpm, replace(ddpm, seed=1), FLOOR
    pairs = result_of(tmp_path / "a", *cells)["measures"]["dice_max"]
    thor, thor_1, ddpm_0, ddpm_1, floor = (cell.slug for cell in cells)
    assert {(pair["a"], pair["b"]) for pair in pairs} == {
        (thor, ddpm_0), (thor_1, ddpm_1), *((row, floor) for row in (thor, thor_1, ddpm_0, ddpm_1))
    }  # fmt: skip


def test_a_pair_is_tested_on_the_cases_that_both_finished(tmp_path: Path) -> None:
    """A row that lost two subjects takes them from its own pairs and from no others."""
    cells = THOR, Made("ddpm", signal=0.1), Made("anoddpm", signal=0.15, failed=(0, 1, 2, 3))
    pairs = result_of(tmp_path / "a", *cells)["measures"]["dice_max"]
    counts = {(pair["a"], pair["b"]): (pair["n_cases"], pair["n_subjects"]) for pair in pairs}
    thor, ddpm, anoddpm = (cell.slug for cell in cells)
    assert counts == {(thor, ddpm): (24, 12), (thor, anoddpm): (20, 10), (ddpm, anoddpm): (20, 10)}
    whole = result_of(tmp_path / "b", *cells[:2])["measures"]["dice_max"][0]
    assert pairs[0]["difference"] == whole["difference"]
    assert (pairs[0]["lo"], pairs[0]["p"]) == (whole["lo"], whole["p"])


def test_fewer_than_ten_subjects_give_a_difference_but_no_interval_and_no_rank(tmp_path: Path) -> None:
    cells = THOR, Made("ddpm", signal=0.02)
    few = [replace(cell, failed=range(18, N)) for cell in cells]  # 9 subjects left
    (pair,) = result_of(tmp_path / "a", *few)["measures"]["dice_max"]
    assert pair["difference"] < 0
    assert (pair["lo"], pair["hi"], pair["p"], pair["p_holm"]) == (None, None, None, None)
    assert ranks([pair]) == {}


def test_a_row_without_scores_is_in_no_pair(tmp_path: Path) -> None:
    cells = THOR, Made("ddpm"), Made("anoddpm", not_applicable="no median")
    assert result_of(tmp_path / "a", *cells)["n_pairs"] == 1
    dead = THOR, Made("ddpm"), Made("anoddpm", failed=range(N))
    pairs = result_of(tmp_path / "b", *dead)["measures"]["dice_max"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [(dead[0].slug, dead[1].slug)]


def test_post_processed_maps_are_rows_of_their_own_each_at_its_operating_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a measure that only they have ranked, rows without it would be in no pair of it."""
    points = ({"threshold": threshold, "component_px": 7} for threshold in (0.6, 0.8))
    post = [Made(post="behrendt", steps=steps, operating=next(points)) for steps in ("25", "50")]
    monkeypatch.setattr(paired, "RANKED", ("dice_max", "dice_fitted"))
    result = result_of(tmp_path / "a", THOR, *post)
    assert (result["n_pairs"], len(result["measures"]["dice_max"])) == (3, 3)
    (pair,) = result["measures"]["dice_fitted"]
    assert (pair["a"], pair["b"]) == (post[0].slug, post[1].slug)
    names = [variant_of(cell.info).slug for cell in post]
    (found,) = compare_runs(read(tmp_path / "a"), ["dice_fitted"], names, n_boot=400).pairs
    change = found.rows[0].change
    assert change is not None
    assert change.a != change.b
    assert (pair["difference"], pair["lo"], pair["p"]) == pytest.approx((change.value, change.lo, change.p))


def test_one_variant_alone_has_no_pair(tmp_path: Path) -> None:
    result = result_of(tmp_path / "a", THOR)
    assert (result["n_pairs"], result["measures"]["dice_max"]) == (0, [])


def test_rows_that_differ_by_chance_alone_are_rarely_ranked_apart() -> None:
    """Six rows, 40 subjects, 200 tables: Holm's correction keeps tables with any false difference near 5 %."""
    rng, parted, tables = np.random.default_rng(0), 0, 200
    weights = case_weights([f"s{i}" for i in range(40)], 0, draws_for(15)) / 40
    for _ in range(tables):
        values = rng.normal(size=(40, 6))
        changes = [(i, j, values[:, j] - values[:, i]) for i, j in combinations(range(6), 2)]
        p = holm([bootstrap_p(weights @ change) for *_, change in changes])
        pairs = [
            {"a": str(i), "b": str(j), "difference": change.mean(), "p_holm": one}
            for (i, j, change), one in zip(changes, p, strict=True)
        ]
        parted += max(ranks(pairs).values()) > 1
    assert parted / tables < 0.1
