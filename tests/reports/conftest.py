"""One run for all that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import make_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with every cell of ``support.runs``; nobody changes it."""
    return make_run(tmp_path_factory.mktemp("runs") / "a")
