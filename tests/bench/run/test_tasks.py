"""Cells run batch by batch; whatever interrupts them, the results are those of an undisturbed run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.cells import (
    BLUR,
    SLUG,
    Breaking,
    Recording,
    cell_of,
    compute,
    make_dataset,
    make_work,
    method_cell,
    records,
    results,
    score,
)
from support.stored import drop_blob

from uadbench.bench.run.inputs import in_batches
from uadbench.bench.run.interrupt import Interrupted
from uadbench.bench.run.tasks import finished, plan_tasks
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import Arm
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    compute(run)
    return run


def test_every_case_of_every_cell_is_kept_with_its_nfe_and_time(undisturbed: Path) -> None:
    for cell in (BLUR, method_cell()):
        found = records(undisturbed, cell.slug)
        assert list(found) == [*(f"val{i}" for i in range(3)), *(f"case{i}" for i in range(7))]
        assert {r["status"] for r in found.values()} == {"ok"}
        assert {r["nfe"] for r in found.values()} == {cell.walk.nfe}
        for case_id, r in found.items():
            assert sum(r["stages_ms"].values()) == pytest.approx(r["latency_ms"])
            assert set(r["metrics"]) == (set() if r["lesion"] else {"ssim", "psnr", "mae", "lpips"})
            anomaly, reconstruction = cell_of(undisturbed, cell.slug).read_arrays(case_id, r["arrays_sha256"])
            assert anomaly.min() >= 0
            assert 0 <= reconstruction.min() <= reconstruction.max() <= 1
    assert [r["batch_size"] for r in records(undisturbed).values()] == [4] * 8 + [2] * 2


def test_batches_that_run_at_a_time_are_of_one_cell_and_arms_still_take_turns(tmp_path: Path) -> None:
    arms = [method_cell(arm=Arm(backend)) for backend in ("torch", "openvino")]
    batches = in_batches(make_dataset().split("test"), 1)
    tasks = list(plan_tasks(RunDirectory(tmp_path), arms, batches, streams=3))
    order = [(task.cell.arm.backend, task.number) for task in tasks]
    first, second = (
        [(name, n) for name in ("torch", "openvino") for n in part] for part in ((0, 1, 2), (6,))
    )
    turned = [(name, n) for name in ("openvino", "torch") for n in (3, 4, 5)]
    assert order == [*first, *turned, *second]


@pytest.mark.parametrize("kept", [0, 1, 4, 6, 9, 10])
def test_a_run_cut_off_after_any_case_is_finished_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, kept: int
) -> None:
    compute(tmp_path)
    path = tmp_path / "cells" / SLUG / "cases.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:kept]))
    for number, case_id in enumerate(records(undisturbed)):
        if number > kept:  # of the batch in work, one case's arrays may be there without its line
            drop_blob(tmp_path / "cells" / SLUG / "arrays", case_id)
    assert len(finished(cell_of(tmp_path))) == kept
    network = Recording()
    compute(tmp_path, networks={SLUG: network})
    assert results(tmp_path) == results(undisturbed)
    # batches keep their composition; 4 or 6 warm-up calls come first
    sizes = [size for _, size in network.log]
    warm = 0 if kept == 10 else 4 if kept < 8 else 2
    assert sizes[warm:] == [
        size for first, size in ((0, 4), (4, 4), (8, 2)) if kept < first + size for _ in range(3)
    ]


def test_a_finished_run_computes_nothing(undisturbed: Path) -> None:
    network = Recording()
    compute(undisturbed, networks={SLUG: network})
    assert network.log == []


def test_stopping_between_two_calls_keeps_what_is_done_and_the_rest_follows(
    undisturbed: Path, tmp_path: Path
) -> None:
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            raise Interrupted

    with pytest.raises(Interrupted):
        compute(tmp_path, stop=stop)
    assert 0 < len(records(tmp_path)) < 10
    compute(tmp_path)
    assert results(tmp_path) == results(undisturbed)


def test_arms_of_one_variant_take_turns_batch_by_batch(tmp_path: Path) -> None:
    log: list[tuple[str, int]] = []
    cells = (method_cell(), method_cell(arm=Arm("openvino")))
    networks = {cell.slug: Recording(cell.arm.backend, log) for cell in cells}
    compute(tmp_path, cells, networks=networks)
    # each warms up (2 sizes x 2 calls) before its first batch; a batch is 3 calls
    turns = ["torch"] * 7, ["openvino"] * 7, ["openvino"] * 3, ["torch"] * 3, ["torch"] * 3, ["openvino"] * 3
    assert [name for name, _ in log] == [name for turn in turns for name in turn]
    assert results(tmp_path, cells[0].slug)["arrays"] == results(tmp_path, cells[1].slug)["arrays"]


def test_a_variant_is_finished_before_the_next_one_begins(tmp_path: Path) -> None:
    cells = (method_cell(), method_cell(seed=1), method_cell(arm=Arm("other"), seed=1))
    work = make_work(tmp_path, cells)
    tasks = list(plan_tasks(work.run, cells, in_batches(work.plan.cases, 4)))
    assert [(task.cell.variant.seed, task.cell.arm.backend, task.number) for task in tasks] == [
        *((0, "torch", number) for number in range(3)),
        *(
            (1, "torch", 0),
            (1, "other", 0),
            (1, "other", 1),
            (1, "torch", 1),
            (1, "torch", 2),
            (1, "other", 2),
        ),
    ]


def test_seeds_are_variants_with_noise_of_their_own(tmp_path: Path) -> None:
    cells = (method_cell(), method_cell(seed=7))
    compute(tmp_path, cells)
    first, second = (results(tmp_path, cell.slug) for cell in cells)
    assert {record["seed"] for record in second["records"]} == {7}
    assert not set(first["arrays"].values()) & set(second["arrays"].values())


def test_a_case_that_cannot_be_read_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    compute(tmp_path, dataset=make_dataset(bad=("case1", "val0")))
    found = records(tmp_path)
    assert (found["case1"]["status"], found["case1"]["reason"]) == (
        "failed",
        "case1.png: is empty; copy it again",
    )
    assert sum(r["status"] == "ok" for r in found.values()) == 8
    compute(tmp_path)  # the file was copied again
    assert {r["status"] for r in records(tmp_path).values()} == {"ok"}


def test_a_slice_of_a_volume_is_kept_with_its_place_and_an_image_of_its_own_without(tmp_path: Path) -> None:
    dataset = make_dataset(bad=("case1",))
    cases = tuple(
        replace(case, volume="p07", position=int(case.case_id[-1])) if case.split == "test" else case
        for case in dataset.cases
    )
    compute(tmp_path, dataset=replace(dataset, cases=cases))
    found = records(tmp_path)
    assert [(found[key]["volume"], found[key]["position"]) for key in ("case0", "case1")] == [
        ("p07", 0),
        ("p07", 1),
    ]
    assert not {"volume", "position"} & set(found["val0"])


def test_scores_and_times_are_written_for_a_report_to_read(tmp_path: Path) -> None:
    compute(tmp_path)
    score(tmp_path)
    floor, method = load_run(tmp_path).cells
    assert floor.metrics is not None
    assert method.metrics is not None
    assert method.latency is not None
    assert method.metrics["n_cases"] == 7
    assert method.metrics["ssim_healthy"]["value"] is not None
    assert (method.latency["n"], method.latency["nfe"]) == (2, 3)
    assert method.latency["first_call_ms"] > 0
    assert floor.directory.warm_up["first_call_ms"] is None
    # the lesions are the only bright squares, so the difference to the blurred image must find them
    assert floor.metrics["auroc_image"]["value"] > 0.9


def test_more_cases_make_a_summary_stale_so_it_goes_before_they_come(tmp_path: Path) -> None:
    compute(tmp_path)
    score(tmp_path)
    drop_blob(tmp_path / "cells" / SLUG / "arrays", "case2")
    compute(tmp_path)
    assert cell_of(tmp_path).metrics is None
    assert cell_of(tmp_path, BLUR.slug).metrics is not None


def test_a_verdict_of_parity_goes_before_any_result_changes_and_only_then(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    compute(tmp_path)
    run.write_parity({})
    compute(tmp_path)
    assert run.parity == {}
    drop_blob(tmp_path / "cells" / SLUG / "arrays", "case2")
    with pytest.raises(Interrupted):
        compute(tmp_path, networks={SLUG: Breaking(1, Interrupted())})
    assert run.parity == {}  # no result was kept yet
    compute(tmp_path)
    assert run.parity is None


def test_rows_are_tested_in_pairs_when_they_are_scored_and_again_when_one_is_scored_again(
    tmp_path: Path,
) -> None:
    run = RunDirectory(tmp_path)
    compute(tmp_path)
    assert run.paired is None
    score(tmp_path)
    first = run.paired
    assert first is not None
    (pair,) = first["measures"]["dice_max"]
    assert {pair["a"], pair["b"]} == {BLUR.slug, SLUG}
    assert pair["p"] is None  # fewer than 10 subjects
    run.write_paired({**first, "draws": 7})
    score(tmp_path)
    assert run.paired["draws"] == 7  # nothing was scored, so nothing tested
    cell_of(tmp_path).drop_summary()
    score(tmp_path)
    assert run.paired == first
    drop_blob(tmp_path / "cells" / SLUG / "arrays", "case2")
    compute(tmp_path)
    assert run.paired is None  # a verdict on other results


def test_a_summary_of_a_version_that_had_fewer_measures_is_made_again(tmp_path: Path) -> None:
    compute(tmp_path)
    score(tmp_path)
    cell = cell_of(tmp_path)
    whole = cell.metrics
    old = {key: value for key, value in whole.items() if key != "dice_average_papers"}
    cell.write_summary(old, cell.latency)
    score(tmp_path)
    assert cell.metrics == whole


def test_a_run_from_before_a_setting_is_taken_up_and_one_of_another_setting_is_not(tmp_path: Path) -> None:
    compute(tmp_path)
    cell, whole = cell_of(tmp_path), cell_of(tmp_path).info
    before = {key: value for key, value in whole["hyperparameters"].items() if key != "t_start"}
    cell.write_info({**whole, "hyperparameters": before})
    with pytest.raises(RunError, match="its results are of other settings"):
        compute(tmp_path)  # the default of then is 350, and this cell's is 100
    cell.write_info({**whole, "hyperparameters": {**whole["hyperparameters"], "steps": 4}})
    with pytest.raises(RunError, match="its results are of other settings"):
        compute(tmp_path)
    blur = RunDirectory(tmp_path).cell(BLUR.slug)
    cell.write_info(whole)
    blur.write_info({**blur.info, "hyperparameters": {}})
    compute(tmp_path)  # the width is what it is by default
