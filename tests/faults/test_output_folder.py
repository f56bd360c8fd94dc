"""An output folder that is shared with other files, or data that are broken: what is not the run's is left alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.faults import invoke, make_slices

from uadbench.reports.atomic import read_json

RUN = (
    "run",
    "--methods",
    "blur",
    "--dataset",
    "folder",
    "--no-progress",
    "--threads",
    "1",
    "--set",
    "n_boot=10",
)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slices(tmp_path_factory.mktemp("data") / "slices", {"train": 3, "test": 4})


def test_overwrite_in_a_folder_with_a_manifest_of_another_kind_deletes_nothing(
    slices: Path, tmp_path: Path
) -> None:
    mine = {
        "manifest.json": '{"name": "my app"}',
        "inputs/a.npz": "a",
        "cells/b": "b",
        ".x.tmp": "c",
        ".lock": "d",
    }
    for name, content in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    result = invoke(*RUN, "--data-root", str(slices), "--output", str(tmp_path), "--overwrite")
    assert result.exit_code == 2
    assert "its manifest.json is not a run's; give another --output" in result.output
    assert {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == mine


def test_what_others_left_in_a_run_is_untouched_by_resuming_and_overwriting(
    slices: Path, tmp_path: Path
) -> None:
    arguments = (*RUN, "--data-root", str(slices), "--output", str(tmp_path / "run"))
    assert invoke(*arguments).exit_code == 0
    mine = (".lock", ".x.tmp", "notes.txt", "photos/.y.77.tmp")
    for name in mine:
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    (tmp_path / "run" / ".manifest.json.77.tmp").write_text("half")
    for more in ((), ("--overwrite",)):
        assert invoke(*arguments, *more).exit_code == 0
        assert [(tmp_path / "run" / name).read_text() for name in mine] == ["mine"] * 4
    assert not (tmp_path / "run" / ".manifest.json.77.tmp").exists()


def test_broken_training_cases_are_counted_and_named_in_the_record(slices: Path, tmp_path: Path) -> None:
    data = shutil.copytree(slices, tmp_path / "data")
    (data / "train1.npy").write_bytes(b"no array")
    result = invoke(*RUN, "--data-root", str(data), "--output", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert "1 healthy slices cannot be read and are left out of the floors' median" in result.output
    (session,) = read_json(tmp_path / "run" / "manifest.json")["sessions"]
    assert (session["prior"]["split"], session["prior"]["n"]) == ("train", 2)
    (failed,) = session["prior"]["failed"]
    assert failed["case_id"] == "train1"
    assert failed["reason"].startswith("train1.npy: ")


def test_without_a_healthy_slice_a_floor_does_not_apply_and_the_run_is_no_failure(tmp_path: Path) -> None:
    data = make_slices(tmp_path / "data", {"test": 4})
    result = invoke(*RUN, "--data-root", str(data), "--output", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    cells = {
        name: tmp_path / "run" / "cells" / f"{name}-none-0-torch-fp32" for name in ("residual-median", "blur")
    }
    reason = read_json(cells["residual-median"] / "cell.json")["not_applicable"]
    assert reason == "the data set has no healthy training or validation slice to take a median of"
    assert not (cells["residual-median"] / "cases.jsonl").exists()
    assert len((cells["blur"] / "cases.jsonl").read_text().splitlines()) == 4
    text = (tmp_path / "run" / "leaderboard.md").read_text()
    assert text.count("Not applicable: residual-median: ") == 1
    again = invoke(*RUN, "--data-root", str(data), "--output", str(tmp_path / "run"))
    assert again.exit_code == 0, again.output


def test_a_run_whose_cell_json_is_half_written_is_taken_up(slices: Path, tmp_path: Path) -> None:
    arguments = (*RUN, "--data-root", str(slices), "--output", str(tmp_path / "run"))
    assert invoke(*arguments).exit_code == 0
    cell = tmp_path / "run" / "cells" / "blur-none-0-torch-fp32"
    whole = json.loads((cell / "cell.json").read_text())
    for content in ('{"method": "bl', "{}", "[]"):
        (cell / "cell.json").write_text(content)
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        assert json.loads((cell / "cell.json").read_text()) == whole
