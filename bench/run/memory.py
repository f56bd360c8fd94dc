"""This process's resident memory, and the mark of the most that there was, as Linux tells them and sets them back."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PROC", "highest_kib", "resident_kib", "set_back"]

PROC = Path("/proc/self")
RESET = "5"  # written to clear_refs, it sets VmHWM back to what is resident now (proc(5))


def set_back(proc: Path = PROC) -> bool:
    """Set the mark of the highest resident memory back; whether that is allowed here."""
    try:
        with open(proc / "clear_refs", "r+") as file:  # never makes the file
            file.write(RESET)
    except OSError:
        return False
    return True


def resident_kib(proc: Path = PROC) -> int | None:
    """What is resident now; None where the system does not say."""
    return _status(proc, "VmRSS")


def highest_kib(proc: Path = PROC) -> int | None:
    """The most that was since the mark was set back; None likewise."""
    return _status(proc, "VmHWM")


def _status(proc: Path, name: str) -> int | None:
    """A line of /proc/self/status in KiB."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", (proc / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
