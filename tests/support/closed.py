"""Folders that may not be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder may not be listed, as after ``chmod 000``, which would not stop root."""
    scandir = os.scandir

    def refusing(path: Any = ".") -> Any:
        if not isinstance(path, int) and Path(os.fsdecode(path)) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
