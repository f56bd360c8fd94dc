"""Peak memory of what happens between two moments: of this process on the host, of torch's allocator on a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from uadbench.bench.run.memory import PROC, highest_kib, resident_kib, set_back

__all__ = ["Peak", "watch_peak"]


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
        peak = highest_kib(self.proc)
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
    resident = resident_kib(proc) if set_back(proc) else None
    given = None
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        given = torch.cuda.memory_allocated(device)
    return Peak(device, resident, given, proc)
