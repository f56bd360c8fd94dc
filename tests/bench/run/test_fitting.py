"""What validation lesions decide is found once, kept, and used by every arm."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cells import Recording, floor_cell, make_bench, make_dataset, method_cell

from uadbench.bench.plan.grid import Cell
from uadbench.bench.run.fitting import FALLBACK, fit_cells
from uadbench.datasets.case import Dataset
from uadbench.engine.methods.autoddpm import AutoDDPM
from uadbench.engine.methods.floors import Blur
from uadbench.reports.identity import Arm
from uadbench.reports.store import RunDirectory

SHORT = AutoDDPM(steps=2, stitch_steps=1, rounds=1)
SEVERAL = (Arm(), Arm("openvino"))


def cells(method: AutoDDPM = SHORT) -> tuple[Cell, ...]:
    return (floor_cell("blur", Blur()), *(method_cell(method, arm) for arm in SEVERAL))


def fit(
    path: Path, method: AutoDDPM = SHORT, dataset: Dataset | None = None
) -> tuple[tuple[Cell, ...], list]:
    """(the fitted cells, the batches that networks saw)."""
    log: list[tuple[str, int]] = []
    made = cells(method)
    networks = {cell.slug: Recording(cell.arm.backend, log) for cell in made}
    found = fit_cells(
        RunDirectory(path), made, dataset or make_dataset(), networks, make_bench(), 4, lambda line: None
    )
    return found, log


def test_all_arms_use_the_threshold_that_the_first_one_found(tmp_path: Path) -> None:
    (blur, *fitted), log = fit(tmp_path)
    thresholds = {cell.method.threshold for cell in fitted}  # type: ignore[attr-defined]
    assert len(thresholds) == 1
    assert thresholds != {None}
    assert {name for name, _ in log} == {"torch"}
    assert all(cell.fitted["recall"] >= SHORT.recall and cell.fitted["n_cases"] == 1 for cell in fitted)
    assert blur.fitted == {}
    assert fitted[0].record("fake", {})["hyperparameters"]["threshold"] in thresholds


def test_a_run_that_is_taken_up_goes_on_with_what_was_found(tmp_path: Path) -> None:
    before, _ = fit(tmp_path)
    again, log = fit(tmp_path)
    assert again == before
    assert log == []


def test_a_damaged_record_of_the_fit_is_made_again_alike(tmp_path: Path) -> None:
    before, _ = fit(tmp_path)
    (tmp_path / "fitted.json").write_text("{")
    assert fit(tmp_path)[0] == before


def test_a_threshold_that_is_given_is_left_alone(tmp_path: Path) -> None:
    given = dataclasses.replace(SHORT, threshold=0.13)
    found, log = fit(tmp_path, given)
    assert found == cells(given)
    assert log == []


def test_the_reference_does_the_fitting_wherever_it_is_named(tmp_path: Path) -> None:
    log: list[tuple[str, int]] = []
    made = tuple(reversed(cells()))
    networks = {cell.slug: Recording(cell.arm.backend, log) for cell in made}
    found = fit_cells(
        RunDirectory(tmp_path), made, make_dataset(), networks, make_bench(), 4, lambda line: None
    )
    assert {name for name, _ in log} == {"torch"}
    assert found[0].fitted["arm"] == "torch fp32"


def test_without_validation_lesions_the_fallback_is_named(tmp_path: Path) -> None:
    dataset = make_dataset()
    healthy = tuple(case for case in dataset.cases if not (case.lesion and case.split == "val"))
    found, _ = fit(tmp_path, dataset=dataclasses.replace(dataset, cases=healthy))
    assert [cell.method for cell in found] == [cell.method for cell in cells()]
    assert all(cell.fitted == {"fallback": FALLBACK} for cell in found if cell.networks)


def test_validation_lesions_that_cannot_be_read_are_tried_again_the_next_time(tmp_path: Path) -> None:
    found, _ = fit(tmp_path, dataset=make_dataset(bad=("val3",)))
    assert "none of the 1 validation lesion cases can be used" in found[1].fitted["fallback"]
    assert "val3.png: is empty" in found[1].fitted["fallback"]
    assert RunDirectory(tmp_path).fitted == {}
    assert "recall" in fit(tmp_path)[0][1].fitted


def test_maps_that_are_not_finite_fit_nothing_and_end_nothing(tmp_path: Path) -> None:
    class Broken(Recording):
        def denoise(
            self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None
        ) -> torch.Tensor:
            return torch.full_like(x_t, float("nan"))

    made, run = cells(), RunDirectory(tmp_path)
    networks = {cell.slug: Broken() for cell in made}
    found = fit_cells(run, made, make_dataset(), networks, make_bench(), 4, print)
    assert [cell.method for cell in found] == [cell.method for cell in made]
    assert "the fit failed: " in found[1].fitted["fallback"]
    assert run.fitted == {}


@pytest.mark.parametrize("recall", [0.05, 0.5, 0.9, 1.0])
def test_the_fit_takes_the_highest_threshold_that_covers_the_lesions_as_asked(recall: float) -> None:
    rng = np.random.default_rng(0)
    evidence = torch.from_numpy(rng.random((3, 1, 20, 20), dtype=np.float32))
    lesions = torch.from_numpy(rng.random((3, 1, 20, 20)) < 0.2)
    fitted, record = AutoDDPM(recall=recall).fit(evidence, lesions)
    assert fitted.threshold is not None
    covered = (evidence > fitted.threshold)[lesions]
    assert record["recall"] == pytest.approx(float(covered.float().mean()))
    assert record["recall"] >= recall
    higher = evidence[lesions][covered].min()  # the least of what is covered: one step up, and it is lost
    assert float((evidence[lesions] > higher).float().mean()) < recall


def test_lesions_on_which_the_map_is_zero_cannot_be_covered_and_the_record_says_so() -> None:
    lesions = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    lesions[..., :4, :] = True
    evidence = torch.zeros(1, 1, 8, 8)
    evidence[..., :1, :] = 0.5
    fitted, record = AutoDDPM(recall=0.9).fit(evidence, lesions)
    assert fitted.threshold == 0.0
    assert record["recall"] == pytest.approx(0.25)


@pytest.mark.parametrize("recall", [0, -0.1, 1.1, float("nan")])
def test_a_recall_that_is_no_share_is_refused(recall: float) -> None:
    with pytest.raises(ValueError, match="recall is"):
        AutoDDPM(recall=recall)


def test_evidence_above_the_threshold_is_the_mask_of_the_run(tmp_path: Path) -> None:
    from uadbench.bench.run.evaluate import bind
    from uadbench.bench.run.timing import Stopwatch

    dataset = make_dataset()
    sample = dataset.load(dataset.split("val")[3])
    cell = method_cell(dataclasses.replace(SHORT, threshold=0.1))
    tools, x = bind(cell, Recording(), [sample], make_bench(), Stopwatch())
    evidence = cell.method.evidence(x, tools)  # type: ignore[attr-defined]
    tools, x = bind(cell, Recording(), [sample], make_bench(), Stopwatch())  # the same noise from the start
    mask = cell.method(x, tools).trace["mask"]
    torch.testing.assert_close((evidence > 0.1).float(), mask)
    assert 0 < mask.mean() < 1
