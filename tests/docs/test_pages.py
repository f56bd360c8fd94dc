"""What can be typed from the pages works: snippets run, commands exist, links lead somewhere."""

from __future__ import annotations

import dataclasses
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from support.pages import PAGES, blocks, code, fenced, page, relative, table
from support.places import ROOT

from uadbench.bench.cli import cli
from uadbench.bench.plan.config import RunConfig
from uadbench.bench.score.scorers import SCORERS
from uadbench.datasets import DATASETS
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.tensorrt_library import PROVIDER, RTX, TENSORRT
from uadbench.engine.methods import FLOORS, METHODS, all_methods, build_method
from uadbench.engine.networks import NETWORKS
from uadbench.engine.perceptual import PERCEPTUALS
from uadbench.engine.post import POSTS
from uadbench.reports.vocabulary import MEASURES

REGISTRIES: tuple[dict[str, Any], ...] = (
    METHODS,
    FLOORS,
    NETWORKS,
    DATASETS,
    BACKENDS,
    MEASURES,
    SCORERS,
    POSTS,
)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in, and registries that are afterwards what they were."""
    monkeypatch.chdir(tmp_path)
    kept = [dict(registry) for registry in REGISTRIES]
    yield tmp_path
    for registry, content in zip(REGISTRIES, kept, strict=True):
        registry.clear()
        registry.update(content)


def run_snippet(where: str, text: str) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": f"docs.{where}"}
    exec(compile(text, where, "exec", dont_inherit=True), space)
    return space


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(("where", "text"), [pytest.param(*block, id=block[0]) for block in blocks("python")])
def test_a_snippet_runs_as_it_stands(where: str, text: str) -> None:
    run_snippet(where, text)


def test_the_method_of_ten_lines_makes_one_call(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = fenced(page("extend.md"), "python")[0]
    run_snippet("extend", text)
    assert f"# {capsys.readouterr().out.strip()}" in text


def test_the_folder_of_the_page_is_checked_as_the_page_says(in_folder: Path) -> None:
    text = page("data.md")
    run_snippet("data", fenced(text, "python")[0])
    good, bad = fenced(text, "text")
    done = CliRunner().invoke(cli, ["data", "check", "folder", "--data-root", "mine"])
    assert done.exit_code == 0
    assert _without_hash(done.output) == _without_hash(good)
    image = np.load("mine/images/p01.npy")
    image[0, :3] = np.nan
    np.save("mine/images/p01.npy", image)
    done = CliRunner().invoke(cli, ["data", "check", "folder", "--data-root", "mine"])
    assert done.exit_code == 1
    assert set(bad.splitlines()) <= set(done.output.splitlines())


def _without_hash(text: str) -> str:
    return re.sub(r"fingerprint \w+", "fingerprint", text)


COMMANDS = [
    pytest.param(line.split(" > ")[0].strip(), id=f"{where}: {line.strip()[:50]}")
    for where, block in blocks("sh")
    for line in re.split(r"\n|&&", block)
    if line.strip().startswith("bench ")
]
NAMED = sorted({found for path in PAGES for found in re.findall(r"`(bench [^`\n]+)`", path.read_text())})


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first words name, and the rest."""
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"bench has no {words[0]}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_in_a_block_is_understood_as_typed(line: str) -> None:
    command, words = resolve(shlex.split(line)[1:])
    command.make_context(
        line, list(words)
    )  # raises on an unknown option, a value that is none, a missing argument


@pytest.mark.parametrize("line", NAMED)
def test_a_command_in_a_sentence_exists_with_its_options(line: str) -> None:
    command, words = resolve(shlex.split(line)[1:])
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}


def test_what_is_set_can_be_set() -> None:
    keys = {key for path in PAGES for key in re.findall(r"--set ([\w.-]+)=", path.read_text())}
    fields = {field.name for field in dataclasses.fields(RunConfig)}
    for key in keys:
        head, _, tail = key.partition(".")
        if head == "checkpoints" or tail.isupper() or key == "one-call.t":
            continue
        if not tail:
            assert head in fields, key
        elif head == "perceptual_weights":
            assert tail in PERCEPTUALS, key
        else:
            method: Any = build_method(head, all_methods()[head].noises[0])
            assert tail in {field.name for field in dataclasses.fields(method)}, key


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(path: Path) -> None:
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    """As GitHub names it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_a_page_names_files_of_the_code_that_are_there(path: Path) -> None:
    named = re.findall(
        r"`((?:bench|engine|datasets|reports|exporters|tests)/[\w/.-]+\.(?:py|csv|toml))`", path.read_text()
    )
    assert not [name for name in named if "NAME" not in name and not (ROOT / name).exists()]


def test_every_method_and_floor_has_a_page() -> None:
    named = {path.stem for path in PAGES if path.parent.name == "methods"}
    assert named == {*METHODS, "floors", "perceptual"}
    assert all(f"`{floor}`" in page("methods/floors.md") for floor in FLOORS)


def test_every_perceptual_net_has_its_row() -> None:
    rows = table(page("methods/perceptual.md"), "perceptual nets")
    assert [code(row["name"]) for row in rows] == list(PERCEPTUALS)


def test_ci_calls_the_gate_and_nothing_else() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"run: (.+)", text) == ["bash .ci/run"]
    assert 'python-version: "3.11"' in text


def test_the_table_of_tensorrt_names_what_is_installed_and_what_it_runs_on() -> None:
    rows = {code(row["back end"]): row for row in table(page("backends.md"), "tensorrt")}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(rows) == {TENSORRT.name, RTX.name, PROVIDER.name}
    for library in (TENSORRT, RTX, PROVIDER):
        row = rows[library.name]
        assert (code(row["module"]), code(row["extra"])) == (library.module, library.extra)
        assert library.extra in extras
    for library in (TENSORRT, PROVIDER):
        assert rows[library.name]["versions"].startswith(".".join(map(str, library.least)))
    assert f"tensorrt-rtx=={rows['tensorrt-rtx']['versions']}" in extras["tensorrt-rtx"]


def test_no_page_names_the_address_of_a_package_index() -> None:
    for path in [*PAGES, ROOT / "README.md", ROOT / "pyproject.toml"]:
        assert not re.search(r"--(extra-)?index-url|https?://pypi\.|https?://download\.", path.read_text()), (
            path
        )
