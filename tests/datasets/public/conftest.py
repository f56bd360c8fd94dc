"""The real data sets, where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.places import SHARED


def real_data() -> Path:
    """The folder of the real data sets, or skip."""
    beside = SHARED / "data"
    root = Path(os.environ.get("UADBENCH_DATA") or beside)
    if not all((root / name).is_dir() for name in ("ixi-midaxial", "stroke-masks", "soop-flair")):
        pytest.skip("real data not here; name their folder by UADBENCH_DATA")
    return root


@pytest.fixture
def root() -> Path:
    return real_data()
