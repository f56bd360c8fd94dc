"""Box scores stand in every table, file and picture of a run whose truth is boxes, and scores of masks do not."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.boxed import LABELS, boxes_of, make_boxed_run
from support.runs import CELLS, make_run

import uadbench
from uadbench.bench.compare.measures import default_of
from uadbench.bench.compare.runs import compare_runs
from uadbench.reports.boxes import COLUMNS
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import load_run
from uadbench.reports.text import markdown, terminal_table
from uadbench.reports.vocabulary import MEASURES

CLASSES = sorted((*LABELS, "foreignbody"))


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_boxed_run(tmp_path_factory.mktemp("boxed") / "run")


@pytest.fixture(scope="module")
def written(boxed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    write_reports([boxed], folder)
    return folder


def shown(frame: pd.DataFrame) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal_table(frame))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_csv_has_the_columns_of_boxes_and_none_of_masks(written: Path) -> None:
    frame = pd.read_csv(written / "leaderboard.csv")
    scores = {name for name in MEASURES if name in frame}
    assert scores == {name for name, measure in MEASURES.items() if measure.applies_to("boxes")}
    assert not [name for name in frame if "dice" in name]
    assert frame["truth"].tolist() == ["boxes"] * 3
    assert frame["method"].tolist() == ["thor", "ddpm", "blur"]  # best F1 first, floors last


def test_a_run_with_masks_has_no_column_of_boxes(tmp_path: Path) -> None:
    frame = rows_of([load_run(make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1))])
    assert not [name for name in frame if "box" in name or "froc" in name or name == "truth"]


def test_the_classes_stand_in_a_file_of_their_own(written: Path, boxed: Path) -> None:
    frame = pd.read_csv(written / "boxes.csv")
    assert list(frame) == list(COLUMNS)
    assert sorted(set(frame["class"])) == CLASSES
    metrics = load_run(boxed).cells[0].metrics
    assert metrics
    row = frame[(frame["method"] if "method" in frame else frame["cell"]) == load_run(boxed).cells[0].slug]
    entry = row[row["class"] == "metal"].iloc[0]
    assert entry["recall"] == pytest.approx(metrics["by_class"]["metal"]["recall"]["value"], abs=1e-5)
    assert entry["n_boxes"] == sum(label == "metal" for i in range(14) for label, *_ in boxes_of(i))


def test_tables_lead_with_f1_and_have_no_dice(boxed: Path) -> None:
    run = load_run(boxed)
    frame = rows_of([run])
    text = shown(frame)
    assert re.search(r"method\s+#\s+F1\s+95 %", text)
    assert "Dice" not in text
    lines = markdown([run], frame).splitlines()
    head = next(line for line in lines if line.startswith("| method | back end"))
    assert "Box F1" in head
    assert "Dice" not in head
    classes = next(line for line in lines if line.startswith("| method | ") and "metal" in line)
    assert [name for name in CLASSES if name in classes] == CLASSES


def test_the_ranks_are_by_f1(boxed: Path) -> None:
    frame = rows_of([load_run(boxed)])
    assert frame["rank_box_f1"].tolist() == [1, 2, 3]
    assert set(frame["rank_note"]) == {"no ranks, for fewer than 10 subjects: AUROC"}  # of the healthy ones


def test_the_page_draws_the_boxes_and_has_classes_and_froc(written: Path) -> None:
    html = (written / "leaderboard.html").read_text()
    label, top, left, bottom, right = boxes_of(1)[0]
    assert f"M{left},{top}H{right}V{bottom}H{left}Z" in html
    assert f"truth, {label}" in html
    assert "By class" in html
    assert "Boxes found over false positives an image" in html
    assert "1 of 1 found" in html
    assert "Max Dice" not in html.split('id="measured"')[0]


def test_masks_and_boxes_stand_in_one_report_each_with_its_own_columns(boxed: Path, tmp_path: Path) -> None:
    masks = make_run(tmp_path / "masks", cells=CELLS[:1], n_lesion=3, n_healthy=1, parity=False)
    runs = [load_run(boxed), load_run(masks)]
    frame = rows_of(runs)
    text = shown(frame)
    assert re.search(r"#\s+F1\s+95 %", text)
    assert re.search(r"#\s+Dice\s+95 %", text)
    heads = [line for line in markdown(runs, frame).splitlines() if line.startswith("| method | back end")]
    assert sorted("Box F1" in head for head in heads) == [False, True]
    assert sorted("Max Dice" in head for head in heads) == [False, True]
    write_reports([boxed, masks], tmp_path / "both")


def test_methods_are_compared_by_box_scores_against_the_best(boxed: Path) -> None:
    run = load_run(boxed)
    wanted = default_of([run])
    assert wanted[:4] == ("box_f1", "box_f1_papers", "box_recall", "froc_mean")
    found = compare_runs([run], wanted, n_boot=200)
    assert {one.pair.a.variant.method for one in found.pairs} == {"thor"}
    for one in found.pairs:
        f1 = next(row for row in one.rows if row.measure == "box_f1")
        assert f1.change is not None
        assert f1.change.value < 0


def test_the_cases_of_a_loaded_run_have_their_boxes(boxed: Path) -> None:
    cases = uadbench.load_run(boxed).cases
    row = cases[(cases["case"] == "w00") & (cases["method"] == "thor")].iloc[0]
    assert row["boxes"] == ["fracture", "foreignbody"]
    assert row["found"] == [True, True]
    assert row["recall"] == 1
    assert "dice" not in cases
