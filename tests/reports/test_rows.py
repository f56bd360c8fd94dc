"""Runs as one table: a row a cell, and nothing in it that was not computed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.files import edit
from support.runs import CELLS, make_run

from uadbench.reports.atomic import RunError
from uadbench.reports.leaderboard import rows, write_reports
from uadbench.reports.rows import subset
from uadbench.reports.vocabulary import MEASURES


def pick(frame: pd.DataFrame, cell: str) -> pd.Series:
    return frame[frame["cell"] == cell].iloc[0]


def test_rows_are_methods_then_floors_best_first(run: Path) -> None:
    """Within a data set the frame lists methods before floors, each by falling pooled Dice."""
    frame = rows([run])
    kinds = list(frame["kind"])
    assert kinds == ["method"] * kinds.count("method") + ["floor"] * kinds.count("floor")
    for kind in ("method", "floor"):
        assert frame[frame["kind"] == kind]["dice_max"].is_monotonic_decreasing


def test_null_is_missing_and_never_zero(tmp_path: Path) -> None:
    """A score that could not be computed is NaN in the frame, empty in the CSV and a dash in print."""
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=3, n_healthy=0)
    none = {"value": None, "lo": None, "hi": None}
    edit(path / "cells" / "thor-gaussian-25-torch-fp32" / "metrics.json", auroc_image=none, dice_small=None)
    frame = rows([path])
    assert frame[["auroc_image", "dice_small", "dice_small_n"]].isna().all(axis=None)
    write_reports([path], tmp_path)
    lines = (tmp_path / "leaderboard.md").read_text().splitlines()
    head = next(line for line in lines if line.startswith("| method |")).split(" | ")
    line = next(line for line in lines if line.startswith("| THOR"))
    heads = [MEASURES[name].title for name in ("auroc_image", "dice_small")]
    assert [line.split(" | ")[head.index(title)] for title in heads] == ["–", "–"]


@pytest.mark.parametrize(
    ("cell", "value", "note"),
    [
        pytest.param("thor-gaussian-25-onnxruntime-fp32", True, "", id="parity passed"),
        pytest.param(
            "thor-gaussian-25-openvino-bf16", False, "parity fail: max Dice differs", id="parity failed"
        ),
        pytest.param("thor-gaussian-25-torch-fp32", False, "the reference", id="reference"),
        pytest.param("blur-none-0-torch-fp32", False, "no network", id="floor"),
    ],
)
def test_a_speed_up_needs_parity(run: Path, cell: str, value: bool, note: str) -> None:
    """Speed-up = median of torch fp32 / median of the cell, of the same method in the same run, parity passed."""
    row = pick(rows([run]), cell)
    assert note in row["speedup_note"]
    if value:
        reference = pick(rows([run]), "thor-gaussian-25-torch-fp32")
        assert row["speedup"] == pytest.approx(reference["latency_ms_p50"] / row["latency_ms_p50"])
    else:
        assert pd.isna(row["speedup"])


def test_without_a_parity_file_no_speed_up_is_shown(tmp_path: Path) -> None:
    """A missing verdict counts as unchecked."""
    path = make_run(tmp_path / "run", parity=False, n_lesion=3, n_healthy=1, cells=CELLS[:2])
    row = pick(rows([path]), "thor-gaussian-25-onnxruntime-fp32")
    assert pd.isna(row["speedup"])
    assert row["speedup_note"] == "parity was not checked"


def test_another_step_count_is_not_the_reference(tmp_path: Path) -> None:
    """A cell is never held against torch fp32 of a different sampler."""
    slow = ("thor", "gaussian", "paper", "torch", "fp32", "method", 0.4, 9000.0, 350)
    path = make_run(tmp_path / "run", cells=(slow, CELLS[1]), n_lesion=3, n_healthy=1)
    row = pick(rows([path]), "thor-gaussian-25-onnxruntime-fp32")
    assert row["speedup_note"] == "this run has no torch fp32 cell of the method"


def test_a_run_given_twice_is_refused(run: Path) -> None:
    """Doubling a run would double its rows."""
    with pytest.raises(RunError, match="given more than once"):
        rows([run, run])


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        pytest.param({"n_test": 24, "n_test_all": 617}, "24 of 617 test cases", id="a part"),
        pytest.param({"n_test": 617, "n_test_all": 617}, "", id="all"),
        pytest.param({}, "", id="a record of the first schema"),
    ],
)
def test_a_part_of_the_test_split_is_called_one(dataset: dict[str, int], said: str) -> None:
    assert subset(dataset) == said


def test_rows_carry_all_that_tells_variants_and_arms_apart(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    info = path / "cells" / "thor-gaussian-25-torch-fp32" / "cell.json"
    edit(info, settings={"window": 9}, seed=4, device="cuda", perceptual="lpips-squeeze")
    row = rows([path]).iloc[0]
    assert row["variant"] == "THOR · gaussian · 25 steps · window 9 · lpips-squeeze · seed 4"
    assert row["arm"] == "torch fp32 cuda"
    assert (row["settings"], row["seed"], row["device"]) == ('{"window": 9}', 4, "cuda")
    assert (row["perceptual"], row["threads"], row["version"]) == ("lpips-squeeze", 2, "0.1.0")


def test_a_cell_that_does_not_apply_is_a_row_with_the_reason(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "run", cells=CELLS[-2:], n_lesion=2, n_healthy=1, not_applicable={"blur": "no median here"}
    )
    row = pick(rows([path]), "blur-none-0-torch-fp32")
    assert row["not_applicable"] == "no median here"
    assert row[["dice_max", "n_cases", "latency_ms_p50"]].isna().all()


def test_another_variant_is_not_the_reference(tmp_path: Path) -> None:
    """Two THORs that differ in a setting or a seed are never held against each other."""
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=2, n_healthy=1)
    slug = "thor-gaussian-25-onnxruntime-fp32"
    assert pd.notna(pick(rows([path]), slug)["speedup"])
    for change in ({"settings": {"window": 9}}, {"settings": {}, "seed": 1}):
        edit(path / "cells" / slug / "cell.json", **change)
        assert pick(rows([path]), slug)["speedup_note"] == "this run has no torch fp32 cell of the method"


def test_no_speedup_where_a_run_was_taken_up_elsewhere_or_timed_under_load(tmp_path: Path) -> None:
    slug = "thor-gaussian-25-onnxruntime-fp32"
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=3, n_healthy=1)
    assert pick(rows([path]), slug)["speedup"] > 1
    manifest = path / "manifest.json"
    sound = manifest.read_text()
    edit(manifest, sessions=[{"environment": {"cpu": "another"}}])
    assert "another machine" in pick(rows([path]), slug)["speedup_note"]
    manifest.write_text(sound)
    edit(path / "cells" / slug / "latency.json", load_max=9.5)
    row = pick(rows([path]), slug)
    assert pd.isna(row["speedup"])
    assert "load 9.5" in row["speedup_note"]


def test_an_arm_on_a_gpu_is_held_against_torch_on_that_gpu(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=3, n_healthy=1)
    for cell in (path / "cells").iterdir():
        edit(cell / "cell.json", device="cuda")
    frame = rows([path])
    assert pick(frame, "thor-gaussian-25-onnxruntime-fp32")["speedup"] > 1
    assert pick(frame, "thor-gaussian-25-torch-fp32")["speedup_note"] == "the reference"
