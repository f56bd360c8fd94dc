"""Memory: a peak above what was there before, or nothing where the system does not say; each arm in its own process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.profiled import Clock, Slow, die, sleep_on, tiny_network

from uadbench.bench.profile import memory
from uadbench.bench.profile.memory import Peak, peak_of, rise
from uadbench.bench.run.interrupt import Interrupted
from uadbench.bench.run.memory import set_back
from uadbench.reports.identity import Arm

CALLED = (torch.zeros(2, 1, 32, 32), torch.tensor([250, 250]), None)
TORCH = Arm("torch", "fp32", "cpu")
needs_marks = pytest.mark.skipif(
    sys.platform != "linux" or not set_back(), reason="this system does not let the mark be set back"
)


def proc(folder: Path, resident: int, peak: int, resettable: bool = True) -> Path:
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak:8d} kB\nVmRSS:\t{resident:8d} kB\n")
    if resettable:
        (folder / "clear_refs").write_text("")
    return folder


def network(at_call: Callable[[], Any] = lambda: None) -> Slow:
    return Slow(Clock(), 0.1, answer=lambda x: (at_call(), x)[1])


def test_the_peak_is_counted_from_what_was_resident_before(tmp_path: Path) -> None:
    made = network(lambda: proc(tmp_path, 11_000, 20_480, resettable=False))
    proc(tmp_path, 10_240, 10_240)
    assert rise(lambda: made, CALLED, tmp_path) == Peak(10.0, None)
    assert (tmp_path / "clear_refs").read_text() == "5"
    assert (made.calls, made.closed) == (2, True)


def test_a_mark_that_cannot_be_set_back_gives_no_figure(tmp_path: Path) -> None:
    assert rise(network, CALLED, proc(tmp_path, 10_240, 99_999, resettable=False)) == Peak()
    assert not (tmp_path / "clear_refs").exists()


def test_a_system_without_proc_gives_no_figure(tmp_path: Path) -> None:
    assert rise(network, CALLED, tmp_path / "nothing") == Peak()


def test_of_a_gpu_it_is_what_is_no_longer_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    free = iter([10 * 2**30, 9 * 2**30])
    monkeypatch.setattr(memory.torch.cuda, "mem_get_info", lambda device: (next(free), 16 * 2**30))
    called = (SimpleNamespace(device="cuda:0"), None, None)
    assert rise(lambda: Slow(Clock(), 0.1, answer=lambda x: x), called, tmp_path).device_mib == 1024.0  # type: ignore[arg-type]


@needs_marks
def test_memory_that_came_and_went_is_seen() -> None:
    found = rise(lambda: network(lambda: torch.ones(48 * 2**18)), CALLED)  # 48 MiB
    assert found.host_mib is not None
    assert 40 < found.host_mib < 80


@needs_marks
def test_what_the_profile_holds_already_does_not_count(tmp_path: Path) -> None:
    def measured() -> float:
        found = peak_of(TORCH, tiny_network(tmp_path), 1, "latency", CALLED, lambda: None)
        assert found.host_mib is not None, found.note
        return found.host_mib

    before = measured()
    freed = [
        torch.ones(2**14) for _ in range(3200)
    ]  # 200 MiB in pieces that the process keeps when they are freed
    del freed
    assert before > 1
    assert measured() == pytest.approx(before, rel=0.3, abs=5)


def test_what_fails_in_the_process_is_said(tmp_path: Path) -> None:
    found = peak_of(TORCH, tmp_path / "none.safetensors", 1, "latency", CALLED, lambda: None)
    assert found.host_mib is None
    assert "none.safetensors" in found.note


def test_a_process_that_is_killed_gives_no_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_measure", die)
    found = peak_of(TORCH, tmp_path, 1, "latency", CALLED, lambda: None)
    assert found == Peak(note="its process ended with code 7; is there enough memory?")


def test_the_user_can_stop_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted

    monkeypatch.setattr(memory, "_measure", sleep_on)
    with pytest.raises(Interrupted):
        peak_of(TORCH, tmp_path, 1, "latency", CALLED, stop)
