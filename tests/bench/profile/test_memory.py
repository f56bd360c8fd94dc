"""Host memory: a peak above what was there before, or nothing where the system does not say."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from uadbench.bench.profile.memory import watch_peak


def proc(folder: Path, resident: int, peak: int, resettable: bool = True) -> Path:
    (folder / "status").write_text(f"Name:\tx\nVmHWM:\t{peak:8d} kB\nVmRSS:\t{resident:8d} kB\n")
    if resettable:
        (folder / "clear_refs").write_text("")
    return folder


def test_the_peak_is_counted_from_what_was_resident_before(tmp_path: Path) -> None:
    peak = watch_peak("cpu", proc(tmp_path, 10_240, 10_240))
    assert (tmp_path / "clear_refs").read_text() == "5"
    proc(tmp_path, 11_000, 20_480, resettable=False)
    assert peak.host_mib == 10.0
    assert peak.device_mib is None


def test_a_mark_that_cannot_be_set_back_gives_no_figure(tmp_path: Path) -> None:
    assert watch_peak("cpu", proc(tmp_path, 10_240, 99_999, resettable=False)).host_mib is None
    assert not (tmp_path / "clear_refs").exists()


def test_a_system_without_proc_gives_no_figure(tmp_path: Path) -> None:
    assert watch_peak("cpu", tmp_path / "nothing").host_mib is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/clear_refs")
def test_memory_that_came_and_went_is_seen() -> None:
    peak = watch_peak("cpu")
    if peak.resident_kib is None:
        pytest.skip("this system does not let the mark be set back")
    held = torch.ones(48 * 2**18)  # 48 MiB
    del held
    assert peak.host_mib is not None
    assert 40 < peak.host_mib < 80
