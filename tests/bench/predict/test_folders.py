"""``bench predict`` of a folder: what cannot be looked through is recorded, files of one name are all predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.closed import closed
from support.faults import invoke

from uadbench.reports.atomic import read_json

WORDS = ("predict", "--method", "blur", "--no-progress")


def folder(place: Path, *names: str) -> tuple[str, ...]:
    """PNGs of noise below ``in``, and the words that predict them into ``out``."""
    for name in names:
        path = place / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(0).integers(0, 200, (30, 40), dtype=np.uint8)).save(path)
    return (*WORDS, "--input", str(place / "in"), "--output", str(place / "out"))


def files_of(place: Path) -> dict[str, dict]:
    return {entry["input"]: entry for entry in read_json(place / "out" / "predictions.json")["files"]}


def test_a_folder_that_cannot_be_read_is_recorded_as_failed_until_it_can(tmp_path: Path) -> None:
    words = folder(tmp_path, "a", "closed/b")
    with pytest.MonkeyPatch.context() as patch:
        closed(tmp_path / "in/closed", patch)
        done = invoke(*words)
    assert done.exit_code == 1
    assert "failed: closed/: the folder cannot be read (Permission denied)" in done.stderr
    files = files_of(tmp_path)
    assert {name: entry["status"] for name, entry in files.items()} == {"a.png": "ok", "closed/": "failed"}
    assert "make it readable" in files["closed/"]["reason"]
    assert invoke(*words).exit_code == 0
    assert set(files_of(tmp_path)) == {"a.png", "closed/b.png"}


def test_files_of_one_case_id_are_both_predicted(tmp_path: Path) -> None:
    assert invoke(*folder(tmp_path, "中国", "日本")).exit_code == 0
    assert set(files_of(tmp_path)) == {"中国.png", "日本.png"}
    assert {path.name for path in (tmp_path / "out").glob("*_anomaly.png")} == {
        "中国_anomaly.png",
        "日本_anomaly.png",
    }
