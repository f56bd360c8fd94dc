"""The page on the run directory names every file and key that a run leaves, and no other."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.faults import make_slices
from support.pages import code, page, table

from uadbench.bench.plan.config import RunConfig
from uadbench.reports.store import SCHEMA
from uadbench.reports.vocabulary import MEASURES

TEXT = page("run-directory.md")
MASKED = {name: measure for name, measure in MEASURES.items() if measure.applies_to("mask")}
SCORES = [name for name, measure in MASKED.items() if not measure.optional and not measure.volumes]
CELL = "ddpm-gaussian-2-torch-fp32"
COMMAND = (
    "run --dataset folder --methods ddpm --limit 2 --steps 2 --set val_limit=1 --set n_boot=50 "
    "--post none,behrendt --shift gain=0.8 --set shift_limit=1 --no-progress --data-root"
)
PLACEHOLDERS = {"SLUG": r"[^/]+", "NNNN": r"\d{4}"}


def bench_run(path: Path) -> Path:
    """Run, or go on, on a few slices beside; phantom would make 64 for a median."""
    data = path.with_name("data")
    if not data.exists():
        make_slices(data, {"train": 1, "val": 2, "test": 2}, lesions=("val", "test"))
    done = subprocess.run(
        [sys.executable, "-m", "uadbench.bench.cli", *COMMAND.split(), str(data), "--output", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bench_run(tmp_path_factory.mktemp("docs") / "run")


def files(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())


def pattern(row: dict[str, str]) -> re.Pattern[str]:
    text = re.escape(code(row["path"]))
    for name, meaning in PLACEHOLDERS.items():
        text = text.replace(name, meaning)
    return re.compile(text)


def test_every_file_of_a_run_is_documented_and_every_documented_file_is_there(run: Path) -> None:
    rows = table(TEXT, "files")
    there = files(run)
    assert not [name for name in there if not any(pattern(row).fullmatch(name) for row in rows)]
    for row in rows:
        if not row["present"].startswith("where"):
            assert any(pattern(row).fullmatch(name) for name in there), row["path"]


@pytest.mark.slow
def test_what_is_called_derived_is_made_again(run: Path) -> None:
    before = files(run)
    metrics = (run / "cells" / CELL / "metrics.json").read_bytes()
    for row in table(TEXT, "files"):
        if row["derived"].startswith("yes"):
            for name in before:
                if pattern(row).fullmatch(name):
                    (run / name).unlink()
    assert files(bench_run(run)) == before
    assert (run / "cells" / CELL / "metrics.json").read_bytes() == metrics


def values(run: Path, name: str) -> list[Any]:
    """The JSON objects of all files of that name."""
    paths = sorted(run.rglob(name))
    if name.endswith(".jsonl"):
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return [json.loads(path.read_text()) for path in paths]


def documented(name: str) -> dict[str, str]:
    """Key -> when it is present."""
    return {code(row["key"]): row["present"] for row in table(TEXT, f"keys: {name}")}


def walk(value: Any, path: str, known: dict[str, str]) -> set[str]:
    """The documented keys that a value has; a key that is none of them stands as it is, and so shows."""
    if path in known:
        return {path}
    if isinstance(value, list) and any(key.startswith(f"{path}[]") for key in known):
        return set().union(*(walk(entry, f"{path}[]", known) for entry in value))
    if isinstance(value, dict) and (path == "" or any(key.startswith(f"{path}.") for key in known)):
        dot = f"{path}." if path else ""
        below = f"{dot}*"
        anything = any(key == below or key.startswith((f"{below}.", f"{below}[")) for key in known)
        parts = (walk(entry, below if anything else f"{dot}{key}", known) for key, entry in value.items())
        return set().union(*parts)
    return {path}


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "cell.json",
        "cases.jsonl",
        "index.jsonl",
        "shifts.jsonl",
        "metrics.json",
        "latency.json",
        "warmup.json",
        "paired.json",
    ],
)
def test_every_key_that_occurs_is_documented_and_every_documented_key_occurs(run: Path, name: str) -> None:
    known = documented(name)
    measures = set(SCORES) if name == "metrics.json" else set()
    optional = set(MASKED) - set(SCORES) if name == "metrics.json" else set()
    occurring: set[str] = set()
    for value in values(run, name):
        assert measures <= set(value)
        occurring |= walk({key: value[key] for key in value if key not in measures | optional}, "", known)
    empty = {key.split(".", 1)[0] for key in known if "." in key}  # metrics is {} where a case has a lesion
    assert occurring - empty <= set(known)
    assert {key for key, present in known.items() if present == "always"} <= occurring
    assert all(present for present in known.values())


def test_a_measure_is_a_value_with_its_interval_and_little_besides(run: Path) -> None:
    for metrics in values(run, "metrics.json"):
        for name in SCORES:
            assert {"value", "lo", "hi"} <= set(metrics[name]) <= {"value", "lo", "hi", "threshold", "n"}
        for name in set(metrics) & set(MASKED) - set(SCORES):
            assert set(metrics[name]) == {"value", "lo", "hi", "threshold", "component_px"}


def test_the_settings_are_those_of_the_configuration_with_their_defaults() -> None:
    rows = table(TEXT, "settings")
    told = {code(row["setting"]): ast.literal_eval(code(row["default"])) for row in rows}
    assert told == {field.name: getattr(RunConfig(), field.name) for field in dataclasses.fields(RunConfig)}


def test_the_schema_is_that_of_the_code(run: Path) -> None:
    assert f"**schema {SCHEMA}**" in TEXT
    assert json.loads((run / "manifest.json").read_text())["schema"] == SCHEMA
