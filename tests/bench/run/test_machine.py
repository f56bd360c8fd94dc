"""How many threads a network gets, and what is recorded of the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from uadbench.bench.run import machine
from uadbench.bench.run.machine import (
    available_cores,
    environment,
    physical_cores,
    processor_of,
    thread_limits,
)


@pytest.mark.parametrize(
    ("value", "threads"),
    [
        pytest.param("1", 1, id="one"),
        pytest.param("3", 3, id="more than cores"),
        pytest.param("2,4", 2, id="nested levels"),
        pytest.param("", None, id="empty"),
        pytest.param("0", None, id="zero"),
        pytest.param("-2", None, id="negative"),
        pytest.param("many", None, id="word"),
        pytest.param("99999", None, id="nonsense"),
    ],
)
def test_omp_num_threads_is_the_default_where_it_is_a_number_of_threads(
    monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert available_cores() == (threads or physical_cores())


def test_affinity_and_the_containers_quota_limit_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_cgroup_quota", lambda: None)
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 8)
    monkeypatch.setattr(machine, "_core_of", str)
    monkeypatch.setattr(machine, "_affinity", lambda: set(range(4)))
    assert available_cores() == 4
    monkeypatch.setattr(machine, "_core_of", lambda cpu: str(cpu // 2))  # two hyper-threads a core
    assert available_cores() == 2
    monkeypatch.setattr(machine, "_cgroup_quota", lambda: 1.5)
    assert available_cores() == 1
    assert thread_limits().startswith("1 threads: 4 of ")
    assert "container quota 1.5, OMP_NUM_THREADS not set" in thread_limits()


def test_the_record_of_the_machine_holds_what_limits_threads_and_no_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = environment(1)
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    assert (found["threads"], found["cores"]) == (1, physical_cores())
    assert 1 <= found["affinity"] <= (os.cpu_count() or 1)
    assert Path.home().name not in str(found) or Path.home().name in ("root", "")


X86 = """processor	: 0
vendor_id	: AuthenticAMD
cpu family	: 25
model		: 17
model name	: AMD EPYC
flags		: fpu sse sse4_2 avx2 avx512_vnni avx512_bf16 avx512f

processor	: 1
vendor_id	: another
"""
ARM = """processor	: 0
Features	: fp asimd bf16 i8mm
CPU implementer	: 0x41
CPU architecture: 8
CPU part	: 0xd40
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param(
            X86,
            {
                "vendor": "AuthenticAMD",
                "family": "25",
                "model": "17",
                "instructions": ["sse4_2", "avx2", "avx512f", "avx512_vnni", "avx512_bf16"],
            },
            id="x86",
        ),
        pytest.param(
            ARM,
            {"vendor": "0x41", "family": "8", "model": "0xd40", "instructions": ["asimd", "i8mm", "bf16"]},
            id="arm",
        ),
        pytest.param("", {}, id="no such file"),
    ],
)
def test_a_processor_is_told_by_more_than_its_name(text: str, wanted: dict[str, Any]) -> None:
    assert processor_of(text) == wanted
