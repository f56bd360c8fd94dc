"""Which cases count as a cell's failures, what is said of them, and the picture of them."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.boxed import make_boxed_run
from support.faults import invoke, refused
from support.runs import CELLS, make_run

from uadbench.reports.failures import FALSE_ALARM, MISSED, find_failures
from uadbench.reports.runs import Cell, load_run
from uadbench.reports.store import RunDirectory


def cell_of(path: Path, cases: dict[str, dict[str, Any]], **more: Any) -> Cell:
    """A cell of lesion cases (those with a Dice) and healthy ones, each of a subject of its own unless it says so."""
    run = RunDirectory(path)
    run.write_manifest({"run_id": "r", "cells": ["c"]})
    run.cell("c").write_info({"kind": "method", "method": "c"})
    for case_id, figures in cases.items():
        lesion = figures.get("dice_at_max") is not None or bool(figures.get("boxes"))
        record = {"case_id": case_id, "subject": figures.pop("subject", case_id), "lesion": lesion}
        run.cell("c").append_case(record | {"split": "test", "status": "ok"})
    run.cell("c").write_summary({"n_cases": len(cases), "per_case": cases, **more}, {"n": 0})
    return load_run(path).cells[0]


def lesion(dice: float, false: int, group: str = "large", px: int = 600, **more: Any) -> dict[str, Any]:
    return {"dice_at_max": dice, "false_px": false, "group": group, "lesion_px": px, **more}


def chosen(cell: Cell, most: int = 3) -> dict[str, list[str]]:
    found = find_failures(cell, most)
    return {kind: [case.case_id for case in found if case.kind == kind] for kind in (MISSED, FALSE_ALARM)}


def test_the_lowest_dice_is_missed_most_and_of_equals_the_largest_lesion(tmp_path: Path) -> None:
    cases = {
        "good": lesion(0.9, 0),
        "zero": lesion(0.0, 0, px=600),
        "larger zero": lesion(0.0, 0, px=900),
        "poor": lesion(0.1, 0),
        "small": lesion(0.0, 0, "small", 20),
    }
    assert chosen(cell_of(tmp_path, cases))[MISSED] == ["larger zero", "zero", "poor"]


def test_small_lesions_are_taken_where_there_are_too_few_others(tmp_path: Path) -> None:
    cases = {"small": lesion(0.0, 0, "small", 20), "good": lesion(0.9, 0)}
    assert chosen(cell_of(tmp_path, cases))[MISSED] == ["good", "small"]


def test_false_alarms_are_healthy_cases_too_and_none_without_a_false_pixel(tmp_path: Path) -> None:
    healthy = {"dice_at_max": None, "group": None, "lesion_px": 0}
    cases = {
        "missed": lesion(0.0, 5000),
        "alarm": {**healthy, "false_px": 300},
        "lesion": lesion(0.9, 400),
        "quiet": {**healthy, "false_px": 0},
    }
    found = chosen(cell_of(tmp_path, cases), most=1)
    assert found == {MISSED: ["missed"], FALSE_ALARM: ["lesion"]}
    assert chosen(cell_of(tmp_path / "b", {"quiet": cases["quiet"], "alarm": cases["alarm"]})) == {
        MISSED: [],
        FALSE_ALARM: ["alarm"],
    }


def test_a_subject_is_shown_once(tmp_path: Path) -> None:
    """Neighbouring slices of one lesion are one failure."""
    cases = {f"slice {n}": lesion(0.0, 100, px=700 - n, subject="a") for n in range(3)}
    cases["other"] = lesion(0.5, 10, subject="b")
    assert chosen(cell_of(tmp_path, cases)) == {MISSED: ["slice 0", "other"], FALSE_ALARM: []}


def test_boxes_are_missed_by_their_share_found_and_alarm_by_false_components(tmp_path: Path) -> None:
    cases = {
        "one of two": {"boxes": ["a", "b"], "found": [True, False], "recall": 0.5, "false_positives": 9},
        "none": {"boxes": ["a"], "found": [False], "recall": 0.0, "false_positives": 0},
        "all": {"boxes": ["a"], "found": [True], "recall": 1.0, "false_positives": 7},
        "healthy": {"boxes": [], "found": [], "recall": None, "false_positives": 2},
    }
    cell = cell_of(tmp_path, cases, truth="boxes")
    assert chosen(cell) == {MISSED: ["none", "one of two"], FALSE_ALARM: ["all", "healthy"]}
    texts = {case.case_id: (case.what, case.outcome) for case in find_failures(cell)}
    assert texts["one of two"] == ("a, b", "1 of 2 found, 9 false")
    assert texts["healthy"] == ("healthy", "2 false")


def test_a_cell_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    assert find_failures(cell_of(tmp_path, {"a": {"dice": 0.1, "group": "large", "lesion_px": 600}})) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "mine", cells=CELLS[:2], n_lesion=6, n_healthy=3)


def test_the_command_prints_the_table_and_draws_one_cell(run: Path, tmp_path: Path) -> None:
    picture = tmp_path / "made.png"
    done = invoke("failures", str(run), "--cells", "thor*torch*", "--output", str(picture))
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    cell = load_run(run).cells[0]
    assert [(row["kind"], row["case"]) for row in rows] == [(f.kind, f.case_id) for f in find_failures(cell)]
    assert {row["kind"] for row in rows} == {MISSED, FALSE_ALARM}
    with Image.open(picture) as image:
        assert image.format == "PNG"
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 50
    assert picture.stat().st_size < 300_000
    before = picture.read_bytes()
    again = invoke("failures", str(run), "--cells", "thor*torch*", "--output", str(picture), "--overwrite")
    assert again.exit_code == 0
    assert picture.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--output", "x.jpg"], "no .png", id="another form"),
        pytest.param(["--output", "x.png"], "one cell", id="several cells"),
        pytest.param(["--cells", "nothing"], "nothing", id="no such cell"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(run: Path, words: list[str], said: str) -> None:
    assert said in refused(invoke("failures", str(run), *words))


def test_a_file_that_is_there_is_kept(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    words = ["--cells", "thor*torch*", "--output", str(tmp_path / "mine.png")]
    assert "--overwrite" in refused(invoke("failures", str(run), *words))
    assert (tmp_path / "mine.png").read_text() == "mine"


def test_boxes_are_drawn_too(tmp_path: Path) -> None:
    run = make_boxed_run(tmp_path / "run", n_lesion=3, n_healthy=2)
    slug = load_run(run).cells[0].slug
    done = invoke("failures", str(run), "--cells", slug, "--output", str(tmp_path / "boxes.png"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "boxes.png").stat().st_size > 0
