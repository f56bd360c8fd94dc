"""The page on training quotes its results file, and names the options and the card's keys as they are."""

from __future__ import annotations

import ast
import csv
from collections import defaultdict
from importlib import import_module
from typing import Any

import click
from support.pages import DOCS, code, page, table
from support.places import ROOT

from uadbench.engine.methods.ddpm import DDPM

TEXT = page("training.md")
SOURCES = ("ixi-stroke", "soop-flair", "phantom")


def test_the_screening_is_that_of_the_results_file() -> None:
    with (DOCS / "results" / "training-screen.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    cells: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[row["trial"], row["step"]][row["source"]].append(row["mse_x1e4"])
    wanted = [
        {"trial": trial, "steps": step, **{source: " / ".join(found[source]) for source in SOURCES}}
        for (trial, step), found in cells.items()
    ]
    assert table(TEXT, "screen") == wanted
    assert {row["level"] for row in rows} == {"50", "150", "250", "350"}


def test_the_options_have_the_defaults_that_the_page_says() -> None:
    parameters: list[Any] = import_module("uadbench.bench.commands.train").command.params
    defaults = {
        parameter.opts[0]: parameter.default
        for parameter in parameters
        if isinstance(parameter, click.Option)
    }
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| `--")]
    assert len(rows) > 5
    for _, option, default, *_ in rows:
        if default.strip().startswith("`"):
            assert str(defaults[code(option.strip())]) == code(default.strip())
    above = import_module("uadbench.bench.commands.train").ABOVE_START
    gaussian, simplex = (DDPM.preset(noise).t_start + above for noise in ("gaussian", "simplex"))
    assert f"{gaussian} Gaussian, {simplex} simplex" in TEXT


def test_the_keys_of_the_card_are_those_that_training_writes() -> None:
    written = _keys("bench/run/training.py", "_card") | _keys(
        "engine/networks/checkpoint.py", "save_checkpoint"
    )
    assert {code(row["key"]) for row in table(TEXT, "card")} == written


def _keys(path: str, function: str) -> set[str]:
    """The keys of the outermost dict displays in a function."""
    tree = ast.parse((ROOT / path).read_text())
    (found,) = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function
    ]
    dicts = [node for node in ast.walk(found) if isinstance(node, ast.Dict)]
    inner = {
        id(child)
        for outer in dicts
        for child in ast.walk(outer)
        if isinstance(child, ast.Dict) and child is not outer
    }
    keys = [key for node in dicts if id(node) not in inner for key in node.keys]
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}
