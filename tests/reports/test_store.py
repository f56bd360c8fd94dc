"""The run directory keeps what was written, survives torn writes, and touches nothing that is not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.stored import change_lines, sealed

from uadbench.reports.atomic import RunError, write_json
from uadbench.reports.shards import Shards
from uadbench.reports.store import LOCK, CellDirectory, RunDirectory

ARRAYS = np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)


def test_arrays_and_inputs_come_back_as_they_were(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    sha256 = run.cell("blur").write_arrays("case-1", *ARRAYS)
    for found, wanted in zip(run.cell("blur").read_arrays("case-1", sha256), ARRAYS, strict=True):
        np.testing.assert_array_equal(found, wanted)
    run.write_input("c.1", np.full((4, 4), 0.25), np.eye(4))
    image, mask = run.read_input("c.1")
    assert (image.dtype, mask.dtype) == (np.float32, np.bool_)
    np.testing.assert_array_equal(mask, np.eye(4, dtype=bool))


BOXES = [("fracture", 1, 2, 3, 4), ("periosteal réaction", 0, 0, 4, 4)]


@pytest.mark.parametrize("boxes", [None, [], BOXES], ids=["a mask", "healthy", "two"])
def test_boxes_come_back_as_they_were_and_a_mask_has_none(tmp_path: Path, boxes: list | None) -> None:
    run = RunDirectory(tmp_path)
    run.write_input("c", np.zeros((4, 4)), np.zeros((4, 4)), boxes)
    assert run.read_boxes("c") == boxes
    assert run.read_input("c")[0].shape == (4, 4)
    with pytest.raises(RunError):
        run.read_boxes("d")


def test_another_cases_arrays_do_not_stand_in_for_its_own(tmp_path: Path) -> None:
    cell = CellDirectory(tmp_path)
    sha256 = cell.write_arrays("a", *ARRAYS)
    cell.write_arrays("b", *ARRAYS[::-1])
    other = Shards(tmp_path / "arrays").places["b"]
    change_lines(
        tmp_path / "arrays" / "index.jsonl", lambda line: {**msgspec.to_builtins(other), "key": line["key"]}
    )
    with pytest.raises(RunError, match="is not what was written"):
        CellDirectory(tmp_path).read_arrays("a", sha256)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "x\n", "a" * 201, "/etc/passwd"])
def test_neither_a_case_nor_a_cell_can_lead_out_of_the_run(tmp_path: Path, name: str) -> None:
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(RunError, match="cannot name a file"):
        run.write_input(name, np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(RunError, match="cannot name a file"):
        run.cell("blur").write_arrays(name, np.zeros((2, 2)), np.zeros((2, 2)))
    with pytest.raises(RunError, match="cannot name a file"):
        run.cell(name)
    assert list(tmp_path.iterdir()) == []


def test_the_last_record_of_a_case_wins_and_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    cell = CellDirectory(tmp_path)
    for case_id, status in (("a", "failed"), ("b", "ok"), ("a", "ok")):
        cell.append_case({"case_id": case_id, "status": status})
    with open(tmp_path / "cases.jsonl", "a") as file:
        file.write('{"case_id": "c", "sta')
    expected = [{"case_id": "a", "status": "ok"}, {"case_id": "b", "status": "ok"}]
    assert cell.read_cases() == expected
    cell.repair_cases()
    cell.append_case({"case_id": "d", "status": "ok"})
    assert cell.read_cases() == [*expected, {"case_id": "d", "status": "ok"}]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"case_id": "b"', id="torn"),
        pytest.param(b"\x00\x00\x00", id="zeros"),
        pytest.param(b"\xff\xfe", id="not text"),
        pytest.param(b"[1, 2]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"case_id": "b", "status": "ok"}', id="without a checksum"),
        pytest.param(sealed(b'{"status": "ok"}').rstrip(), id="without a case"),
        pytest.param(sealed(b'{"case_id": "b"}').rstrip(), id="without a status"),
        pytest.param(sealed(b'{"case_id": ["b"], "status": "ok"}').rstrip(), id="a case that is a list"),
        pytest.param(
            sealed(b'{"case_id": "b", "status": "ok"}').rstrip().replace(b'"b"', b'"d"'), id="changed inside"
        ),
        pytest.param(b"[" * 100_000, id="nested too deep"),
    ],
)
def test_a_line_that_is_none_stands_for_no_case_wherever_it_stands(tmp_path: Path, line: bytes) -> None:
    cell = CellDirectory(tmp_path)
    cell.append_case({"case_id": "a", "status": "ok"})
    with open(tmp_path / "cases.jsonl", "ab") as file:
        file.write(line + b"\n")
    cell.append_case({"case_id": "c", "status": "ok"})
    assert [record["case_id"] for record in cell.read_cases()] == ["a", "c"]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b'{"n_case', b"\xff", b"[" * 100_000])
def test_a_summary_that_is_not_whole_counts_as_missing(tmp_path: Path, content: bytes) -> None:
    cell = CellDirectory(tmp_path)
    cell.write_summary({"n_cases": 1}, {"n": 1})
    assert (cell.metrics, cell.latency) == ({"n_cases": 1}, {"n": 1})
    for name in ("metrics.json", "latency.json", "warmup.json", "cell.json"):
        (tmp_path / name).write_bytes(content)
    assert (cell.metrics, cell.latency, cell.warm_up) == (None, None, {})
    assert not cell.begun
    cell.drop_summary()
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(
    ("manifest", "is_run"),
    [
        pytest.param({"run_id": "a", "cells": []}, True, id="ours"),
        pytest.param({"name": "my-app", "version": 3}, False, id="of a browser extension"),
        pytest.param({"run_id": 3, "cells": []}, False, id="a number for an identity"),
        pytest.param({"run_id": "a"}, False, id="no cells"),
    ],
)
def test_a_run_is_known_by_its_identity(tmp_path: Path, manifest: dict[str, Any], is_run: bool) -> None:
    write_json(tmp_path / "manifest.json", manifest)
    assert RunDirectory(tmp_path).has_manifest
    assert RunDirectory(tmp_path).is_run is is_run


def test_a_folders_names_are_foreign_unless_a_lock_says_that_a_run_was_here(tmp_path: Path) -> None:
    for name in ("inputs", "notes.txt", "leaderboard.md", ".a.json.77.tmp", ".x.tmp"):
        (tmp_path / name).touch()
    run = RunDirectory(tmp_path)
    assert run.foreign() == [".x.tmp", "inputs", "leaderboard.md", "notes.txt"]
    (tmp_path / LOCK).touch()
    assert run.foreign() == [".x.tmp", "notes.txt"]


def test_leftovers_of_a_killed_process_go_and_what_others_left_stays(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_input("a", np.zeros((2, 2)), np.zeros((2, 2)))
    ours = ("inputs/.checked.json.77.tmp", ".manifest.json.77.tmp", ".cells.78.tmp/blur/cell.json")
    theirs = (".x.tmp", "notes.77.tmp", "photos/.y.77.tmp")
    for name in (*ours, *theirs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    run.clear_partial()
    assert not [name for name in ours if (tmp_path / name).exists()]
    assert all((tmp_path / name).read_bytes() == b"half" for name in theirs)
    assert run.read_input("a")[0].shape == (2, 2)


def test_the_median_is_kept_with_what_it_was_made_of(tmp_path: Path) -> None:
    run, record = RunDirectory(tmp_path), {"split": "train", "n": 3, "failed": []}
    run.write_median(ARRAYS[0], record)
    median, found = run.read_median()
    np.testing.assert_array_equal(median, ARRAYS[0])
    assert found == record
    (tmp_path / "median.npz").write_bytes(b"torn")
    with pytest.raises(RunError, match="damaged"):
        run.read_median()


def test_verdicts_on_other_results_go_together(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert (run.parity, run.paired) == (None, None)
    run.write_parity({"a": {"verdict": "pass"}})
    run.write_paired({"measures": {}})
    assert run.paired == {"measures": {}}
    assert {"parity.json", "paired.json"} <= set(run.content)
    run.drop_verdicts()
    assert (run.parity, run.paired) == (None, None)
    (tmp_path / "paired.json").write_text('{"draws": 5')
    assert run.paired is None
