"""A run directory is held by one process, keeps one identity, and can be taken up after a kill at any moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from uadbench.bench.run.directory import locked, note_session, prepare_run
from uadbench.bench.run.run import _other_circumstances
from uadbench.bench.run.timing import Stopwatch
from uadbench.reports import store
from uadbench.reports.atomic import RunError, read_json, write_json
from uadbench.reports.store import LOCK, SCHEMA, RunDirectory


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    run, busy = RunDirectory(tmp_path / "run"), "another process is writing this run"
    with locked(run), pytest.raises(RunError, match=busy), locked(RunDirectory(tmp_path / "run")):
        pass
    with locked(run):
        pass


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is not empty and holds no run"), locked(RunDirectory(tmp_path)):
        pass
    with pytest.raises(RunError, match="is a file"), locked(RunDirectory(tmp_path / "thesis.tex")):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def manifest(
    identity: str, seed: int = 0, fingerprint: str = "f", size: int = 128, root: str = "here"
) -> dict[str, Any]:
    return {
        "run_id": identity,
        "config": {"seed": seed, "methods": ["thor"], "data_root": root},
        "dataset": {"fingerprint": fingerprint, "preprocessing": {"size": size}},
        "cells": ["blur"],
        "sessions": [],
        "schema": SCHEMA,
    }


@pytest.mark.parametrize(
    ("other", "message"),
    [
        pytest.param(manifest("b", seed=1), r"\(other seed\)", id="config"),
        pytest.param(manifest("b", seed=1, root="there"), r"\(other seed\)", id="config and place"),
        pytest.param(
            manifest("b", fingerprint="g", root="there"), "the data set has changed", id="data elsewhere"
        ),
        pytest.param(
            manifest("b", size=64), "the pre-processing of the data has changed", id="pre-processing"
        ),
        pytest.param(manifest("b", fingerprint="g"), "the data set has changed", id="data"),
        pytest.param(manifest("b"), "weights have changed", id="weights"),
    ],
)
def test_another_run_is_refused_with_the_difference_named(tmp_path: Path, other: dict, message: str) -> None:
    assert prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False) == manifest("a")
    with pytest.raises(RunError, match=message):
        prepare_run(RunDirectory(tmp_path), other, overwrite=False)
    assert prepare_run(
        RunDirectory(tmp_path), {**manifest("a"), "created": "later"}, overwrite=False
    ) == manifest("a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variance": "exact"}, r"\(other variance\)"),
        ({"seed": 1}, r"\(other seed\)"),
    ],
)
def test_a_setting_that_an_older_run_did_not_know_had_its_default(
    tmp_path: Path, settings: dict, message: str
) -> None:
    prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    other = manifest("b")
    with pytest.raises(RunError, match=message):
        prepare_run(RunDirectory(tmp_path), {**other, "config": {**other["config"], **settings}}, False)


def test_a_run_of_an_earlier_version_gains_the_floors_that_have_come_since(tmp_path: Path) -> None:
    """They are listed, before the directory is worked on; what is there stays, also what is no longer asked for."""
    run = RunDirectory(tmp_path)
    prepare_run(run, {**manifest("a"), "cells": ["blur", "gone", "thor"]}, overwrite=False)
    wanted = ["blur", "perceptual-blur", "thor"]
    found = prepare_run(run, {**manifest("a"), "cells": wanted}, overwrite=False)
    assert found["cells"] == [*wanted, "gone"] == read_json(tmp_path / "manifest.json")["cells"]


def test_overwriting_removes_the_run_and_nothing_else(tmp_path: Path) -> None:
    prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    write_json(tmp_path / "cells" / "blur" / "cell.json", {})
    write_json(tmp_path / "inputs" / "a.npz", {})
    (tmp_path / "notes.txt").write_text("mine")
    assert prepare_run(RunDirectory(tmp_path), manifest("b"), overwrite=True)["run_id"] == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "notes.txt"]


class Killed(BaseException):
    pass


def test_a_kill_before_the_first_manifest_was_whole_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / f".manifest.json.{os.getpid()}.tmp").write_text("{")
    with locked(RunDirectory(tmp_path)):
        prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "manifest.json"]


@pytest.mark.parametrize("moment", range(3))
def test_a_kill_while_a_run_is_removed_leaves_one_that_can_be_taken_up_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    with locked(RunDirectory(tmp_path)):
        prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    for name in ("cells/blur/cell.json", "inputs/a.npz", "parity.json", "leaderboard.md"):
        write_json(tmp_path / name, {})
    (tmp_path / "notes.txt").write_text("mine")
    asked = 0

    def killed(*arguments: Any) -> None:
        """Comes while the first or second folder is removed, or before the new manifest is there."""
        nonlocal asked
        asked += 1
        if asked > moment:
            raise Killed
        whole(*arguments)

    whole = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", killed)
    monkeypatch.setattr(store, "write_json", killed)
    with locked(RunDirectory(tmp_path)), pytest.raises(Killed):
        prepare_run(RunDirectory(tmp_path), manifest("b"), overwrite=True)
    monkeypatch.undo()
    assert read_json(tmp_path / "manifest.json")["run_id"] == "a"
    assert not (tmp_path / "cells").exists()  # all of it or nothing
    with locked(RunDirectory(tmp_path)):
        assert prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)["run_id"] == "a"
    with locked(RunDirectory(tmp_path)):
        assert prepare_run(RunDirectory(tmp_path), manifest("b"), overwrite=True)["run_id"] == "b"
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK, "manifest.json", "notes.txt"]


def test_results_without_a_manifest_are_removed_only_when_asked_for(tmp_path: Path) -> None:
    with locked(RunDirectory(tmp_path)):
        prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    write_json(tmp_path / "cells" / "blur" / "cell.json", {})
    (tmp_path / "manifest.json").unlink()
    with (
        locked(RunDirectory(tmp_path)),
        pytest.raises(RunError, match=r"holds cells of a run, but no manifest.json; .*--over"),
    ):
        prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    assert (tmp_path / "cells" / "blur" / "cell.json").is_file()
    with locked(RunDirectory(tmp_path)):
        prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=True)
    assert not (tmp_path / "cells").exists()


def test_a_folder_of_inputs_that_no_run_ever_held_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    with pytest.raises(RunError, match="is not empty and holds no run"), locked(RunDirectory(tmp_path)):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


def test_circumstances_are_noted_only_where_they_differ_and_something_is_computed() -> None:
    ours = {"environment": {"cpu": "new"}, "git": {"commit": "c"}}
    there = {"environment": {"cpu": "old"}, "git": {"commit": "c"}}
    work: Any = SimpleNamespace(session=SimpleNamespace(manifest=ours), manifest=there)
    said: list[str] = []
    assert _other_circumstances(work, 3, said.append) == {"environment": {"cpu": "new"}}
    assert [line.partition(" differs")[0] for line in said] == ["the machine or software"]
    assert _other_circumstances(work, 0, said.append) == {}


def test_each_process_leaves_its_entry_in_the_manifest(tmp_path: Path) -> None:
    watch = Stopwatch(keep=frozenset())
    with watch.stage("other"):
        pass
    note_session(RunDirectory(tmp_path), manifest("a"), {"git": {"commit": "c"}}, watch, 0.0, finished=False)
    there = read_json(tmp_path / "manifest.json")
    assert "finished" not in there
    note_session(RunDirectory(tmp_path), there, {}, watch, 0.0, finished=True)
    there = read_json(tmp_path / "manifest.json")
    assert [entry["ended"] for entry in there["sessions"]] == ["interrupted", "finished"]
    assert there["sessions"][0]["git"] == {"commit": "c"}
    assert there["finished"]


def test_a_run_of_another_schema_is_neither_taken_up_nor_touched_unless_it_is_overwritten(
    tmp_path: Path,
) -> None:
    """Of schema 2, whose prior.npz is known as a run's and goes with it."""
    old = {**manifest("a"), "schema": 2}
    write_json(tmp_path / "manifest.json", old)
    (tmp_path / "prior.npz").write_bytes(b"median")
    with pytest.raises(RunError, match=r"was begun by another version \(schema 2, this one writes 3\)"):
        prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=False)
    assert read_json(tmp_path / "manifest.json") == old
    prepare_run(RunDirectory(tmp_path), manifest("a"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
