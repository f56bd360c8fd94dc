"""What a run ran on: versions, processor, memory, code. No user names, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = [
    "available_cores",
    "commit_date",
    "environment",
    "git_state",
    "packages",
    "physical_cores",
    "prepare_process",
    "processor_of",
    "thread_limits",
    "uadbench_version",
]

PACKAGES = (
    "uadbench",
    "torch",
    "triton",
    "numpy",
    "scipy",
    "numba",
    "scikit-image",
    "scikit-learn",
    "pandas",
    "nibabel",
    "nilearn",
    "pillow",
    "safetensors",
    "lpips",
    "torchvision",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-cu13",
    "tensorrt-rtx",
    "matplotlib",
)


# What /proc/cpuinfo calls it on x86 and on ARM.
PROCESSOR = {
    "vendor": ("vendor_id", "CPU implementer"),
    "family": ("cpu family", "CPU architecture"),
    "model": ("model", "CPU part"),
}
# Those that decide how fast convolutions and matrix products are.
INSTRUCTIONS = (
    *("sse4_2", "f16c", "fma", "avx", "avx2", "avx_vnni"),
    *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimddp", "fphp", "asimdhp", "sve", "sve2", "i8mm", "bf16"),
)


def prepare_process() -> None:
    """Set what must be set before torch and Numba are imported.

    THP_MEM_ALLOC_ENABLE=1 lets torch back large CPU tensors by transparent huge pages. Numba's kernels share
    the process with the network's threads, so they get one thread.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", "1")


def uadbench_version() -> str:
    """The installed version."""
    return metadata.version("uadbench")


def packages() -> dict[str, str]:
    """Name -> version of those of ``PACKAGES`` that are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def available_cores() -> int:
    """Threads that a network gets unless the user says otherwise: OMP_NUM_THREADS, or the physical cores."""
    return _omp_threads() or physical_cores()


def physical_cores() -> int:
    """Physical cores that this process may use: affinity and container quota taken into account, at least 1."""
    import psutil

    allowed = _affinity()
    limits = [len({_core_of(cpu) for cpu in allowed}), psutil.cpu_count(logical=False) or len(allowed)]
    quota = _cgroup_quota()
    if quota is not None:
        limits.append(int(quota))
    return max(1, min(limits))


def thread_limits() -> str:
    """Why ``available_cores`` is what it is, in words: "2 threads: 2 of 8 logical CPUs by affinity"."""
    allowed, everything, omp = len(_affinity()), os.cpu_count() or 1, _omp_threads()
    reasons = [f"{allowed} of {everything} logical CPUs" + (" by affinity" if allowed < everything else "")]
    reasons.append(f"{physical_cores()} physical")
    if (quota := _cgroup_quota()) is not None:
        reasons.append(f"container quota {quota:g}")
    reasons.append("OMP_NUM_THREADS not set" if omp is None else f"OMP_NUM_THREADS={omp}")
    return f"{available_cores()} threads: {', '.join(reasons)}"


def environment(threads: int) -> dict[str, Any]:
    """The machine and software; ``threads`` are those given to the network."""
    import psutil
    import torch

    return {
        "python": platform.python_version(),
        "packages": packages(),
        "cpu": _cpu_model(),
        "processor": processor_of(_cpuinfo()),
        "cores": physical_cores(),
        "affinity": len(_affinity()),
        "threads": threads,
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "torch": {
            "threads": torch.get_num_threads(),
            "interop_threads": torch.get_num_interop_threads(),
            "mkldnn": torch.backends.mkldnn.is_available(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
            "cuda": torch.version.cuda,
            "cuda_device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        },
        "variables": {
            name: os.environ[name]
            for name in ("THP_MEM_ALLOC_ENABLE", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
            if name in os.environ
        },
    }


@cache
def git_state() -> dict[str, Any]:
    """Commit and whether files differ from it; both None when the code does not run from a checkout."""
    commit, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    if commit is None or status is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(status)}


def commit_date(commit: str | None) -> str | None:
    """When a commit of this checkout was made, ISO 8601 in UTC; None where git cannot say."""
    seconds = _git("show", "-s", "--format=%ct", commit) if commit else None
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None


def _git(*arguments: str) -> str | None:
    """What git says of this checkout; None where the code does not run from one, or git fails."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def processor_of(cpuinfo: str) -> dict[str, Any]:
    """What tells a processor from others of its name: "vendor", "family", "model" and "instructions"; {} of nothing.

    cpuinfo : the text of /proc/cpuinfo, whose first processor is looked at. A virtual machine's name may say no more
        than "AMD EPYC". Instructions are those that matter to networks (``INSTRUCTIONS``) and are there, in order.
    """
    lines = [line.partition(":") for line in cpuinfo.partition("\n\n")[0].splitlines()]
    told = {name.strip(): value.strip() for name, _, value in lines}
    found: dict[str, Any] = {
        key: told[name] for key, names in PROCESSOR.items() for name in names if name in told
    }
    flags = set(told.get("flags", told.get("Features", "")).split())
    return found | {"instructions": [name for name in INSTRUCTIONS if name in flags]} if found else {}


def _cpuinfo() -> str:
    """ "" where the system has no such file."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _cpu_model() -> str:
    for line in _cpuinfo().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cgroup_quota() -> float | None:
    """Cores that the container may use (cgroup v2); None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _affinity() -> set[int]:
    """Logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _core_of(cpu: int) -> str:
    """What tells a logical CPU's core from others; hyper-threads of one core share it."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _omp_threads() -> int | None:
    """The first number of OMP_NUM_THREADS; None where it is not set, or is none that OpenMP would take."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if re.fullmatch(r"0*[1-9][0-9]{0,3}", first) and int(first) <= 1024 else None
