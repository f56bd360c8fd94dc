"""A whole profile with fakes: what it holds, what fails, what is left when it is interrupted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.profiled import Clock, Slow, instruments, tiny_network

from uadbench.bench.profile import streams
from uadbench.bench.profile.calls import HOST
from uadbench.bench.profile.plan import ProfileError, ProfilePlan, check_load, plan_profile
from uadbench.bench.profile.run import execute
from uadbench.bench.run.interrupt import Interrupted
from uadbench.engine.backends import BackendError
from uadbench.reports.identity import Arm

SECONDS = {"torch": 0.4, "onnxruntime": 0.2, "openvino": 0.1}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_plan(tmp_path: Path, backends: str = "torch,onnxruntime", **more: Any) -> ProfilePlan:
    flags = {"backends": backends, "threads": 1, **more.pop("flags", {})}
    fields: dict[str, Any] = {"rounds": 10, "batches": (2,), "streams": 0, **more}
    return plan_profile([str(tiny_network(tmp_path))], fields.pop("batches"), flags, **fields)


def opener(clock: Clock, opened: list[Slow], **answers: Callable[..., Any]) -> Callable[..., Slow]:
    def open_it(
        arm: Arm, path: Path, threads: int, batch: int, say: Callable[[str], None], hint: str
    ) -> Slow:
        clock.now += 1.0
        name = arm.backend
        more = {"answer": answers[name]} if name in answers else {}
        found = Slow(clock, SECONDS[name], name, arm.precision, first=0.5, threads=threads, **more)
        opened.append(found)
        return found

    return open_it


def measure(plan: ProfilePlan, clock: Clock, **more: Any) -> dict[str, Any]:
    kept: list[dict[str, Any]] = []
    tools = instruments(clock, more.pop("opener", opener(clock, [])), **more)
    record = execute(plan, tools, "bench profile", kept.append)
    assert kept == [record]
    return record


def by_backend(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["backend"]: row for row in record["rows"]}


def test_a_turn_of_each_network_is_two_calls_of_which_one_is_timed(tmp_path: Path, clock: Clock) -> None:
    def made(rounds: int) -> tuple[int, int]:
        opened: list[Slow] = []
        record = measure(make_plan(tmp_path, rounds=rounds), clock, opener=opener(clock, opened))
        return sum(one.calls for one in opened), sum(len(row["raw"]) for row in record["rows"])

    few, many = made(8), made(11)
    assert many[1] - few[1] == 2 * 3  # two arms
    assert many[0] - few[0] == 2 * 2 * 3


def test_a_profile_holds_what_the_clock_showed(tmp_path: Path, clock: Clock) -> None:
    opened: list[Slow] = []
    plan = make_plan(tmp_path)
    record = measure(plan, clock, opener=opener(clock, opened))
    rows = by_backend(record)
    eager, other = rows["torch"], rows["onnxruntime"]
    assert eager["network_ms"]["p50"] == pytest.approx(400)
    assert eager["image_ms"]["p50"] == pytest.approx(200)  # of a batch of two
    assert eager["images_per_s"] == pytest.approx(5)
    assert (eager["first_call_ms"], eager["second_call_ms"]) == pytest.approx((900, 400))
    assert eager["image_ms"]["p90"] is None  # 10 calls allow none
    assert eager["stability"]["verdict"] == "stable"
    assert (eager["parity"], other["parity"]) == ("reference", "pass")
    assert other["speedup"]["value"] == pytest.approx(2.0)
    assert eager["speedup"] is None
    assert eager["gflops"] == pytest.approx(eager["flops"] / 0.4 / 1e9)
    assert eager["share_of_ceiling"] == pytest.approx(eager["gflops"] / 200)
    assert eager["gb_per_s"] == pytest.approx(eager["bytes"] / 0.4 / 1e9)
    assert eager["share_of_copy"] == pytest.approx(eager["gb_per_s"] / 10)
    assert eager["cpu_use"] == pytest.approx(1.0)
    assert record["finished"]
    assert all(denoiser.closed for denoiser in opened)


def test_what_runs_an_export_is_opened_twice_so_that_the_export_stands_apart(
    tmp_path: Path, clock: Clock
) -> None:
    rows = by_backend(measure(make_plan(tmp_path), clock))
    assert (rows["torch"]["build_ms"], rows["torch"]["reopen_ms"]) == (pytest.approx(1000), None)
    assert (rows["onnxruntime"]["build_ms"], rows["onnxruntime"]["reopen_ms"]) == pytest.approx((1000, 1000))


def test_what_is_compiled_is_opened_twice_too_so_that_the_compiler_stands_apart(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SECONDS, "torch-compile", 0.3)
    row = by_backend(measure(make_plan(tmp_path, "torch,torch-compile"), clock))["torch-compile"]
    assert (row["build_ms"], row["reopen_ms"]) == pytest.approx((1000, 1000))


def test_back_ends_that_take_minutes_to_open_are_profiled_where_they_are_named(tmp_path: Path) -> None:
    flags = {"threads": 1}
    every = plan_profile([str(tiny_network(tmp_path))], (2,), flags, rounds=10, streams=0)
    assert "torch-compile" not in {arm.backend for arm in every.arms}
    assert re.search(r"name it in --backends|C\+\+ compiler", every.left_out["torch-compile fp32"])
    named = make_plan(tmp_path, "torch-compile")
    assert [arm.backend for arm in named.arms] == ["torch", "torch-compile"]
    assert not named.left_out


def test_an_arm_that_computes_something_else_fails_parity_and_shows_no_speedup(
    tmp_path: Path, clock: Clock
) -> None:
    wrong = opener(clock, [], onnxruntime=lambda x: 0.51 * x)
    row = by_backend(measure(make_plan(tmp_path), clock, opener=wrong))["onnxruntime"]
    assert row["parity"] == "fail"
    assert row["parity_error"] > row["parity_gate"]
    assert row["speedup"] is None
    assert row["speedup_note"] == "parity: one call is off by 1.0e-02 of the image, the gate is 1e-05"


def test_an_arm_that_answers_nan_fails_parity(tmp_path: Path, clock: Clock) -> None:
    wrong = opener(clock, [], onnxruntime=lambda x: x * float("nan"))
    row = by_backend(measure(make_plan(tmp_path), clock, opener=wrong))["onnxruntime"]
    assert (row["parity"], row["parity_error"]) == ("fail", None)


def test_rows_taken_under_load_are_marked_and_show_no_speedup(tmp_path: Path, clock: Clock) -> None:
    row = by_backend(measure(make_plan(tmp_path), clock, load=lambda: 1.3))["onnxruntime"]
    assert row["under_load"]
    assert row["speedup"] is None
    assert "under load (1.3)" in row["speedup_note"]


def test_an_arm_that_cannot_be_opened_is_a_failed_row_and_the_others_are_measured(
    tmp_path: Path, clock: Clock
) -> None:
    usual = opener(clock, [])

    def broken(arm: Arm, *rest: Any, **more: Any) -> Slow:
        if arm.backend == "onnxruntime":
            raise BackendError("no such luck; install it")
        return usual(arm, *rest, **more)

    rows = by_backend(measure(make_plan(tmp_path), clock, opener=broken))
    assert rows["onnxruntime"]["status"] == "failed"
    assert "no such luck" in rows["onnxruntime"]["reason"]
    assert rows["torch"]["rounds"] == 10


def test_an_interrupted_profile_keeps_what_was_measured_and_says_that_it_is_unfinished(
    tmp_path: Path, clock: Clock
) -> None:
    left = [40]

    def stop() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted

    kept: list[dict[str, Any]] = []
    plan, opened = make_plan(tmp_path, batches=(1, 2), rounds=15), list[Slow]()
    with pytest.raises(Interrupted):
        execute(plan, instruments(clock, opener(clock, opened), stop=stop), "bench profile", kept.append)
    (record,) = kept
    assert record["finished"] is None
    states = [(row["batch"], row["status"]) for row in record["rows"]]
    assert states[:2] == [(1, "ok"), (1, "ok")]
    assert sum(row["rounds"] for row in record["rows"]) == 40 - 2 - 2  # two openings a group ask as well
    assert all(denoiser.closed for denoiser in opened)


def test_work_of_minutes_is_announced_whenever_a_network_is_opened(tmp_path: Path, clock: Clock) -> None:
    usual, told = opener(clock, []), list[str]()

    def slow(arm: Arm, path: Path, threads: int, batch: int, say: Callable[[str], None], hint: str) -> Slow:
        say(f"building {arm.backend} for {threads}")
        return usual(arm, path, threads, batch, say, hint)

    before = torch.get_num_threads()
    try:
        measure(make_plan(tmp_path, flags={"threads": 2}, streams=2), clock, opener=slow, say=told.append)
    finally:
        torch.set_num_threads(before)
    one, export, callers = ["building torch for 2"], ["building onnxruntime for 2"] * 2, [2, 1, 1]
    assert told == [
        *one,
        *export,
        *(f"building {n} for {t}" for n in SECONDS if n != "openvino" for t in callers),
    ]


def test_methods_stand_beside_the_calls_of_their_network(tmp_path: Path, clock: Clock) -> None:
    sets = [("checkpoints.unet-gaussian", str(tiny_network(tmp_path)))]
    flags = {"methods": "ddpm", "steps": 3, "backends": "onnxruntime", "threads": 1}
    plan = plan_profile([], (1,), flags, sets, rounds=9, streams=0)
    record = measure(plan, clock)
    assert [(row["method"], row["backend"]) for row in record["rows"]] == [
        ("-", "torch"),
        ("-", "onnxruntime"),
        ("ddpm", "torch"),
        ("ddpm", "onnxruntime"),
    ]
    method = record["rows"][3]
    assert (method["nfe"], method["rounds"]) == (3, 3)
    assert method["image_ms"]["p50"] == pytest.approx(600)
    assert method["network_ms"]["p50"] == pytest.approx(200)
    assert method["stages_ms"]["network"] == pytest.approx(600)
    assert method["flops"] == 3 * record["rows"][1]["flops"]


def test_callers_that_share_threads_are_held_against_one(tmp_path: Path, clock: Clock) -> None:
    plan = make_plan(tmp_path, flags={"threads": 2}, streams=2)
    before = torch.get_num_threads()
    try:
        record = measure(plan, clock)
    finally:
        torch.set_num_threads(before)
    found = {entry["backend"]: entry for entry in record["streams"]}
    assert found["onnxruntime"]["threads_each"] == 1
    # By the one fake clock, callers wait for each other: two do twice the work in twice the time.
    assert found["onnxruntime"]["ratio"] == pytest.approx(1.0)
    assert found["onnxruntime"]["ratios"] == pytest.approx([1.0] * 3)
    assert found["onnxruntime"]["better"] is None


@pytest.mark.parametrize(("ratio", "better"), [(1.06, 2), (1.04, None), (0.96, None), (0.94, 1)])
def test_one_or_more_callers_are_better_from_the_gain_on_that_a_run_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: float, better: int | None
) -> None:
    held = {"one_images_per_s": 1.0, "images_per_s": ratio, "ratio": ratio, "ratios": [ratio] * 3}
    monkeypatch.setattr(streams, "hold_against_one", lambda *given: [held])
    inputs = SimpleNamespace(on=print, images=[])
    network = SimpleNamespace(path=tmp_path)
    found = streams.compare_streams(Arm("torch", "fp32", "cpu"), network, inputs, 2, 2, None, HOST)  # type: ignore[arg-type]
    assert (found["better"], found["worth"]) == (better, 1.05)


def test_a_back_end_whose_threads_are_the_process_s_is_not_given_a_part(tmp_path: Path, clock: Clock) -> None:
    usual = opener(clock, [])

    def shared(*arguments: Any, **more: Any) -> Slow:
        found = usual(*arguments, **more)
        found.threads = 2
        return found

    before = torch.get_num_threads()
    try:
        record = measure(make_plan(tmp_path, flags={"threads": 2}, streams=2), clock, opener=shared)
    finally:
        torch.set_num_threads(before)
    assert all("cannot be shared out" in entry["reason"] for entry in record["streams"])


def test_a_busy_machine_is_refused_unless_that_is_allowed() -> None:
    assert not check_load(2.4, 2, False)
    with pytest.raises(ProfileError, match=r"load average is 2\.5, above 1\.2 x 2 threads"):
        check_load(2.5, 2, False)
    assert check_load(2.5, 2, True)
