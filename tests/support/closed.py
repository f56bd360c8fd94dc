"""Files and folders that may not be read."""

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


def locked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file may not be opened, likewise."""
    opened = Path.open

    def refusing(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refusing)
