"""A method of another package that cannot be used is named, and the rest works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.places import python_path

GOOD = """
from uadbench.engine.methods import MethodInfo
from uadbench.engine.methods.ddpm import DDPM
INFO = MethodInfo("Mine", "my paper", DDPM.preset)
"""
NO_DATACLASS = """
from uadbench.engine.methods import MethodInfo
INFO = MethodInfo("Bare", "-", lambda noise: print)
"""
# name of the entry point -> (module's source, what is said of it)
BROKEN = {
    "absent": ("import no_such_package\nINFO = 1\n", "ModuleNotFoundError"),
    "leaving": ("raise SystemExit(7)\n", "SystemExit: 7"),
    "number": ("INFO = 3\n", "is a int"),
    "../../evil": (GOOD, "is not allowed"),
}


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An environment in which five packages with methods are installed, one of them good."""
    sources = {"mine": GOOD, **{name: source for name, (source, _) in BROKEN.items()}, "bare": NO_DATACLASS}
    points = ["[uadbench.methods]"]
    for index, (name, source) in enumerate(sources.items()):
        (tmp_path / f"plugin{index}.py").write_text(source)
        points.append(f"{name} = plugin{index}:INFO")
    info = tmp_path / "plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    path = python_path(tmp_path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "UADBENCH_DATA": "/nowhere"}


def bench(plugins: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uadbench.bench.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, env=plugins, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["list"], id="list"),
        pytest.param(["run", "--methods", "mine", "--steps", "2", "--limit", "1", "--dry-run"], id="run"),
    ],
)
def test_each_broken_plug_in_is_one_line_on_stderr_and_a_good_one_works(
    plugins: dict[str, str], words: list[str]
) -> None:
    done = bench(plugins, *words)
    assert done.returncode == 0, done.stderr
    assert "mine" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == len(BROKEN)
    for name, (_, what) in BROKEN.items():
        assert any(name in line and what in line for line in lines), name


@pytest.mark.slow
def test_doctor_names_every_plug_in_that_cannot_be_used_and_why(plugins: dict[str, str]) -> None:
    done = bench(plugins, "doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout) if check["area"] == "plug-in"}
    assert {name: check["ok"] for name, check in found.items()} == {
        "mine": True,
        "bare": False,
        **dict.fromkeys(BROKEN, False),
    }
    for name, (_, what) in BROKEN.items():
        assert what in found[name]["note"]
    assert "must be a frozen dataclass" in found["bare"]["note"]
    assert not any(check["needed"] for check in found.values())


def test_a_plug_in_that_is_no_dataclass_is_refused_by_a_run_in_one_line(plugins: dict[str, str]) -> None:
    done = bench(plugins, "run", "--methods", "bare", "--limit", "1")
    assert done.returncode == 2
    assert "must be a frozen dataclass" in done.stderr.splitlines()[-1]
