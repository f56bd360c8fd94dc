"""The run directory keeps what was written and survives torn writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uadbench.reports.store import (
    RunError,
    append_case,
    clear_partial,
    load_run,
    read_arrays,
    read_cases,
    read_input,
    read_json,
    repair_cases,
    write_arrays,
    write_input,
    write_json,
)


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ä"})
    assert (tmp_path / "a.json").read_bytes() == '{\n "a": "ä",\n "b": 1\n}\n'.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"{", "is not JSON", id="torn"),
        pytest.param(b"[1]", "holds a list", id="not an object"),
        pytest.param(b"\xff\xfe", "is not JSON", id="not text"),
    ],
)
def test_bad_json_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_json(tmp_path / "a.json")


def test_arrays_come_back_bit_identical_and_same_input_gives_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    anomaly, reconstruction = rng.random((2, 8, 8), dtype=np.float32)
    write_arrays(tmp_path / "one", "case-1", anomaly, reconstruction)
    write_arrays(tmp_path / "two", "case-1", anomaly, reconstruction)
    again = read_arrays(tmp_path / "one", "case-1")
    np.testing.assert_array_equal(again[0], anomaly)
    np.testing.assert_array_equal(again[1], reconstruction)
    one, two = (tmp_path / name / "arrays" / "case-1.npz" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_inputs_keep_image_and_mask(tmp_path: Path) -> None:
    image, mask = np.full((4, 4), 0.25, np.float32), np.eye(4, dtype=bool)
    write_input(tmp_path, "c.1", image, mask)
    read_image, read_mask = read_input(tmp_path, "c.1")
    assert read_image.dtype == np.float32
    assert read_mask.dtype == np.bool_
    np.testing.assert_array_equal(read_mask, mask)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b", "x\n"])
def test_a_case_id_cannot_lead_out_of_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="cannot name a file"):
        write_input(tmp_path, name, np.zeros((2, 2)), np.zeros((2, 2)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_a_damaged_array_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "arrays").mkdir()
    (tmp_path / "arrays" / "c.npz").write_bytes(content)
    with pytest.raises(RunError, match="cannot be read"):
        read_arrays(tmp_path, "c")


def test_the_last_record_of_a_case_wins_and_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    for case_id, status in (("a", "failed"), ("b", "ok"), ("a", "ok")):
        append_case(tmp_path, {"case_id": case_id, "status": status})
    with open(tmp_path / "cases.jsonl", "a") as file:
        file.write('{"case_id": "c", "sta')
    expected = [{"case_id": "a", "status": "ok"}, {"case_id": "b", "status": "ok"}]
    assert read_cases(tmp_path) == expected
    repair_cases(tmp_path)
    append_case(tmp_path, {"case_id": "d"})
    assert read_cases(tmp_path) == [*expected, {"case_id": "d"}]


def test_a_broken_line_that_is_not_the_last_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_text('{"case_id": "a"\n{"case_id": "b"}\n')
    with pytest.raises(RunError, match="line 1 is not a case record"):
        read_cases(tmp_path)


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    write_input(tmp_path, "a", np.zeros((2, 2)), np.zeros((2, 2)))
    (tmp_path / "inputs" / ".b.npz.77.tmp").write_bytes(b"half")
    clear_partial(tmp_path)
    assert [path.name for path in (tmp_path / "inputs").iterdir()] == ["a.npz"]


def test_a_run_is_read_whole_and_an_unbegun_cell_is_left_out(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"cells": ["blur", "thor"]})
    write_json(tmp_path / "cells" / "blur" / "cell.json", {"method": "blur"})
    append_case(tmp_path / "cells" / "blur", {"case_id": "a"})
    write_json(tmp_path / "cells" / "blur" / "metrics.json", {"n_cases": 1})
    run = load_run(tmp_path)
    assert [(cell.slug, cell.info["method"], len(cell.cases)) for cell in run.cells] == [("blur", "blur", 1)]
    assert run.cells[0].metrics == {"n_cases": 1}
    assert run.cells[0].latency is None
    assert run.parity is None


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param(None, "holds no manifest.json", id="none"),
        pytest.param({}, "has no list of cells", id="no cells"),
        pytest.param({"cells": ["../../etc"]}, "cannot name a file", id="path"),
    ],
)
def test_what_is_not_a_run_is_refused(tmp_path: Path, manifest: dict | None, message: str) -> None:
    if manifest is not None:
        write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(RunError, match=message):
        load_run(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        load_run(tmp_path / "absent")
