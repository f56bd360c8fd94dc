"""``bench data fetch``: where data come from, what is here, and what needs no fetching."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from uadbench.bench.commands.data import command
from uadbench.datasets import DATASETS
from uadbench.engine.perceptual.weights import PerceptualError


def bench(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


@pytest.mark.parametrize("name", ["ixi-stroke", "soop-flair", "stroke-masks"])
def test_fetch_states_source_licence_and_what_to_do(name: str, tmp_path: Path) -> None:
    result = bench("fetch", name, "--data-root", tmp_path)
    assert result.exit_code == 2
    for word in ("licence: ", "cite: ", "to get it: ", "layout: ", "here: no"):
        assert word in result.stdout
    assert "cannot be downloaded" in result.stderr


def test_fetch_of_data_that_are_here_says_whether_they_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "soop-flair").mkdir()
    (tmp_path / "soop-flair" / "index.csv").write_text("case\n")
    result = bench("fetch", "soop-flair", "--data-root", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"here: {tmp_path / 'soop-flair'}" in result.stdout
    assert "contents: not those" in result.stdout


@pytest.mark.parametrize("name", ["phantom", "folder"])
def test_fetch_of_what_needs_no_fetching_says_so(name: str) -> None:
    result = bench("fetch", name)
    assert result.exit_code == 0
    assert "nothing to fetch" in result.stdout


@pytest.mark.parametrize("origin", ["synthetic", ""])
def test_fetch_of_another_packages_data_set_names_the_package(
    origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = replace(DATASETS["phantom"](), name="squares", origin=origin)
    monkeypatch.setitem(DATASETS, "squares", lambda *_, **__: opened)
    package = {("data set", "squares"): "my-package 1.0"}
    monkeypatch.setattr("uadbench.bench.plan.plugins.sources", lambda: package)
    result = bench("fetch", "squares")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "squares: it comes with my-package 1.0, which says how its files are got, where it needs any\n"
    )


def test_fetch_of_weights_prints_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def fetch(force: bool) -> Path:
        asked.append(force)
        return tmp_path / "w.pth"

    monkeypatch.setattr("uadbench.bench.fetch.fetch_lpips_squeeze", fetch)
    result = bench("fetch", "lpips-squeeze", "--force")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "w.pth")
    assert asked == [True]


def test_fetch_of_weights_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(force: bool) -> Path:
        raise PerceptualError("no network; save the file by hand")

    monkeypatch.setattr("uadbench.bench.fetch.fetch_lpips_squeeze", fetch)
    result = bench("fetch", "lpips-squeeze")
    assert result.exit_code == 2
    assert result.stderr == "error: no network; save the file by hand\n"
