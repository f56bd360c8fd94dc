"""Peak memory of what happens between two moments: of this process on the host, of torch's allocator on a GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Peak", "watch_peak"]

PROC = Path("/proc/self")
RESET = "5"  # written to clear_refs, it sets VmHWM back to what is resident now (proc(5))


@dataclass(frozen=True)
class Peak:
    """Where a watch began; ``host_mib`` and ``device_mib`` say how far memory rose above that since.

    resident_kib : None where the system does not say, or does not let the mark be set back
    device_bytes : of torch's allocator; None off a GPU
    """

    device: str
    resident_kib: int | None
    device_bytes: int | None
    proc: Path = PROC

    @property
    def host_mib(self) -> float | None:
        """The highest resident memory since, above that at the beginning."""
        peak = _status(self.proc, "VmHWM")
        if self.resident_kib is None or peak is None:
            return None
        return max(0, peak - self.resident_kib) / 2**10

    @property
    def device_mib(self) -> float | None:
        """The most that torch's allocator gave out since, above that at the beginning; not what other libraries did."""
        if self.device_bytes is None:
            return None
        return max(0, torch.cuda.max_memory_allocated(self.device) - self.device_bytes) / 2**20


def watch_peak(device: str, proc: Path = PROC) -> Peak:
    """Begin to watch; the marks are this process's, so one watch at a time."""
    resident = _status(proc, "VmRSS") if _reset(proc) else None
    given = None
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        given = torch.cuda.memory_allocated(device)
    return Peak(device, resident, given, proc)


def _reset(proc: Path) -> bool:
    """Set the mark of the highest resident memory back; whether that is allowed here."""
    try:
        with open(proc / "clear_refs", "r+") as file:  # never makes the file
            file.write(RESET)
    except OSError:
        return False
    return True


def _status(proc: Path, name: str) -> int | None:
    """A line of /proc/self/status in KiB."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", (proc / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
