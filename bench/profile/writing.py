"""The folder of a profile: which files, and whether a folder may be written to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uadbench.bench.profile.plan import ProfileError
from uadbench.bench.profile.record import PROFILE
from uadbench.reports.atomic import write_bytes, write_json
from uadbench.reports.page.profile import profile_page
from uadbench.reports.profile import markdown
from uadbench.reports.profile_files import csv_text, timings

__all__ = ["check_folder", "write_profile"]


def check_folder(folder: Path) -> None:
    """ProfileError where a folder holds other things than a profile; OSError where it cannot be one."""
    try:
        if not folder.exists():
            return
        if folder.is_dir() and ((folder / PROFILE).is_file() or not any(folder.iterdir())):
            return
    except OSError as error:
        raise ProfileError(
            f"{str(folder)[:300]!r} cannot be used ({error.strerror or error}); give another"
        ) from error
    what = "holds other files" if folder.is_dir() else "is a file"
    raise ProfileError(f"{folder} {what}; give --output a new folder, or that of an older profile")


def write_profile(folder: Path, record: Mapping[str, Any]) -> None:
    """Write profile.json, profile.csv, profile.md, profile.html and times.json; the record last, for it makes the
    folder one of ours."""
    plain = _plain(record)
    write_bytes(folder / "profile.csv", csv_text(plain).encode())
    write_bytes(folder / "times.json", (json.dumps(timings(plain), indent=1) + "\n").encode())
    write_bytes(folder / "profile.md", markdown(plain).encode())
    write_bytes(folder / "profile.html", profile_page(plain).encode())
    write_json(folder / PROFILE, plain)


def _plain(value: Any) -> Any:
    """JSON values; numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
