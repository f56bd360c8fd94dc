"""A run that is killed or interrupted is finished by the same command; a case that cannot be read fails alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support.tiny_weights import make_pictures, make_weights

from uadbench.reports.atomic import read_json
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory

BENCH = [sys.executable, "-m", "uadbench.bench.cli"]


def bench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UADBENCH_DATA": "", "COLUMNS": "200"}
    return subprocess.run(
        [*BENCH, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_weights(tmp_path_factory.mktemp("weights"))


def run_arguments(weights: list[str], *more: str) -> list[str]:
    quick = ["--methods", "ddpm,thor", "--batch-size", "2", "--threads", "1", "--steps", "6"]
    data = ["--dataset", "folder", "--data-root", "data"]
    return ["run", *quick, *data, "--set", "val_limit=2", "--set", "n_boot=20", *weights, *more]


def kept(run: Path) -> dict[str, Any]:
    """All that must not hang on interruptions: bytes of arrays, inputs and metrics, and records less their times."""
    timed = ("latency_ms", "network_call_ms", "stages_ms", "load", "peak_memory_mib", "first_call")
    loaded = load_run(run)
    records = {
        cell.slug: {r["case_id"]: {k: v for k, v in r.items() if k not in timed} for r in cell.cases}
        for cell in loaded.cells
    }
    patterns = ("inputs/*", "cells/*/arrays/*", "cells/*/metrics.json", "paired.json")
    # checked.json holds times of files
    files = [path for pattern in patterns for path in run.glob(pattern) if path.name != "checked.json"]
    return {"records": records, "files": {str(p.relative_to(run)): p.read_bytes() for p in sorted(files)}}


def test_a_run_killed_outright_is_finished_by_the_same_command_to_the_same_bytes(
    tmp_path: Path, weights: list[str]
) -> None:
    make_pictures(tmp_path / "data", n_test=6)
    whole = bench(*run_arguments(weights, "--output", "whole"), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "Leaderboard" in whole.stdout
    assert whole.stdout.rstrip().endswith("leaderboard.html")
    assert "\x1b" not in whole.stderr  # no terminal, no progress bar

    command = [*BENCH, *run_arguments(weights, "--output", "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        cell = RunDirectory(tmp_path / "killed").cell("ddpm-gaussian-6-torch-fp32")
        wait_for(lambda: len(cell.read_cases()) >= 2, process)
        process.send_signal(signal.SIGKILL)
    done, total = (sum(len(c.cases) for c in load_run(tmp_path / name).cells) for name in ("killed", "whole"))
    assert 0 < done < total
    assert read_json(tmp_path / "killed" / "manifest.json")["finished"] is None

    again = bench(*run_arguments(weights, "--output", "killed"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{done} of {total} results are there" in again.stderr
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp"))

    manifest = read_json(tmp_path / "killed" / "manifest.json")
    assert manifest["finished"]
    assert 0 < manifest["sessions"][-1]["harness_fraction"] < 1
    other = bench(*run_arguments(weights, "--output", "killed", "--seed", "1"), cwd=tmp_path)
    assert other.returncode == 2
    assert "holds another run (other seed)" in other.stderr
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")


def test_an_interrupted_run_exits_with_130_and_says_how_to_go_on(tmp_path: Path, weights: list[str]) -> None:
    make_pictures(tmp_path / "data", n_test=20)
    command = [*BENCH, *run_arguments(weights, "--output", "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        cell = RunDirectory(tmp_path / "run").cell("ddpm-gaussian-6-torch-fp32")
        wait_for(lambda: len(cell.read_cases()) >= 2, process)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what is done is kept. To finish it: bench run --methods ddpm,thor" in stderr
    assert read_json(tmp_path / "run" / "manifest.json")["sessions"][-1]["ended"] == "interrupted"


def test_an_unreadable_case_makes_exit_code_1_and_the_rest_is_scored(
    tmp_path: Path, weights: list[str]
) -> None:
    make_pictures(tmp_path / "data", n_test=3)
    (tmp_path / "data" / "c5.png").write_bytes(b"not a picture")
    done = bench(*run_arguments(weights, "--output", "run"), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "case c5: " in done.stderr
    for cell in load_run(tmp_path / "run").cells:
        assert cell.metrics is not None
        assert (cell.metrics["n_cases"], cell.metrics["n_failed"]) == (2, 1)
    report = bench("report", "run", "--output", "elsewhere", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    first, second = ((tmp_path / name / "leaderboard.csv").read_bytes() for name in ("run", "elsewhere"))
    assert first == second
    shutil.rmtree(tmp_path / "run" / "cells")


def wait_for(condition: Any, process: subprocess.Popen, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < end, "the run did not get going"
        time.sleep(0.01)
