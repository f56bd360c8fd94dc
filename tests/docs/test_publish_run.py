"""What is published of a run: its small files, no folder of this machine, and the pairs that methods are part of."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from publish_run import COLUMNS, main, pairs, public_manifest
from support.runs import CELLS, make_run

from uadbench.reports.runs import load_run

THOR, BLUR, ASYMMETRY = CELLS[0], CELLS[-1], CELLS[-4]


def row(a: str, b: str, difference: float | None = 0.25) -> dict[str, Any]:
    return {"a": a, "b": b, "difference": difference, "lo": 0.125, "hi": None, "p_holm": 0.5, "n_subjects": 9}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "mine", cells=(THOR, ASYMMETRY, BLUR), n_lesion=2, n_healthy=1)


def test_the_files_are_small_and_name_no_folder_of_this_machine(run: Path, tmp_path: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    command = f"bench run --data-root {tmp_path}/data --output {run}"
    manifest |= {"command": command, "config": {"data_root": f"{tmp_path}/data"}}
    manifest["sessions"] = [{"command": command, "seconds": 1.0}]
    (run / "manifest.json").write_text(json.dumps(manifest))
    tables = {"shifts.csv", "boxes.csv", "volumes.csv"}
    for name in ("leaderboard.md", "leaderboard.csv", *tables):
        (run / name).write_text(name)
    (run / "fitted.json").write_text('{"autoddpm-gaussian-20": {"record": {"threshold": 0.5}}}')
    assert main([str(run), str(tmp_path / "record")]) == 0
    made = {path.name: path.read_text() for path in (tmp_path / "record").iterdir()}
    always = {"leaderboard.md", "leaderboard.csv", "manifest.json", "fitted.json", *tables}
    assert always <= set(made) <= {*always, "parity.json", "paired.csv"}
    assert {name: made[name] for name in tables} == {name: name for name in tables}
    assert json.loads(made["fitted.json"])["autoddpm-gaussian-20"]["record"] == {"threshold": 0.5}
    assert not [name for name, text in made.items() if str(tmp_path) in text]
    assert json.loads(made["manifest.json"])["command"] == "bench run --data-root data --output mine"


def test_pairs_are_those_of_a_method_and_are_named_without_the_one_back_end(run: Path) -> None:
    cells = {cell.slug: cell for cell in load_run(run).cells}
    thor, asymmetry, blur = cells
    tested = {"measures": {"dice_max": [row(thor, blur), row(asymmetry, blur), row(asymmetry, thor, None)]}}
    (found,) = csv.DictReader(io.StringIO(pairs(tested, cells)))
    assert tuple(found) == COLUMNS
    assert (found["a"], found["b"]) == (thor.removesuffix("-torch-fp32"), blur.removesuffix("-torch-fp32"))
    assert (found["difference"], found["hi"], found["n_subjects"]) == ("0.250000", "", "9")


def test_back_ends_stay_in_the_names_where_there_are_several(tmp_path: Path) -> None:
    run = make_run(tmp_path / "two", cells=CELLS[:2], n_lesion=1, n_healthy=1)
    cells = {cell.slug: cell for cell in load_run(run).cells}
    one, other = cells
    (found,) = csv.DictReader(io.StringIO(pairs({"measures": {"auprc": [row(one, other)]}}, cells)))
    assert (found["a"], found["b"]) == (one, other)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing"), str(tmp_path / "record")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert not (tmp_path / "record").exists()
    assert main([]) == 2


def test_a_manifest_keeps_what_is_no_place() -> None:
    manifest = {"command": "bench run", "config": {"limit": 3}, "sessions": [], "seed": 0}
    assert public_manifest(manifest) == manifest
