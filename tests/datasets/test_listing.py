"""Files by pattern: as ``Path.glob`` has it, but a folder that cannot be read is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from support.closed import closed

from uadbench.datasets.case import CaseError
from uadbench.datasets.listing import matching

FILES = ("a.png", "x/b.png", "x/y/c.png", "x/y/z/d.png", "w/y/e.png", "x/b.txt", "x/.f.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    [
        "*.png",
        "*/*.png",
        "x/*",
        "*/y/*.png",
        "x/y/c.png",
        "**/*.png",
        "x/**/*.png",
        "**/y/*",
        "[wx]/?",
        "**",
        "*",
    ],
)
def test_what_matches_is_what_glob_gives(tree: Path, pattern: str) -> None:
    assert sorted(matching(tree, pattern)) == sorted(tree.glob(pattern))


@pytest.mark.parametrize("name", [".git", "lost+found"])
def test_a_wildcard_does_not_go_where_a_system_keeps_its_own(
    tree: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / name).mkdir()
    (tree / name / "g.png").write_text("")
    closed(tree / name, monkeypatch)
    assert not {
        path for pattern in ("*/*.png", "**/*.png") for path in matching(tree, pattern) if name in path.parts
    }


@pytest.mark.parametrize("pattern", ["*/y/*.png", "**/*.png", "x/y/*"])
def test_a_folder_that_cannot_be_read_is_named_in_one_line(
    tree: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed(tree / "x/y", monkeypatch)
    assert matching(tree, "x/*.png"), "what the pattern does not go through is not looked at"
    with pytest.raises(CaseError) as error:
        matching(tree, pattern)
    assert str(error.value).startswith(
        f"{tree / 'x/y'}: cannot be read (Permission denied); make it readable"
    )
    assert "\n" not in str(error.value)


def test_a_folder_that_may_be_listed_but_not_entered_is_named_and_not_what_is_in_it(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def refusing(path: Path, **options: Any) -> os.stat_result:
        if path.parent == tree / "x":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    with pytest.raises(CaseError) as error:
        matching(tree, "*/y/*.png")
    assert str(error.value).startswith(f"{tree / 'x'}: cannot be read (Permission denied)")
