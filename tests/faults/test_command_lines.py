"""Nonsense command lines of every verb: one line that says what is wrong, exit code 2 (or 1), and nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command_lines import LINES, RUN, TRAIN
from support.faults import bench, invoke, make_slices, refused
from support.runs import CELLS, make_run

LOCK = "run/.uadbench.lock"  # a run may be looked at under its lock before it is refused


def shown(words: list[str]) -> str:
    return ascii(" ".join(word if len(word) < 60 else f"{word[:9]}..." for word in words))[1:-1]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a file, a run and a data set in it."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "file").write_text("mine\0")
    make_slices(folder / "data", {"train": 1, "val": 1, "test": 2}, side=32)
    make_run(folder / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    return folder


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every file its time and size, and that the folders are there."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: (0, 0) if path.is_dir() else (path.stat().st_mtime_ns, path.stat().st_size)
        for name, path in found.items()
    }


@pytest.mark.parametrize("words", [pytest.param(words, id=shown(words)) for words in LINES])
def test_nonsense_is_refused_in_one_line_and_nothing_is_written(
    here: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("UADBENCH_DATA", "")
    before = contents(here)
    line = refused(invoke(*words))
    assert len(line) < 400 + 2 * max(map(len, words)), "a word that was typed is repeated once at most"
    after = contents(here)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {LOCK}


def test_every_verb_is_among_them() -> None:
    from uadbench.bench.cli import VERBS

    assert {words[0] for words in LINES} >= set(VERBS)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("words", [RUN, TRAIN], ids=["run", "train"])
def test_a_folder_that_may_not_be_written_is_one_line(
    here: Path, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    tmp_path.chmod(0o500)
    words = [*words, "--output", str(tmp_path / "new")]
    assert "new" in refused(invoke(*words))


def test_bytes_that_are_no_text_are_refused_by_a_process_of_its_own(tmp_path: Path) -> None:
    """What the shell passes as it is: Python makes surrogates of it."""
    done = bench("run", "--methods", os.fsdecode(b"\xff\xfe"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: '\\udcff\\udcfe' holds")
    assert list(tmp_path.iterdir()) == []
