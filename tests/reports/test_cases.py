"""The table of single cases: everything in one row, as documented."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
from support.boxed import make_boxed_run
from support.faults import invoke, refused
from support.pages import code, page, table
from support.runs import CELLS, make_run

from uadbench.reports.cases import COLUMNS, CaseTableError, case_rows, write_cases
from uadbench.reports.runs import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "mine", cells=CELLS[:2], n_lesion=2, n_healthy=1)


def test_a_row_says_what_the_cell_is_what_the_case_is_and_what_came_of_it(run: Path) -> None:
    loaded = load_run(run)
    frame = case_rows([loaded])
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 2 * 3
    for cell in loaded.cells:
        rows = frame[frame["cell"] == cell.slug].set_index("case")
        for record in cell.cases:
            row = rows.loc[record["case_id"]]
            assert (row["run"], row["method"], row["backend"]) == ("mine", "thor", cell.info["backend"])
            assert row["latency_ms"] == record["latency_ms"]
            assert row["network_ms"] == record["stages_ms"]["network"]
            assert row["status"] == record["status"]
            assert (row["split"], row["scored"]) == (record["split"], record["split"] == "test")
            scores = cell.scores.get(record["case_id"])
            if scores is None:
                assert row["reason"].startswith("image is constant")
                assert pd.isna(row["dice"])
            else:
                assert row["score"] == scores["score"]
                assert (row["dice"] == scores["dice"]) if record["lesion"] else pd.isna(row["dice"])


def test_a_case_with_boxes_has_the_threshold_and_the_scores_of_boxes(tmp_path: Path) -> None:
    made = load_run(make_boxed_run(tmp_path / "run", n_lesion=2, n_healthy=1))
    frame = case_rows([made]).set_index(["cell", "case"])
    for cell in made.cells:
        metrics = cell.metrics or {}
        for case_id, scores in cell.scores.items():
            row = frame.loc[(cell.slug, case_id)]
            assert row["threshold"] == metrics["box_f1"]["threshold"] is not None
            assert row["boxes"] == ", ".join(scores["boxes"])
            assert row["box_false_positives"] == scores["false_positives"]
            if row["lesion"]:
                assert (row["box_f1"], row["box_recall"]) == (scores["f1"], scores["recall"])
            else:
                assert pd.isna(row["box_f1"])


def test_a_slice_of_a_volume_says_which(tmp_path: Path) -> None:
    made = load_run(make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=1, n_healthy=1))
    (cell,) = made.cells
    cell.directory.append_case({**cell.cases[0], "volume": "p07", "position": 0})
    frame = case_rows([load_run(made.path)])
    assert frame["volume"].fillna("").tolist() == ["p07", ""]
    assert frame["position"].iloc[0] == 0
    assert pd.isna(frame["position"].iloc[1])


def test_the_columns_are_those_of_the_page() -> None:
    assert [code(row["column"]) for row in table(page("in-and-out.md"), "case table")] == list(COLUMNS)


def test_the_command_prints_csv_and_writes_files_but_never_over_others(run: Path, tmp_path: Path) -> None:
    printed = invoke("cases", str(run))
    assert printed.exit_code == 0
    target = tmp_path / "cases.csv"
    assert invoke("cases", str(run), "--output", str(target)).exit_code == 0
    assert target.read_text() == printed.stdout
    assert len(pd.read_csv(target)) == 6
    assert "is there; name another file" in refused(invoke("cases", str(run), "--output", str(target)))
    assert invoke("cases", str(run), "--output", str(target), "--overwrite").exit_code == 0
    assert "neither .csv nor .parquet" in refused(
        invoke("cases", str(run), "--output", str(tmp_path / "c.xlsx"))
    )


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="needs the extra parquet")
def test_parquet_holds_the_same_table(run: Path, tmp_path: Path) -> None:
    frame = case_rows([load_run(run)])
    assert list(write_cases(frame, [tmp_path / "cases.parquet"])) == [tmp_path / "cases.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "cases.parquet"), frame)


def test_without_pyarrow_one_line_says_which_extra_and_no_file_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", missing)
    targets = [tmp_path / "cases.csv", tmp_path / "cases.parquet"]
    with pytest.raises(CaseTableError, match=r"uadbench\[parquet\]"):
        list(write_cases(case_rows([load_run(run)]), targets))
    words = ["cases", str(run), *(word for target in targets for word in ("--output", str(target)))]
    assert "uadbench[parquet]" in refused(invoke(*words))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("second", "words", "message"),
    [
        pytest.param("second.xlsx", (), "neither .csv nor .parquet", id="another ending"),
        pytest.param("there.csv", (), "is there; name another file", id="a file that is there"),
        pytest.param("folder.csv", ("--overwrite",), "is a folder", id="a folder"),
        pytest.param("first.csv", (), "is named twice", id="the same file"),
    ],
)
def test_what_refuses_the_second_file_leaves_the_first_unwritten(
    run: Path, tmp_path: Path, second: str, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    targets = ["--output", str(tmp_path / "first.csv"), "--output", str(tmp_path / second)]
    assert message in refused(invoke("cases", str(run), *targets, *words))
    assert {entry.name for entry in tmp_path.iterdir()} == {"there.csv", "folder.csv"}
    assert (tmp_path / "there.csv").read_text() == "mine"
