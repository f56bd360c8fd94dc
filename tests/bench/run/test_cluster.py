"""A run on two nodes of Ray, one of which is killed in mid-run, is the run of one process to the byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.faults import environment
from support.tiny_weights import make_pictures, make_weights

from uadbench.engine.methods import FLOORS
from uadbench.reports.atomic import read_json
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory

BENCH = [sys.executable, "-m", "uadbench.bench.cli"]
TOKEN = "0123456789abcdef" * 3
WORDS = ("run", "--methods", "ddpm,thor", "--batch-size", "2", "--threads", "1", "--steps", "12")
WORDS += ("--dataset", "folder", "--data-root", "data", "--set", "val_limit=2", "--set", "n_boot=20")
SAME = ("cells/*/metrics.json", "paired.json")
SLUG = "thor-gaussian-12-brain-squeeze-torch-fp32"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    """Ray as `bench run` has it, with a token of the test's own, so that none is written to the user's folder.

    Ray reads these when it is imported.
    """
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        pytest.importorskip("ray", reason="the extra `ray` is not installed")
        yield environment(**own)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> tuple[Path, list[str]]:
    """A folder with data, and the run "whole" of one process; and the words of the command."""
    folder = tmp_path_factory.mktemp("plain")
    make_pictures(folder / "data", n_test=10)
    words = [*WORDS, *make_weights(folder)]
    done = subprocess.run(
        [*BENCH, *words, "--output", "whole"], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder, words


def content(run: Path) -> dict[str, Any]:
    """Scores and comparisons as files, and of each case the bytes of its arrays, in whatever order they came."""
    files = {str(p.relative_to(run)): p.read_bytes() for pattern in SAME for p in sorted(run.glob(pattern))}
    arrays = {
        (cell.slug, case["case_id"]): tuple(array.tobytes() for array in cell.arrays(case["case_id"]))
        for cell in load_run(run).cells
        for case in cell.cases
    }
    assert len(arrays) == (len(FLOORS) + 2) * 12
    return files | {"arrays": arrays}


def started(
    words: list[str], folder: Path, env: dict[str, str], output: str, *more: str
) -> subprocess.Popen[str]:
    command = [*BENCH, *words, "--executor", "ray", "--output", output, *more]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **pipes)


def wait_for_results(run: Path, process: subprocess.Popen[str], count: int = 2) -> None:
    """Until so many cases of THOR are there."""
    cell = RunDirectory(run).cell(SLUG)
    deadline = time.monotonic() + 300
    while len(cell.read_cases()) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "no result came"
        time.sleep(0.05)


def test_a_killed_node_costs_its_batches_which_are_done_again(
    plain: tuple[Path, list[str]], env: dict[str, str]
) -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    folder, words = plain
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        process = started(words, folder, env, "killed", "--ray-address", cluster.address)
        wait_for_results(folder / "killed", process)
        cluster.remove_node(second, allow_graceful=False)
        _, said = process.communicate(timeout=400)
    finally:
        cluster.shutdown()
    assert process.returncode == 0, said
    assert "died" in said
    assert "done again" in said
    assert "A worker died or was killed" not in said, "which Ray says of each death, in a paragraph"
    assert content(folder / "killed") == content(folder / "whole")
    executor = read_json(folder / "killed" / "manifest.json")["sessions"][-1]["executor"]
    assert executor["deaths"] >= 1
    assert len(executor["nodes"]) == 2
    for cell in load_run(folder / "killed").cells:
        assert {case["where"]["node"] for case in cell.cases} <= set(executor["nodes"])
        assert (cell.latency or {})["n"] == 0


def test_ctrl_c_keeps_what_came_back_and_the_same_command_finishes(
    plain: tuple[Path, list[str]], env: dict[str, str]
) -> None:
    folder, words = plain
    process = started(words, folder, env, "stopped", "--workers", "2")
    wait_for_results(folder / "stopped", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all processes of the command
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "interrupted; what is done is kept" in said
    assert "Traceback" not in said
    assert len(RunDirectory(folder / "stopped").cell(SLUG).read_cases()) >= 2
    again = subprocess.run(  # without Ray
        [*BENCH, *words, "--output", "stopped"], cwd=folder, env=env, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert content(folder / "stopped") == content(folder / "whole")
