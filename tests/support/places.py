"""Where the checkout and, on some machines, real data and ImageNet weights lie."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def python_path(*folders: Path) -> str:
    """PYTHONPATH of a process that looks in these folders first, then where this one was told to look."""
    told = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, folders), *([told] if told else [])])
