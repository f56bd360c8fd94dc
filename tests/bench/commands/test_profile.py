"""``bench profile`` as a user meets it: refusals, exit codes, files, comparison and history."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.profiled import Clock, Slow, instruments, made_profile, made_row, tiny_network

from uadbench.bench.cli import cli
from uadbench.bench.commands import profile as verb
from uadbench.bench.profile.measure import Instruments
from uadbench.bench.profile.trace import SILENT
from uadbench.bench.profile.writing import write_profile
from uadbench.bench.run import timing
from uadbench.bench.run.interrupt import Interrupted
from uadbench.reports.identity import Arm

FILES = {"profile.csv", "profile.json", "profile.md", "profile.html", "times.json"}


@pytest.fixture(autouse=True)
def idle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(timing, "load_average", lambda: 0.0)
    monkeypatch.chdir(tmp_path)


def use_fakes(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.1, **more: Any) -> None:
    clock = Clock()

    def opener(arm: Arm, *rest: Any, say: Callable[[str], None], hint: str) -> Slow:
        clock.now += 1.0
        say("building an engine")
        return Slow(clock, seconds, arm.backend, arm.precision)

    def tools(say: Any, progress: Any, stop: Any) -> Instruments:
        return instruments(clock, opener, say=say, progress=progress, **more)

    monkeypatch.setattr(verb, "_instruments", tools)


def profile(tmp_path: Path, *words: str) -> Result:
    network = str(tiny_network(tmp_path))
    usual = [
        "profile",
        "--networks",
        network,
        "--backends",
        "torch",
        "--threads",
        "1",
        "--quick",
        "--output",
        "new",
    ]
    return CliRunner().invoke(cli, [*usual, *words])


def test_a_profile_leaves_its_files_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fakes(monkeypatch)
    done = profile(tmp_path)
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "new").iterdir()} == FILES
    record = json.loads((tmp_path / "new" / "profile.json").read_text())
    assert record["finished"]
    assert record["rows"][0]["image_ms"]["p50"] == pytest.approx(100)
    assert "new/profile.html" in done.stdout
    assert profile(tmp_path).exit_code == 0  # the folder of a profile may be written again


def test_without_progress_only_what_a_user_must_know_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fakes(monkeypatch)
    assert "opening torch fp32" in profile(tmp_path).stderr
    done = profile(tmp_path, "--no-progress")
    assert "opening torch fp32" not in done.stderr
    assert "building an engine" in done.stderr


def test_a_trace_that_cannot_be_had_is_named_and_costs_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*rest: Any) -> None:
        raise ValueError("no profiler\nat line 3")

    use_fakes(monkeypatch)
    monkeypatch.setattr("uadbench.bench.profile.run.trace_call", broken)
    done = profile(tmp_path, "--trace", "--no-progress")
    assert done.exit_code == 0, done.output
    assert "no trace of unet-gaussian-torch-fp32-batch1: ValueError: no profiler\n" in done.stderr


def test_traces_are_chromes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fakes(monkeypatch)
    done = profile(tmp_path, "--backends", "torch,openvino", "--trace")
    assert done.exit_code == 0, done.output
    traces = sorted((tmp_path / "new").glob("trace-*.json"))
    assert [path.name for path in traces] == [
        "trace-unet-gaussian-openvino-fp32-batch1.json",
        "trace-unet-gaussian-torch-fp32-batch1.json",
    ]
    stages = json.loads(traces[0].read_text())["traceEvents"]
    assert [(event["name"], event["dur"]) for event in stages if event["ph"] == "X"] == [
        ("network", pytest.approx(1e5))
    ]
    assert "traceEvents" in json.loads(traces[1].read_text())


def test_the_profiler_of_torch_says_nothing_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    use_fakes(monkeypatch)
    assert profile(tmp_path, "--trace", "--no-progress").exit_code == 0
    assert list((tmp_path / "new").glob("trace-*.json"))
    assert "profiler_start" not in capfd.readouterr().err


@pytest.mark.parametrize("users", ["2", None])
def test_what_the_user_wants_to_hear_of_torchs_profiler_is_left_as_it_is(
    users: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[str] = []

    def no_profiler(**_: Any) -> None:  # the real one would keep the level for all tests of this process
        levels.append(os.environ["KINETO_LOG_LEVEL"])
        raise ValueError("no profiler")

    monkeypatch.setenv("KINETO_LOG_LEVEL", users or "")
    if users is None:
        monkeypatch.delenv("KINETO_LOG_LEVEL")
    use_fakes(monkeypatch)
    monkeypatch.setattr("uadbench.bench.profile.trace.profile", no_profiler)
    profile(tmp_path, "--trace")
    assert levels == [users or SILENT]


def test_a_busy_machine_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_fakes(monkeypatch, load=lambda: 9.0)
    monkeypatch.setattr(timing, "load_average", lambda: 9.0)
    done = profile(tmp_path)
    assert done.exit_code == 2
    assert "load average is 9.0, above 1.2 x 1 threads" in done.stderr
    assert not (tmp_path / "new").exists()
    done = profile(tmp_path, "--allow-load")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "new" / "profile.json").read_text())["rows"][0]["under_load"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail-on", "5%"], "--fail-on needs --compare"),
        (["--compare", "nowhere"], "nowhere: cannot be read"),
        (["--fail-on", "5", "--compare", "x"], "'5' is no limit; write a percentage, such as 5%"),
        (["--batch", "0"], "'0' is no number from 1 to 4096"),
        (["--batch", "1,,4"], "holds an empty name"),
        (["--networks", "unet-nothing"], "no network unet-nothing is shipped"),
        (["--backends", "torhc"], "did you mean 'torch'?"),
        (["--backends", "onnxruntime:bf16"], "bf16"),
        (["--methods", "blur"], "blur is a floor, which calls no network"),
        (["--methods", "thro"], "did you mean 'thor'?"),
        (["--streams", "2"], "there are 1 threads to share"),
        (["--streams", "1"], "streams is 1, and one caller is what others are held against; give 2 or more"),
        (["--set", "batch_size=8"], "batch_size = 8 is for `bench run`: a profile times phantom cases"),
        (
            ["--set", "hint=throughput"],
            "hint is 'throughput', and none of the back ends takes one; openvino would",
        ),
        (["--set", "hint=fast"], "hint is 'fast'"),
        (["--methods", "ddpm", "--set", "variance=exact"], "variance = exact is for `bench run`"),
        (["--history", "unet-gaussian.json"], "'unet-gaussian.json' is a file"),
        (["--seed", "0,1"], "a profile has one seed"),
        (["--rounds", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_clear_line(
    words: list[str], message: str, tmp_path: Path
) -> None:
    done = profile(tmp_path, *words)
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.tex").write_text("x")
    done = profile(tmp_path)
    assert done.exit_code == 2
    assert "new holds other files" in done.stderr


def baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, Any]], None]
) -> None:
    """An older profile of the same row at 0.1 s, changed."""
    use_fakes(monkeypatch)
    assert profile(tmp_path, "--output", "old").exit_code == 0
    path = tmp_path / "old" / "profile.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_a_row_that_got_slower_fails_the_limit_with_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline(tmp_path, monkeypatch, lambda record: None)
    use_fakes(monkeypatch, 0.11)
    done = profile(tmp_path, "--compare", "old", "--fail-on", "5%")
    assert done.exit_code == 1
    assert "1 of 1 rows were judged" in done.stderr
    assert "FAIL unet-gaussian, torch fp32, batch 1: slower by 10.0%" in done.stderr
    done = profile(tmp_path, "--compare", "old", "--fail-on", "20%")
    assert done.exit_code == 0, done.output
    assert "ok: no row is slower by more than 20%" in done.stderr
    assert profile(tmp_path, "--compare", "old").exit_code == 0


@pytest.mark.parametrize(
    ("typed", "told"), [("5%", "5%"), ("2.5%", "2.5%"), ("100 %", "100%"), ("0.000001%", "0.000001%")]
)
def test_a_limit_that_can_judge_no_row_does_not_pass_and_is_named_as_typed(
    typed: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline(tmp_path, monkeypatch, lambda record: record.update(machine="another"))
    done = profile(tmp_path, "--compare", "old", "--fail-on", typed)
    assert done.exit_code == 2
    assert f"error: no row could be judged, so --fail-on {told} says nothing\n" in done.stderr
    assert "0 of 1 rows were judged" in done.stderr
    assert "another machine" in done.stdout


def test_a_history_shows_what_every_commit_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fakes(monkeypatch)
    done = profile(tmp_path, "--history", "past")
    assert done.exit_code == 0, done.output
    (kept,) = (tmp_path / "past").rglob("*.json")
    assert json.loads(kept.read_text())["rows"][0]["image_ms"] == pytest.approx(100)
    assert "ms an image on machine" in done.stdout


def test_an_interrupted_profile_is_written_and_ends_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [5]

    def stop() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted

    use_fakes(monkeypatch, stop=stop)
    monkeypatch.setattr("uadbench.bench.run.interrupt.ignore_signals", lambda: None)
    done = profile(tmp_path)
    assert done.exit_code == 130
    assert "what was measured is in new, marked unfinished" in done.stderr
    record = json.loads((tmp_path / "new" / "profile.json").read_text())
    assert record["finished"] is None
    assert record["rows"][0]["rounds"] == 4
    assert "Unfinished" in (tmp_path / "new" / "profile.html").read_text()


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    write_profile(tmp_path / "p", made_profile([made_row(gflops=float("inf"))]))
    assert json.loads((tmp_path / "p" / "profile.json").read_text())["rows"][0]["gflops"] is None
