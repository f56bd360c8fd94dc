"""Runs and trainings killed or stopped at any moment: the same command, given again, ends with the same bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file
from support.faults import BENCH, bench, environment, make_slices
from support.stored import stored

from uadbench.reports.runs import load_run

ROUNDS = 12  # after which a command must have got through undisturbed
RUN = ["run", "--methods", "ddpm", "--limit", "4", "--steps", "2", "--threads", "1", "--batch-size", "2"]
FEW = [*RUN, "--set", "val_limit=1", "--set", "n_boot=50", "--no-progress"]
FOLDER = ["--dataset", "folder", "--data-root", "data"]
TRAIN = ["train", "--data", "folder", "--data-root", "data", "--steps", "6", "--batch-size", "2"]
TRAINING = [*TRAIN, "--threads", "1", "--validate-every", "3", "--no-progress"]


def start(words: Sequence[str], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BENCH, *words],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stopped(
    words: Sequence[str], cwd: Path, after: float, signals: Sequence[int], gap: float = 0.05
) -> tuple[int, str]:
    """(exit code, stderr) of a command that gets these signals after so many seconds, if it still runs then."""
    process = start(words, cwd)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        for number in signals:
            process.send_signal(number)
            time.sleep(gap)
    _, stderr = process.communicate(timeout=300)
    return process.returncode, stderr


def finished(words: Sequence[str], cwd: Path) -> float:
    """Runs a command to its end; returns the seconds that it took."""
    began = time.monotonic()
    done = bench(*words, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def disturbed(words: Sequence[str], cwd: Path, seconds: float, seed: int, signals: Sequence[int]) -> int:
    """Runs a command again and again, stopping it at random moments, until it ends; returns how often it was."""
    rng = random.Random(seed)
    for count in range(ROUNDS):
        # moments spread over all of the command, so that over the seeds each of its parts is hit
        code, stderr = stopped(words, cwd, rng.uniform(0.05, 1.0) * seconds, signals)
        if code == 0:
            return count
        assert "Traceback" not in stderr, stderr
        assert code in (-signals[0], 130), stderr
    finished(words, cwd)
    return ROUNDS


def results(run: Path) -> dict[str, bytes]:
    """What must not hang on interruptions: scores, maps and inputs."""
    files = [*run.glob("cells/*/metrics.json"), *run.glob("median.npz")]
    blobs = {folder: stored(folder) for folder in (*run.glob("cells/*/arrays"), run / "inputs")}
    return {
        **{path.relative_to(run).as_posix(): path.read_bytes() for path in sorted(files)},
        **{
            f"{folder.relative_to(run)}/{key}": blob
            for folder in blobs
            for key, blob in blobs[folder].items()
        },
    }


def litter(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", ".part"))]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """(a working folder with a data set and an undisturbed run of it, how many seconds that took)."""
    here = tmp_path_factory.mktemp("small")
    make_slices(here / "data", {"train": 2, "val": 2, "test": 4})
    return here, finished([*FEW, *FOLDER, "--output", "whole"], here)


def wait_for_cases(process: subprocess.Popen[str], run: Path, count: int) -> None:
    """Until so many results are on disk."""
    end = time.monotonic() + 200
    while sum(path.read_bytes().count(b"\n") for path in run.glob("cells/*/cases.jsonl")) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_killed_among_its_results_ends_with_the_same_bytes(small: tuple[Path, float]) -> None:
    here, _ = small
    words = [*FEW, *FOLDER, "--output", "killed"]
    with start(words, here) as process:
        wait_for_cases(process, here / "killed", 7)
        process.kill()
        process.communicate()
    assert len(results(here / "killed")) < len(results(here / "whole"))
    finished(words, here)
    assert results(here / "killed") == results(here / "whole")
    assert not litter(here / "killed")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGKILL], id="kill"),
        pytest.param([signal.SIGTERM], id="term"),
        pytest.param([signal.SIGINT, signal.SIGINT], id="ctrl-c twice"),
    ],
)
def test_a_run_stopped_at_random_moments_ends_with_the_same_bytes(
    small: tuple[Path, float], seed: int, signals: list[int]
) -> None:
    here, seconds = small
    output = f"out-{seed}-{'-'.join(map(str, map(int, signals)))}"
    disturbed([*FEW, *FOLDER, "--output", output], here, seconds, seed, signals)
    assert results(here / output) == results(here / "whole")
    assert not litter(here / output)
    assert load_run(here / output).manifest["finished"]


@pytest.mark.slow
def test_a_run_on_phantoms_killed_at_random_moments_ends_with_the_same_bytes(tmp_path: Path) -> None:
    seconds = finished([*FEW, "--output", "whole"], tmp_path)
    assert disturbed([*FEW, "--output", "killed"], tmp_path, seconds, 0, [signal.SIGKILL]) > 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "code"),
    [
        pytest.param([signal.SIGTERM], 130, id="term"),
        pytest.param([signal.SIGINT], 130, id="ctrl-c"),
        pytest.param([signal.SIGINT, signal.SIGINT], 130, id="ctrl-c twice"),
        pytest.param([signal.SIGTERM, signal.SIGINT, signal.SIGTERM], 130, id="many"),
    ],
)
def test_a_run_that_is_asked_to_stop_says_so_in_one_line_with_the_way_on(
    small: tuple[Path, float], signals: list[int], code: int, tmp_path: Path
) -> None:
    here, _ = small
    with start([*FEW, *FOLDER, "--output", str(tmp_path / "out")], here) as process:
        wait_for_cases(process, tmp_path / "out", 3)
        for number in signals:
            process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == code, stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("interrupted"), stderr
    assert "Traceback" not in stderr


def trained(output: Path) -> dict[str, Any]:
    """What must not hang on interruptions: the weights, and card and log less their times."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items() if key not in ("seconds", "command")}
        return [plain(inner) for inner in value] if isinstance(value, list) else value

    weights = load_file(output / "unet-gaussian.safetensors")
    log = (output / "log-gaussian.jsonl").read_text().splitlines()
    return {
        "weights": {name: tensor.tobytes() for name, tensor in weights.items()},
        "card": plain(json.loads((output / "unet-gaussian.json").read_text())),
        "log": [plain(json.loads(line)) for line in log],
        "grids": sorted(path.name for path in output.glob("grid-*.png")),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "signals"),
    [
        pytest.param(0, [signal.SIGKILL], id="kill"),
        pytest.param(1, [signal.SIGKILL], id="kill at others"),
        pytest.param(2, [signal.SIGTERM], id="term"),
        pytest.param(3, [signal.SIGINT, signal.SIGINT], id="ctrl-c twice"),
    ],
)
def test_a_training_stopped_at_random_moments_ends_with_the_same_network(
    tmp_path: Path, seed: int, signals: list[int]
) -> None:
    make_slices(tmp_path / "data", {"train": 3, "val": 2})
    seconds = finished([*TRAINING, "--output", "whole"], tmp_path)
    disturbed([*TRAINING, "--output", "stopped"], tmp_path, seconds, seed, signals)
    assert trained(tmp_path / "stopped") == trained(tmp_path / "whole")
    assert not litter(tmp_path / "stopped")
