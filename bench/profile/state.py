"""What decides a device's speed besides its name: modes, driver, clocks; read at work, for idle it clocks down."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

__all__ = ["at_work", "device_state"]


def at_work(device: str, work: Callable[[], object]) -> dict[str, Any]:
    """``device_state``, read while ``work`` is done over and over."""
    with ThreadPoolExecutor(1) as aside:
        told = aside.submit(device_state, device)
        work()
        while not told.done():
            work()
        return told.result()


def device_state(device: str) -> dict[str, Any]:
    """ "cpu_mhz", what the system says of the processor's clock now, and on a GPU "gpu"."""
    found: dict[str, Any] = {"cpu_mhz": _clock()}
    return found | ({"gpu": _gpu_state(device)} if device.startswith("cuda") else {})


def _clock() -> int | None:
    """None where the system does not say."""
    import psutil

    try:
        clock = psutil.cpu_freq()
    except (AttributeError, NotImplementedError, OSError):
        return None
    return None if clock is None else round(clock.current)


def _gpu_state(device: str) -> dict[str, Any]:
    """Versions, driver and clocks; the latter come from nvidia-smi and are left out where there is none."""
    properties = torch.cuda.get_device_properties(device)
    found: dict[str, Any] = {
        "name": properties.name,
        "memory_mib": properties.total_memory // 2**20,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    names = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")
    if program := shutil.which("nvidia-smi"):
        # by what it is, for nvidia-smi numbers all GPUs and torch those of CUDA_VISIBLE_DEVICES
        wanted = [f"--query-gpu={','.join(names)}", "--format=csv,noheader", f"--id=GPU-{properties.uuid}"]
        try:
            told = subprocess.run([program, *wanted], capture_output=True, text=True, timeout=20, check=True)
            found |= dict(zip(names, (part.strip() for part in told.stdout.split(",")), strict=False))
        except (OSError, subprocess.SubprocessError):
            found["nvidia_smi"] = "failed"
    return found | {"visible": os.environ.get("CUDA_VISIBLE_DEVICES")}
