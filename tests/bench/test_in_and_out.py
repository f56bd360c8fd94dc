"""One real run, and what comes out of it by other ways: predictions, scores and maps are the run's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.faults import invoke, make_slices, refused

from uadbench.datasets.readers import read_slice
from uadbench.engine.methods import FLOORS
from uadbench.reports.runs import load_run

DDPM = "ddpm-gaussian-2-torch-fp32"
ALIKE = ["--steps", "2", "--batch-size", "1", "--threads", "1"]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data`, of which one case cannot be read, and `run`."""
    folder = tmp_path_factory.mktemp("here")
    make_slices(folder / "data", {"val": 1, "test": 3})
    (folder / "data" / "test1.npy").write_bytes(b"no")
    words = ["run", "--methods", "ddpm", "--dataset", "folder", "--data-root", str(folder / "data"), *ALIKE]
    done = invoke(*words, "--set", "n_boot=20", "--no-progress", "--output", str(folder / "run"))
    assert done.exit_code == 1, done.output
    return folder


def test_a_prediction_is_to_the_byte_what_a_run_computes_for_the_same_slice(here: Path) -> None:
    words = ["predict", "--method", "ddpm", "--input", str(here / "data"), "--pattern", "test?.npy", *ALIKE]
    done = invoke(
        *words, "--output", str(here / "predicted"), "--threshold-from", str(here / "run"), "--no-progress"
    )
    assert done.exit_code == 1
    run = load_run(here / "run")
    cell = next(cell for cell in run.cells if cell.slug == DDPM)
    threshold = (cell.metrics or {})["dice_healthy_fpr5"]["threshold"]
    for case_id in ("test0", "test2"):
        anomaly, _ = cell.arrays(case_id)
        assert np.load(here / "predicted" / f"{case_id}_anomaly.npy").tobytes() == anomaly.tobytes()
        mask = np.load(here / "predicted" / f"{case_id}_mask.npy")
        np.testing.assert_array_equal(mask == 1, anomaly > np.float32(threshold))
    entries = {
        entry["case_id"]: entry
        for entry in json.loads((here / "predicted/predictions.json").read_text())["files"]
    }
    assert entries["test1"]["status"] == "failed"


@pytest.mark.parametrize("floor", ["residual-median", "zscore"])
def test_a_floor_takes_the_healthy_slices_of_the_run(here: Path, tmp_path: Path, floor: str) -> None:
    words = ["predict", "--method", floor, "--input", str(here / "data" / "test0.npy"), *ALIKE[2:]]
    done = invoke(
        *words, "--output", str(tmp_path / "out"), "--threshold-from", str(here / "run"), "--no-progress"
    )
    assert done.exit_code == 0, done.output
    cell = next(cell for cell in load_run(here / "run").cells if cell.info["method"] == floor)
    assert np.load(tmp_path / "out" / "test0_anomaly.npy").tobytes() == cell.arrays("test0")[0].tobytes()


def test_a_threshold_of_another_method_or_weights_is_refused(here: Path, tmp_path: Path) -> None:
    words = ["predict", "--input", str(here / "data"), "--output", str(tmp_path / "out"), "--threshold-from"]
    assert "has no DDPM · gaussian · 3 steps; it has" in refused(
        invoke(*words, str(here / "run"), "--method", "ddpm", "--steps", "3")
    )
    manifest = json.loads((here / "run/manifest.json").read_text())
    manifest["checkpoints"]["unet-gaussian"]["sha256"] = "0" * 64
    other = tmp_path / "other"
    (other / "cells" / DDPM).mkdir(parents=True)
    (other / "manifest.json").write_text(json.dumps(manifest))
    (other / "cells" / DDPM / "cell.json").write_bytes((here / "run/cells" / DDPM / "cell.json").read_bytes())
    line = refused(invoke(*words, str(other), "--method", "ddpm", "--steps", "2"))
    assert "made with other weights of unet-gaussian" in line
    manifest = json.loads((here / "run/manifest.json").read_text())
    manifest["dataset"]["preprocessing"]["scaled"] = "volume"
    (other / "manifest.json").write_text(json.dumps(manifest))
    line = refused(invoke(*words, str(other), "--method", "ddpm", "--steps", "2"))
    assert "pre-processed otherwise (scaled)" in line


def test_scored_again_unchanged_the_metrics_are_those_of_the_run_to_the_byte(here: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (here / "run").rglob("*")}
    done = invoke("rescore", str(here / "run"), "--no-progress")
    assert done.exit_code == 0, done.output
    cells = load_run(here / "run").cells
    assert len(cells) == 1 + len(FLOORS)
    for cell in cells:
        own = (cell.directory.path / "metrics.json").read_bytes()
        assert (here / "run-rescored" / "metrics" / f"{cell.slug}.json").read_bytes() == own
    assert {path: path.stat().st_mtime_ns for path in (here / "run").rglob("*")} == before, (
        "the run is only read"
    )


def test_scored_again_otherwise_only_what_was_asked_for_is_there(here: Path, tmp_path: Path) -> None:
    words = [
        "rescore",
        str(here / "run"),
        "--cells",
        "blur*",
        "--output",
        str(tmp_path / "out"),
        "--no-progress",
    ]
    done = invoke(*words, "--measures", "dice_max,dice_fitted", "--post", "behrendt", "--n-boot", "7")
    assert done.exit_code == 0, done.output
    assert "no threshold of behrendt was fitted in this run" in done.stderr
    lines = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["dice_max", "dice_fitted"]
    (found,) = (tmp_path / "out" / "metrics").iterdir()
    assert found.name == "blur-none-0-behrendt-torch-fp32.json"
    metrics = json.loads(found.read_text())
    assert metrics["dice_fitted"]["value"] is None
    assert "auprc" not in metrics
    assert json.loads((tmp_path / "out" / "rescored.json").read_text())["changed"]["n_boot"] == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--measures", "dice_mx"], "did you mean 'dice_max'", id="measure"),
        pytest.param(["--post", "median"], "unknown post-processing 'median'", id="post"),
        pytest.param(["--cells", "nothing"], "unknown cell 'nothing'", id="cell"),
        pytest.param(["--output", "RUN"], "as a run does, which stays as it is", id="into the run"),
    ],
)
def test_what_cannot_be_scored_again_is_one_line(here: Path, words: list[str], message: str) -> None:
    typed = [str(here / "run") if word == "RUN" else word for word in words]
    assert message in refused(invoke("rescore", str(here / "run"), *typed, "--overwrite", "--no-progress"))


def test_an_exported_map_is_the_runs(here: Path, tmp_path: Path) -> None:
    words = ["export-maps", str(here / "run"), "--cells", DDPM, "--output", str(tmp_path), "--no-progress"]
    assert invoke(*words).exit_code == 0
    cell = next(cell for cell in load_run(here / "run").cells if cell.slug == DDPM)
    np.testing.assert_array_equal(
        read_slice(tmp_path / DDPM / "anomaly/test0.nii.gz"), cell.arrays("test0")[0]
    )
