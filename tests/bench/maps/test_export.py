"""``bench export-maps`` on a run whose numbers come from a seed: what is kept comes out, unchanged and findable."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.boxed import boxes_of, make_boxed_run
from support.faults import invoke, refused
from support.files import edit
from support.runs import CELLS, make_run

from uadbench.datasets.readers import read_slice
from uadbench.reports.atomic import RunError
from uadbench.reports.runs import Cell, load_run

THOR = "thor-gaussian-25-torch-fp32"
BLUR = "blur-none-0-torch-fp32"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = (CELLS[0], CELLS[-1])
    return make_run(tmp_path_factory.mktemp("runs") / "run", cells=cells, n_lesion=2, n_healthy=1)


def index_of(output: Path) -> list[dict[str, str]]:
    with (output / "index.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("form", ["nifti", "npy", "png"])
def test_every_array_is_in_the_file_that_the_index_names(run: Path, tmp_path: Path, form: str) -> None:
    done = invoke(
        "export-maps", str(run), "--format", form, "--output", str(tmp_path / "out"), "--no-progress"
    )
    assert done.exit_code == 0, done.stderr
    loaded = load_run(run)
    rows = index_of(tmp_path / "out")
    assert len(rows) == 6
    for row in rows:
        cell = next(cell for cell in loaded.cells if cell.slug == row["cell"])
        if row["status"] != "ok":
            assert row["anomaly"] == row["image"] == ""
            continue
        image, truth = loaded.directory.read_input(row["case_id"])
        anomaly, reconstruction = cell.arrays(row["case_id"])
        mask = anomaly > np.float32(row["threshold"])
        wanted = {
            "image": image,
            "truth": truth,
            "anomaly": anomaly,
            "reconstruction": reconstruction,
            "mask": mask,
        }
        for kind, array in wanted.items():
            found = read_slice(tmp_path / "out" / row[kind])
            if form == "png" and kind in ("truth", "mask"):
                np.testing.assert_array_equal(found == 255, array)
            elif form == "png":
                np.testing.assert_allclose(found / 65535, np.clip(array, 0, 1), atol=1e-5)
            else:
                np.testing.assert_array_equal(found, array)


def test_the_summary_of_a_cell_counts_its_test_cases_at_the_runs_threshold(run: Path, tmp_path: Path) -> None:
    words = ["export-maps", str(run), "--cells", "thor*", "--output", str(tmp_path), "--no-progress"]
    assert invoke(*words).exit_code == 0
    assert {row["cell"] for row in index_of(tmp_path)} == {THOR}
    found = json.loads((tmp_path / THOR / "summary.json").read_text())
    assert len(found["metric_per_case"]) == 2, "one of the three failed in the run"
    for case in found["metric_per_case"]:
        mask, truth = (
            read_slice(tmp_path / case[f"{kind}_file"]) != 0 for kind in ("prediction", "reference")
        )
        metrics = case["metrics"]["1"]
        assert metrics["TP"] == (mask & truth).sum()
        assert metrics["n_pred"] == mask.sum()
        assert metrics["n_ref"] == truth.sum()


def test_a_cell_without_a_threshold_has_maps_and_no_masks_and_that_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    edit(run / "cells" / THOR / "metrics.json", dice_healthy_fpr5={"value": None, "lo": None, "hi": None})
    done = invoke("export-maps", str(run), "--no-progress")
    assert done.exit_code == 0
    assert "no masks and no summary.json; its threshold is none" in done.stderr
    output = tmp_path / "run-maps"
    assert not (output / THOR / "mask").exists()
    assert not (output / THOR / "summary.json").exists()
    assert (output / THOR / "anomaly").is_dir()


def test_a_map_that_cannot_be_read_is_named_and_the_rest_comes_out(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = Cell.arrays

    def damaged(cell: Cell, case_id: str) -> Any:
        if case_id == "sub-000":
            raise RunError("arrays of sub-000: damaged")
        return arrays(cell, case_id)

    monkeypatch.setattr(Cell, "arrays", damaged)
    words = ["export-maps", str(run), "--cells", THOR, "--output", str(tmp_path / "out"), "--no-progress"]
    done = invoke(*words)
    assert done.exit_code == 1
    assert f"failed: {THOR}, case sub-000: arrays of sub-000: damaged" in done.stderr
    assert [row["status"] for row in index_of(tmp_path / "out")] == ["unreadable", "failed", "ok"]


def test_slices_of_a_volume_are_one_file_and_one_case_of_the_summary_but_single_pngs(tmp_path: Path) -> None:
    made = load_run(make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=3, n_healthy=1))
    for record in made.cells[0].cases[:3]:  # of which the second failed
        place = {"sub-000": 1, "sub-001": 2, "sub-002": 4}[record["case_id"]]
        made.cells[0].directory.append_case({**record, "volume": "p 07", "position": place})
    cell, form = load_run(made.path).cells[0], ["--output", str(tmp_path / "out"), "--no-progress"]
    assert invoke("export-maps", str(made.path), *form).exit_code == 0
    rows = {row["case_id"]: row for row in index_of(tmp_path / "out")}
    assert [rows[key]["slice"] for key in ("sub-000", "sub-001", "sub-002", "sub-003")] == ["1", "", "4", ""]
    volume = tmp_path / "out" / THOR / "anomaly" / "p_07.nii.gz"
    assert rows["sub-000"]["anomaly"] == rows["sub-002"]["anomaly"] == f"{THOR}/anomaly/p_07.nii.gz"
    for case_id, place in (("sub-000", 1), ("sub-002", 4)):
        np.testing.assert_array_equal(read_slice(volume, place), cell.arrays(case_id)[0])
    assert not any(read_slice(volume, place).any() for place in (0, 2, 3))
    found = json.loads((tmp_path / "out" / THOR / "summary.json").read_text())["metric_per_case"]
    assert [case["prediction_file"].split("/")[-1] for case in found] == ["p_07.nii.gz", "sub-003.nii.gz"]
    masks = [cell.arrays(key)[0] > np.float32(rows["sub-000"]["threshold"]) for key in ("sub-000", "sub-002")]
    assert found[0]["metrics"]["1"]["n_pred"] == sum(mask.sum() for mask in masks)
    invoke(
        "export-maps", str(made.path), "--format", "png", "--output", str(tmp_path / "png"), "--no-progress"
    )
    assert (tmp_path / "png" / THOR / "anomaly" / "sub-000.png").is_file()


def test_nothing_is_overwritten_unasked_and_never_a_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    words = ["export-maps", str(run), "--no-progress"]
    assert "is not empty" in refused(invoke(*words, "--output", str(tmp_path)))
    assert "as a run does" in refused(invoke(*words, "--output", str(run), "--overwrite"))
    assert "did you mean" in refused(invoke(*words, "--cells", BLUR.replace("blur", "blurr")))
    assert invoke(*words, "--output", str(tmp_path), "--overwrite").exit_code == 0
    assert (tmp_path / "notes").read_text() == "mine"


def test_boxes_stand_in_the_index_and_are_compared_with_no_mask(tmp_path: Path) -> None:
    run = make_boxed_run(tmp_path / "run", n_lesion=2, n_healthy=1)
    done = invoke("export-maps", str(run), "--no-progress", "--cells", "blur*")
    assert done.exit_code == 0
    assert "a box is no mask" in done.stderr
    output = tmp_path / "run-maps"
    assert not (output / "truths").exists()
    assert not (output / BLUR / "summary.json").exists()
    assert (output / BLUR / "mask").is_dir()
    rows = {row["case_id"]: row for row in index_of(output)}
    assert json.loads(rows["w01"]["boxes"]) == [list(box) for box in boxes_of(1)]
    assert rows["w02"]["boxes"] == "[]", "healthy"
    assert rows["w01"]["truth"] == ""
