"""What is said of a file that is sound and may not be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.closed import locked
from support.volumes import brain, save

from uadbench.datasets.case import CaseError
from uadbench.datasets.native import read_grid
from uadbench.datasets.readers import read_slice
from uadbench.datasets.volumes import read_volume


def made(path: Path) -> Path:
    if path.suffix == ".png":
        Image.fromarray(np.full((9, 9), 3, dtype=np.uint8)).save(path)
    elif path.suffix == ".npy":
        np.save(path, np.ones((9, 9)))
    else:
        save(path, brain())
    return path


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.png", read_slice),
        ("a.npy", read_slice),
        ("a.nii.gz", lambda path: read_slice(path, 3)),
        ("a.nii", read_volume),
        ("a.png", read_grid),
        ("a.nii", read_grid),
    ],
)
def test_a_file_that_this_user_may_not_read_is_not_to_be_saved_again(
    tmp_path: Path, name: str, read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path / name)
    read(path)
    locked(path, monkeypatch)
    with pytest.raises(CaseError) as error:
        read(path)
    assert str(error.value).startswith(
        f"{path}: may not be read by this user (Permission denied); change the rights"
    )
    assert "again" not in str(error.value)
