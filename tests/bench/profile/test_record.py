"""What stands in a profile of its machine: the GPU that torch uses, whatever number the system gives it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from uadbench.bench.profile.record import machine_id
from uadbench.bench.profile.state import at_work, device_state

PROPERTIES = SimpleNamespace(
    name="Some GPU", total_memory=2**34, multi_processor_count=7, uuid="01234567-89ab-cdef-0123-456789abcdef"
)


def test_clocks_are_of_the_gpu_that_torch_uses_and_not_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(words: list[str], **more: Any) -> Any:
        asked.append(words)
        return SimpleNamespace(stdout="580.1, 1980 MHz, 1980 MHz, 2619 MHz, 700.00 W, 31\n")

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: PROPERTIES)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    found = device_state("cuda:0")["gpu"]
    assert f"--id=GPU-{PROPERTIES.uuid}" in asked[0]
    assert (found["driver_version"], found["clocks.sm"], found["visible"]) == ("580.1", "1980 MHz", "3")


def test_the_device_works_until_its_clocks_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    worked = threading.Event()

    def slow() -> Any:
        assert worked.wait(10), "the clock is read beside the work, not after it"
        return SimpleNamespace(current=2599.6)

    monkeypatch.setattr("psutil.cpu_freq", slow)
    assert at_work("cpu", worked.set) == {"cpu_mhz": 2600}


def test_a_system_that_does_not_tell_its_clock_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_freq", lambda: None)
    assert device_state("cpu") == {"cpu_mhz": None}


def test_a_machine_is_its_hardware_and_not_its_software() -> None:
    here = {"cpu": "A", "cores": 2, "machine": "x86_64", "memory_mib": 16_000, "packages": {"torch": "2.9"}}
    assert machine_id(here) == machine_id({**here, "packages": {"torch": "2.13"}, "memory_mib": 16_100})
    for change in (
        {"cpu": "B"},
        {
            "processor": {"vendor": "V", "family": "25", "model": "1", "instructions": ["avx2"]}
        },  # not kept before
        {"cores": 4},
        {"memory_mib": 32_000},
        {"torch": {"cuda_device": "Some GPU"}},
    ):
        assert machine_id({**here, **change}) != machine_id(here)


def test_processors_of_one_name_are_told_apart_by_family_model_and_instructions() -> None:
    same = {"vendor": "V", "family": "25", "model": "17", "instructions": ["avx2", "avx512_bf16"]}
    here = {"cpu": "AMD EPYC", "processor": same, "cores": 2, "machine": "x86_64", "memory_mib": 16_000}
    assert machine_id(here) == machine_id({**here, "processor": dict(same)})
    for change in ({"family": "26"}, {"model": "2"}, {"instructions": ["avx2"]}):
        assert machine_id({**here, "processor": {**same, **change}}) != machine_id(here)
