"""The threshold of post-processed maps comes from validation lesions alone, is kept, and used by every arm."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.cells import (
    BLUR,
    Breaking,
    Fault,
    Recording,
    cell_of,
    compute,
    make_bench,
    make_dataset,
    method_cell,
    records,
    score,
)

from uadbench.bench.plan.grid import Cell
from uadbench.bench.run.evaluate import run_batch
from uadbench.bench.run.fitting import fit_cells
from uadbench.bench.run.operating import NO_LESION, find_thresholds
from uadbench.bench.score.operating import choose_threshold
from uadbench.datasets.case import Case, Dataset, Sample
from uadbench.engine.methods.autoddpm import AutoDDPM
from uadbench.engine.post import behrendt
from uadbench.reports.identity import Arm
from uadbench.reports.store import RunDirectory

POST = method_cell(post="behrendt")
ARMS = (POST, method_cell(arm=Arm("openvino"), post="behrendt"))
AUTO = method_cell(AutoDDPM(steps=2, stitch_steps=1, rounds=1), post="behrendt")
SLUG = POST.variant.slug


def decide(
    path: Path, cells: Sequence[Cell] = (method_cell(), *ARMS), dataset: Dataset | None = None
) -> tuple[tuple[Cell, ...], list[tuple[str, int]], list[str]]:
    """(the cells, the batches that networks saw, the lines said)."""
    log: list[tuple[str, int]] = []
    said: list[str] = []
    networks = {cell.slug: Recording(cell.arm.backend, log) for cell in cells}
    shared = (dataset or make_dataset(), networks, make_bench(), 4)
    fitted = fit_cells(RunDirectory(path), cells, *shared, said.append)
    return find_thresholds(RunDirectory(path), fitted, *shared, 7, said.append), log, said


def change_cases(dataset: Dataset, split: str) -> Dataset:
    """The same with other images and masks in a split."""

    def load(case: Case) -> Sample:
        found = dataset.load(case)
        if case.split != split:
            return found
        return Sample(case, found.image[::-1].copy() * 0.9, np.roll(found.mask, 4, axis=1))

    return dataclasses.replace(dataset, load=load)


def test_the_threshold_is_the_best_for_the_post_processed_maps_of_validation_lesions(tmp_path: Path) -> None:
    (plain, *found), log, said = decide(tmp_path)
    dataset = make_dataset()
    sample = dataset.load(dataset.split("val")[3])
    (outcome,) = run_batch(method_cell(), Recording(), [sample], make_bench())
    assert outcome.anomaly is not None
    by_hand = behrendt(outcome.anomaly[None], sample.image[None])
    threshold, dice = choose_threshold(by_hand, [sample.mask], 7)
    assert {cell.operating["threshold"] for cell in found} == {threshold}
    assert found[0].operating == {
        "threshold": threshold,
        "dice": dice,
        "n_cases": 1,
        "arm": "torch fp32",
        "component_px": 7,
    }
    assert plain.operating == {}
    assert {name for name, _ in log} == {"torch"}
    assert len(said) == 1


def test_the_threshold_is_blind_to_test_cases_and_not_to_validation_lesions(tmp_path: Path) -> None:
    wanted = decide(tmp_path / "a")[0][1].operating
    assert decide(tmp_path / "b", dataset=change_cases(make_dataset(), "test"))[0][1].operating == wanted
    assert decide(tmp_path / "c", dataset=change_cases(make_dataset(), "val"))[0][1].operating != wanted


def test_a_run_that_is_taken_up_goes_on_with_the_threshold(tmp_path: Path) -> None:
    before, _, _ = decide(tmp_path)
    again, log, said = decide(tmp_path)
    assert again == before
    assert (log, said) == ([], [])


def test_the_methods_own_fit_comes_first_and_both_are_kept(tmp_path: Path) -> None:
    (cell,), _, said = decide(tmp_path, (AUTO,))
    assert cell.method.threshold is not None  # type: ignore[attr-defined]
    assert cell.operating["threshold"] >= 0
    assert len(said) == 2
    assert set(RunDirectory(tmp_path).fitted[AUTO.variant.slug]) == {"settings", "record", "operating"}
    (again,), log, _ = decide(tmp_path, (AUTO,))
    assert (again, log) == (cell, [])


def test_without_validation_lesions_the_record_says_so_and_the_scores_are_empty(tmp_path: Path) -> None:
    dataset = make_dataset()
    healthy = tuple(case for case in dataset.cases if not (case.lesion and case.split == "val"))
    dataset = dataclasses.replace(dataset, cases=healthy)
    cells, _, said = decide(tmp_path, (POST, AUTO), dataset)
    assert cells[0].operating == {"fallback": NO_LESION, "component_px": 7}
    assert cells[1].fitted == {"fallback": RunDirectory(tmp_path).fitted[AUTO.variant.slug]["fallback"]}
    assert f"{POST.variant.label}: {NO_LESION}" in said
    compute(tmp_path, cells[:1], dataset)
    score(tmp_path, cells[:1], dataset)
    metrics = cell_of(tmp_path, POST.slug).metrics
    assert metrics is not None
    assert metrics["dice_fitted"]["value"] is None
    assert metrics["dice_max"]["value"] is not None


def test_a_choice_that_failed_is_tried_again_the_next_time(tmp_path: Path) -> None:
    networks = {POST.slug: Breaking(1e9)}
    shared = (make_dataset(), networks, make_bench(), 4)
    (cell,) = find_thresholds(RunDirectory(tmp_path), (POST,), *shared, 7, lambda line: None)
    assert (
        "none of 1 validation lesions gave a map: RuntimeError: out of memory" in cell.operating["fallback"]
    )
    assert RunDirectory(tmp_path).fitted == {}
    assert "threshold" in decide(tmp_path, (POST,))[0][0].operating


def test_a_run_keeps_post_processed_maps_scores_them_there_and_charges_the_time(tmp_path: Path) -> None:
    plain = method_cell()
    cells, _, _ = decide(tmp_path, (plain, POST))
    compute(tmp_path, cells)
    score(tmp_path, cells)
    inputs = RunDirectory(tmp_path)
    for case_id, record in records(tmp_path, POST.slug).items():
        anomaly, reconstruction = cell_of(tmp_path, POST.slug).read_arrays(case_id)
        raw, same = cell_of(tmp_path, plain.slug).read_arrays(case_id)
        image = inputs.read_input(case_id)[0]
        np.testing.assert_array_equal(anomaly, behrendt(raw[None], image[None])[0])
        np.testing.assert_array_equal(reconstruction, same)
        assert record["stages_ms"]["morphology"] > 0
    info, metrics = cell_of(tmp_path, POST.slug).info, cell_of(tmp_path, POST.slug).metrics
    assert metrics is not None
    assert metrics["dice_fitted"]["threshold"] == info["operating"]["threshold"]
    assert info["post"] == "behrendt"
    assert not {"post", "operating"} & set(cell_of(tmp_path, plain.slug).info)
    assert "dice_fitted" not in (cell_of(tmp_path, plain.slug).metrics or {})


def test_another_threshold_scores_the_cell_again_and_computes_nothing(tmp_path: Path) -> None:
    (cell,), _, _ = decide(tmp_path, (POST,))
    compute(tmp_path, (cell,))
    score(tmp_path, (cell,))
    other = dataclasses.replace(cell, operating={**cell.operating, "threshold": 0.9})
    network = Recording()
    compute(tmp_path, (other,), networks={cell.slug: network})
    score(tmp_path, (other,))
    assert network.log == []
    metrics = cell_of(tmp_path, POST.slug).metrics
    assert metrics is not None
    assert metrics["dice_fitted"]["threshold"] == 0.9


def test_what_only_post_processed_maps_have_is_missed_in_their_summary_and_in_no_other(
    tmp_path: Path,
) -> None:
    run = RunDirectory(tmp_path)
    cells, _, _ = decide(tmp_path, (method_cell(), POST))
    compute(tmp_path, cells)
    score(tmp_path, cells)
    summary = run.cell(POST.slug)
    whole, tested = summary.metrics, run.paired
    assert whole is not None
    assert tested is not None
    run.write_paired({**tested, "draws": 7})
    score(tmp_path, cells)
    assert run.paired == {**tested, "draws": 7}  # nothing was scored, so nothing tested
    without = {key: value for key, value in whole.items() if key != "dice_fitted"}
    summary.write_summary(without, summary.latency or {})
    score(tmp_path, cells)
    assert (summary.metrics, run.paired) == (whole, tested)


@pytest.mark.parametrize("kind", ["nan", "negative"])
def test_a_map_that_breaks_its_contract_fails_its_case_and_no_other(tmp_path: Path, kind: str) -> None:
    cells = (method_cell(Fault(kind), post="behrendt"),)
    compute(tmp_path, cells, make_dataset(marked=("case1",)))
    found = records(tmp_path, cells[0].slug)
    assert {case_id for case_id, record in found.items() if record["status"] != "ok"} == {"case1"}
    assert "NaN, infinite or negative" in found["case1"]["reason"]


def test_a_floor_is_post_processed_like_a_method(tmp_path: Path) -> None:
    floor = dataclasses.replace(BLUR, variant=dataclasses.replace(BLUR.variant, post="behrendt"))
    assert (floor.slug, floor.variant.label) == ("blur-none-0-behrendt-torch-fp32", "blur · post behrendt")
    (cell,), _, _ = decide(tmp_path, (floor,))
    assert cell.operating["n_cases"] == 1
