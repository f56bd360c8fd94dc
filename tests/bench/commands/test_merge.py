"""Shards put together are the run, to the byte; what does not belong together is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.faults import invoke, refused
from support.tiny_weights import make_pictures, make_weights

from uadbench.engine.methods import FLOORS
from uadbench.reports.atomic import read_json, write_json
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory

SAME = ("cells/*/metrics.json", "paired.json", "fitted.json", "variance.json", "shifts.csv")
COUNT = 3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run "whole" and its shards "s1" to "s3": fits, the exact variance, post-processing, shifts."""
    folder = tmp_path_factory.mktemp("runs")
    make_pictures(folder / "data", n_test=3)
    lines = (folder / "data" / "index.csv").read_text()
    (folder / "data" / "index.csv").write_text(f"{lines}v,c5.png,m.png,val,v\nbad,none.png,,test,bad\n")
    words = ["run", "--methods", "ddpm", "--steps", "2", "--batch-size", "2", "--threads", "1"]
    words += ["--dataset", "folder", "--data-root", str(folder / "data"), "--post", "behrendt"]
    words += ["--variance", "exact", "--shift", "gain=0.8", "--set", "n_boot=20", "--set", "val_limit=1"]
    words += make_weights(folder)
    assert invoke(*words, "--output", str(folder / "whole")).exit_code == 1  # a case cannot be read
    for k in range(1, COUNT + 1):
        done = invoke(*words, "--shard", f"{k}/{COUNT}", "--output", str(folder / f"s{k}"))
        assert done.exit_code == (1 if k == COUNT else 0), done.stderr
    return folder


def merge(runs: Path, *words: str, shards: tuple[int, ...] = (1, 2, 3)):
    return invoke("merge", *(str(runs / f"s{k}") for k in shards), *words)


def content(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for pattern in SAME for p in sorted(run.glob(pattern))}


def test_merged_shards_are_the_run_to_the_byte(runs: Path, tmp_path: Path) -> None:
    """And no latency of several shards is mixed; each is kept by itself."""
    done = merge(runs, "--output", str(tmp_path / "m"), shards=(3, 1, 2))
    assert done.exit_code == 1  # of the case that cannot be read
    assert "Leaderboard" in done.stdout
    whole = content(runs / "whole")
    assert len(whole) == len(FLOORS) + 1 + 4
    assert content(tmp_path / "m") == whole
    one, other = load_run(runs / "whole"), load_run(tmp_path / "m")
    assert other.manifest["run_id"] == one.manifest["run_id"]
    assert other.manifest["finished"]
    for a, b in zip(one.cells, other.cells, strict=True):
        assert a.info == b.info
        order = sorted(case["case_id"] for case in a.cases)
        assert sorted(case["case_id"] for case in b.cases) == order
        for case in a.cases:
            if case["status"] == "ok" and a.info["kind"] == "method":
                assert all(
                    (x == y).all()
                    for x, y in zip(a.arrays(case["case_id"]), b.arrays(case["case_id"]), strict=True)
                )
        shifted = [sorted(map(str, cell.directory.read_shifts())) for cell in (a, b)]
        assert shifted[0] == shifted[1]
    cell = next(cell for cell in other.cells if cell.info["method"] == "ddpm")
    assert {case["where"]["shard"] for case in cell.cases} == {"1/3", "2/3", "3/3"}
    latency = cell.latency or {}
    assert latency["n"] == 0
    assert set(latency["latency_ms"].values()) == {None}
    assert set(latency["places"]) == {"shard 1/3", "shard 2/3", "shard 3/3"}
    assert latency["places"]["shard 1/3"]["latency_ms"]["p50"] > 0
    page = (tmp_path / "m" / "leaderboard.md").read_text()
    assert "times of several machines, or of workers beside each other, are not mixed" in page


@pytest.mark.slow
def test_shards_that_are_lacking_are_named_and_added_later(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    line = refused(merge(runs, "--output", str(out), shards=(1, 3)))
    assert "cases are of shards that are not given (2/3)" in line
    assert not out.exists()
    done = merge(runs, "--partial", "--output", str(out), shards=(1, 3))
    assert "warning: this is a part of the run" in done.stderr
    assert read_json(out / "manifest.json")["finished"] is None
    merge(runs, "--output", str(out))
    assert content(out) == content(runs / "whole")
    assert read_json(out / "manifest.json")["finished"]


def test_what_bench_run_did_in_the_folder_is_kept_with_its_sessions(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "m")
    before = read_json(tmp_path / "m" / "manifest.json")
    assert merge(runs, "--output", str(tmp_path / "m")).exit_code == 1  # of the case that cannot be read
    sessions = read_json(tmp_path / "m" / "manifest.json")["sessions"]
    assert sessions[: len(before["sessions"])] == before["sessions"]
    assert [one["shard"] for one in sessions[len(before["sessions"]) :]] == ["1/3", "2/3", "3/3"]
    assert content(tmp_path / "m") == content(runs / "whole")


def test_results_that_would_be_left_out_of_the_scores_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "m")
    line = refused(merge(runs, "--partial", "--output", str(tmp_path / "m"), shards=(1, 3)))
    assert "cases that are of no shard given; give their shards, too" in line
    assert read_json(tmp_path / "m" / "manifest.json") == read_json(runs / "whole" / "manifest.json")


def test_results_of_bench_run_with_other_fits_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "whole", tmp_path / "m")
    run = RunDirectory(tmp_path / "m")
    run.write_fitted({**run.fitted, "other": {"settings": {}, "record": {}}})
    assert "fitted on validation lesions" in refused(merge(runs, "--output", str(run.path)))


def test_an_unfinished_shard_is_named_with_the_cases_that_it_lacks(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "s2", tmp_path / "s2")
    cases = RunDirectory(tmp_path / "s2").cell("ddpm-gaussian-2-behrendt-torch-fp32").path / "cases.jsonl"
    cases.write_text("".join(cases.read_text().splitlines(keepends=True)[1:]))
    words = (str(runs / "s1"), str(tmp_path / "s2"), str(runs / "s3"), "--output", str(tmp_path / "m"))
    assert "shard 2/3 lacks 1 of" in refused(invoke("merge", *words))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"whole": "0"}, "is of another run", id="other run"),
        pytest.param({"count": 4}, "is of another division", id="other count"),
        pytest.param({"index": 1, "label": "1/3"}, "give one of them", id="twice"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    runs: Path, tmp_path: Path, change: dict, said: str
) -> None:
    shutil.copytree(runs / "s2", tmp_path / "s2")
    manifest = read_json(tmp_path / "s2" / "manifest.json")
    write_json(tmp_path / "s2" / "manifest.json", {**manifest, "shard": {**manifest["shard"], **change}})
    words = (str(runs / "s1"), str(tmp_path / "s2"), "--output", str(tmp_path / "m"))
    assert said in refused(invoke("merge", *words))


def test_shards_whose_fits_differ_are_refused(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "s2", tmp_path / "s2")
    run = RunDirectory(tmp_path / "s2")
    run.write_fitted({**run.fitted, "other": {"settings": {}, "record": {}}})
    words = (str(runs / "s1"), str(tmp_path / "s2"), str(runs / "s3"), "--output", str(tmp_path / "m"))
    assert "fitted on validation lesions" in refused(invoke("merge", *words))


def test_a_shard_is_no_run_and_a_run_is_no_shard(runs: Path, tmp_path: Path) -> None:
    assert not list((runs / "s1").glob("leaderboard.*"))
    assert not list((runs / "s1").glob("cells/*/metrics.json"))
    assert "is shard 1/3 of a run" in refused(invoke("report", str(runs / "s1")))
    assert "is a whole run" in refused(invoke("merge", str(runs / "whole"), "--output", str(tmp_path / "m")))
    assert "is no run directory" in refused(invoke("merge", str(tmp_path), "--output", str(tmp_path / "m")))
