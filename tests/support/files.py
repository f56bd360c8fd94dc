"""Changes to what lies in a run directory, as somebody with an editor would make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uadbench.reports.atomic import read_json, write_json


def edit(path: Path, **changes: Any) -> None:
    """Set keys of a JSON file."""
    write_json(path, read_json(path) | changes)
