"""``bench report`` as a user meets it: what it writes, and a profile beside runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.profiled import made_profile
from support.runs import CELLS, make_run

from uadbench.bench.cli import cli
from uadbench.bench.profile.writing import write_profile

SECTION = '<section id="profile">'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "a", cells=CELLS[-2:], n_lesion=2, n_healthy=1)


def test_the_files_are_named_and_a_profile_is_on_the_page_only_where_it_is_asked_for(
    run: Path, tmp_path: Path
) -> None:
    write_profile(tmp_path / "profile", made_profile())
    for more, shown in (([], False), (["--profile", str(tmp_path / "profile")], True)):
        done = CliRunner().invoke(cli, ["report", str(run), "--output", str(tmp_path / "out"), *more])
        assert done.exit_code == 0, done.output
        names = ("csv", "md", "html")
        assert done.output.splitlines()[-3:] == [str(tmp_path / f"out/leaderboard.{end}") for end in names]
        assert (SECTION in (tmp_path / "out" / "leaderboard.html").read_text()) == shown


def test_what_is_no_profile_of_this_version_is_one_line_and_nothing_is_written(
    run: Path, tmp_path: Path
) -> None:
    write_profile(tmp_path / "old", made_profile(schema=1))
    for name in ("old", "nowhere"):
        command = ["report", str(run), "--output", str(tmp_path / "out"), "--profile", str(tmp_path / name)]
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert name in line
        assert not (tmp_path / "out").exists()
