"""Figures over commits: one file a commit and machine, oldest commit first."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.profiled import made_profile, made_row

from uadbench.bench.profile.history import entry_of, history_table, keep_entry, read_history
from uadbench.bench.run.machine import commit_date, git_state
from uadbench.reports.atomic import RunError


def entry(commit: str, date: str, ms: float = 10.0, dirty: bool = False, **changes: Any) -> dict[str, Any]:
    rows = [made_row([ms] * 12, under_load=changes.pop("under_load", False))]
    return entry_of(made_profile(rows, git={"commit": commit * 40, "dirty": dirty}, **changes), date)


def test_a_commit_has_one_file_a_machine_and_measuring_again_replaces_it(tmp_path: Path) -> None:
    first = keep_entry(tmp_path, entry("a", "2026-01-01T00:00:00Z", 10))
    again = keep_entry(tmp_path, entry("a", "2026-01-01T00:00:00Z", 11))
    other = keep_entry(tmp_path, entry("a", "2026-01-01T00:00:00Z", 9, machine="other"))
    assert first == again == tmp_path / "0123abcd" / "aaaaaaaaaaaa-2-latency.json"
    assert other == tmp_path / "other" / "aaaaaaaaaaaa-2-latency.json"
    (found,) = read_history(tmp_path, "0123abcd")
    assert found["rows"][0]["image_ms"] == 11


def test_measuring_other_rows_of_a_commit_leaves_those_that_it_has(tmp_path: Path) -> None:
    date = "2026-01-01T00:00:00Z"
    one, two = entry("a", date, 10), entry("a", date, 20)
    two["rows"][0]["key"][0] = "mend-unet"
    for made in (one, two, entry("a", date, 11)):
        keep_entry(tmp_path, made)
    (found,) = read_history(tmp_path, "0123abcd")
    assert {row["key"][0]: row["image_ms"] for row in found["rows"]} == {"unet-gaussian": 11, "mend-unet": 20}
    keep_entry(tmp_path, {**one, "packages": {"torch": "3.0"}})
    (found,) = read_history(tmp_path, "0123abcd")
    assert [row["key"][0] for row in found["rows"]] == ["unet-gaussian"], "of the packages that it names"


def test_other_threads_and_hints_of_a_commit_have_files_of_their_own(tmp_path: Path) -> None:
    date = "2026-01-01T00:00:00Z"
    for changes in ({}, {"threads": 1}, {"hint": "throughput"}):
        keep_entry(tmp_path, entry("a", date, 10, **changes))
    found = read_history(tmp_path, "0123abcd")
    assert len(found) == 3
    assert len(history_table(found, 2, "throughput")[0]) == len(history_table(found, 1)[0]) == 4


def test_commits_stand_in_their_own_order_not_in_that_of_measuring(tmp_path: Path) -> None:
    keep_entry(tmp_path, entry("b", "2026-02-01T00:00:00Z", 8))
    keep_entry(tmp_path, entry("c", "2026-01-01T00:00:00Z", 10))
    heads, lines = history_table(read_history(tmp_path, "0123abcd"), 2)
    assert heads == ["what", "arm", "batch", "cccccccccccc", "bbbbbbbbbbbb"]
    assert lines == [["unet-gaussian", "torch fp32", "1", "10", "8"]]


def test_figures_that_deserve_no_trust_are_marked(tmp_path: Path) -> None:
    keep_entry(tmp_path, entry("a", "2026-01-01T00:00:00Z", 10, under_load=True))
    failed = entry("b", "2026-02-01T00:00:00Z")
    failed["rows"][0]["status"] = "failed"
    keep_entry(tmp_path, failed)
    _, lines = history_table(read_history(tmp_path, "0123abcd"), 2)
    assert lines[0][3:] == ["10*", "!"]


def test_other_thread_counts_stay_out_of_the_table(tmp_path: Path) -> None:
    keep_entry(tmp_path, entry("a", "2026-01-01T00:00:00Z", 10))
    heads, lines = history_table(read_history(tmp_path, "0123abcd"), 4)
    assert (heads, lines) == (["what", "arm", "batch"], [])


def test_changes_that_are_not_committed_and_installed_versions_have_names_of_their_own() -> None:
    assert entry("a", "x", dirty=True)["name"] == "aaaaaaaaaaaa-dirty"
    installed = made_profile(git={"commit": None, "dirty": None})
    assert entry_of(installed)["name"] == "v0.1.0"
    assert entry_of(installed)["date"] == installed["created"]


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x.json").write_text(json.dumps({"kind": "else"}))
    with pytest.raises(RunError, match=r"x\.json: is no entry of a history"):
        read_history(tmp_path, "m")
    assert read_history(tmp_path, "nothing") == []


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"rows": [{}]},
        {"rows": [{**entry("a", "x")["rows"][0], "key": ["unet-gaussian"]}]},
        {"rows": [{**entry("a", "x")["rows"][0], "image_ms": "10"}]},
        {"rows": [{**entry("a", "x")["rows"][0], "stability": None}]},
    ],
)
def test_an_entry_that_cannot_be_shown_is_refused_in_a_line(change: dict[str, Any], tmp_path: Path) -> None:
    made = entry("a", "2026-01-01T00:00:00Z")
    path = keep_entry(tmp_path, made)
    path.write_text(json.dumps({**made, **change}))
    with pytest.raises(RunError, match=f"{path.name}: is no entry of a history of profiles of this version"):
        read_history(tmp_path, "0123abcd")


def test_git_dates_a_commit_of_this_checkout_and_no_other() -> None:
    assert commit_date(None) is None
    assert commit_date("0" * 40) is None
    if commit := git_state()["commit"]:
        root = Path(__file__).resolve().parents[3]
        words = ["git", "-C", str(root), "log", "-1", "--format=%cI", commit]
        told = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        assert datetime.fromisoformat(commit_date(commit) or "") == datetime.fromisoformat(told)
