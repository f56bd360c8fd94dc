"""Where a profile was taken: machine, versions, clocks, and what the device reaches at best, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from uadbench.reports.provenance import version_text

__all__ = ["ceiling_lines", "gpu_of", "machine_lines"]


def ceiling_lines(profile: Mapping[str, Any]) -> list[str]:
    """'cpu fp32: matrix product 201 GFLOP/s, convolution 368 GFLOP/s', and the copies."""
    found = []
    for device, entry in profile["ceilings"].items():
        for precision, rates in entry["precisions"].items():
            product, convolution = rates["matmul_gflops"], rates["conv_gflops"]
            found.append(
                f"{device} {precision}: matrix product {product:.0f} GFLOP/s, convolution {convolution:.0f} GFLOP/s"
            )
        found += [f"{device} {name}: no ceiling ({why})" for name, why in entry.get("left_out", {}).items()]
        found.append(f"{device}: copy {entry['copy_gb_s']:.1f} GB/s, read and written")
    return found


def machine_lines(profile: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of where, when and with what it was taken; nothing for what is absent."""
    found, gpu = profile["environment"], gpu_of(profile)
    packages = found.get("packages") or {}
    lines: Sequence[tuple[str, Any]] = (
        ("Command", profile["command"]),
        ("Created", profile["created"]),
        ("Finished", profile["finished"] or "not finished"),
        (
            "Machine",
            f"{profile['machine']}: {found.get('cpu')}, {found.get('cores')} cores, {found.get('os')}",
        ),
        ("Threads", profile["threads"]),
        ("Seed", profile["seed"]),
        ("Data", profile["data"]),
        ("uadbench", version_text(profile["version"], profile["git"])),
        ("Hint of OpenVINO", profile["hint"]),
        ("Processor's clock while it worked", _clock(profile)),
        ("Packages", ", ".join(f"{name} {version}" for name, version in packages.items())),
        ("GPU", ", ".join(f"{name} {value}" for name, value in gpu.items() if value is not None)),
    )
    return [(name, str(text)) for name, text in lines if text not in (None, "")]


def gpu_of(profile: Mapping[str, Any]) -> Mapping[str, Any]:
    """As it was at the first network and batch, its name alone where it came to none; {} off a GPU."""
    if not profile["device"].startswith("cuda"):
        return {}
    told = (entry["gpu"] for entry in profile["at_work"] if entry.get("gpu"))
    return next(told, {"name": (profile["environment"].get("torch") or {}).get("cuda_device")})


def _clock(profile: Mapping[str, Any]) -> str:
    told = [entry["cpu_mhz"] for entry in profile["at_work"] if entry.get("cpu_mhz")]
    return f"{min(told)} to {max(told)} MHz" if told else ""
