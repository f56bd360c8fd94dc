"""Packages with broken methods beside one that is sound: each is named with its fault, and the sound one is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.faults import bench, environment, make_slices
from support.places import python_path

from uadbench.reports.runs import load_run

GOOD = """
from dataclasses import dataclass
from uadbench.engine.anomaly import residual
from uadbench.engine.interfaces import Result
from uadbench.engine.methods import MethodInfo

@dataclass(frozen=True)
class OneCall:
    t: int = 250

    def __call__(self, x, tools):
        x_t = tools.add_noise(x, self.t, tools.noise(self.t))
        x0 = tools.predict_x0(x_t, self.t)
        return Result(residual(x, x0), x0)

INFO = MethodInfo("one call", "my paper", lambda noise: OneCall())
"""


def info(*, noises: str = '("gaussian",)', **fields: str) -> str:
    """A package whose MethodInfo has these fields, as they would be typed, in the place of good ones."""
    given = {"title": '"t"', "paper": '"p"', "preset": "lambda noise: OneCall()", "noises": noises, **fields}
    return f"{GOOD}\nINFO = MethodInfo({', '.join(f'{name}={value}' for name, value in given.items())})\n"


# Broken before anything runs: entry point -> (source, what is said of it). They are left out of every verb.
LEFT_OUT = {
    "absent": ("import no_such_package_at_all", "ModuleNotFoundError"),
    "leaving": ("raise SystemExit(7)", "SystemExit: 7"),
    "syntax": ("def (", "SyntaxError"),
    "number": ("INFO = 3", "is a int"),
    "empty": ("", "AttributeError"),
    "../../evil": (GOOD, "is not allowed"),
    "no-noises": (info(noises="None"), "noises is None"),
    "odd-noise": (info(noises='("perlin",)'), "noises is ('perlin',)"),
    "noise-list": (info(noises='[["gaussian"]]'), "noises is [['gaussian']]"),
    "no-title": (info(title="None"), "title is None"),
    "two-lines": (info(title='"a\\nb"'), "title is 'a\\nb'"),
    "paper-number": (info(paper="2006.11239"), "paper is 2006.11239"),
    "no-preset": (info(preset="None"), "preset is None"),
    "median-word": (info(needs_median='"no"'), "needs_median is 'no'"),
    "networks-table": (info(networks='{"denoiser": "unet-gaussian"}'), "networks is {"),
    "networks-raise": (info(networks="lambda noise: 1 / 0"), "ZeroDivisionError"),
    "networks-role": (info(networks='lambda noise: {"coder": "unet-gaussian"}'), "'denoiser'"),
    "networks-path": (info(networks='lambda noise: {"denoiser": "../../evil"}'), "'../../evil'"),
}


def method(body: str, fields: str = "t: int = 250", info: str = "lambda noise: Bad()") -> str:
    """A package whose method does this in its call."""
    return f"""
import sys, numpy, torch
from dataclasses import dataclass
from uadbench.engine.interfaces import Result
from uadbench.engine.methods import MethodInfo

@dataclass(frozen=True)
class Bad:
    {fields}

    def __call__(self, x, tools):
        if x.shape[-1] == 16 and not getattr(self, "early", False):  # the harness walks through it first
            return Result(x.abs(), x)
        {body}

INFO = MethodInfo("bad", "none", {info}, networks=lambda noise: {{}})
"""


# Broken in what they are or do before a case is read: `bench run` refuses them in one line.
REFUSED = {
    "bare": (method("pass", info="lambda noise: print"), "must be a frozen dataclass"),
    "a-class": (method("pass", info="lambda noise: Bad"), "must be a frozen dataclass"),
    "preset-raises": (method("pass", info="lambda noise: 1 / 0"), "ZeroDivisionError"),
    "preset-exits": (method("pass", info="lambda noise: sys.exit(9)"), "SystemExit: 9"),
    "walk-raises": (method("raise KeyError('here')", "early: bool = True"), "KeyError: 'here'"),
    "walk-exits": (method("sys.exit(9)", "early: bool = True"), "SystemExit: 9"),
    "no-record": (method("pass", "t: object = print"), "is not JSON serializable"),
    "nan-record": (method("pass", "t: float = float('nan')"), "not JSON compliant"),
}
# Broken on cases: each of the cases fails with this reason, and the others' results are whole.
FAILING = {
    "raises": (method("raise RuntimeError('first line\\nsecond line')"), "RuntimeError: first line"),
    "exits": (method("sys.exit(9)"), "SystemExit: 9"),
    "nothing": (method("return None"), "NoneType"),
    "wrong-shape": (method("return Result(x[..., :-1].abs(), x)"), "(1, 1, 128, 127)"),
    "one-image": (method("return Result(x.abs(), x[0, 0])"), "(128, 128)"),
    "no-number": (method("return Result(x.abs() * torch.nan, x)"), "NaN or infinite"),
    "negative": (method("return Result(-x.abs() - 1, x)"), "must be >= 0"),
    "numpy-arrays": (method("return Result(x.abs().numpy(), x.numpy())"), "ndarray"),
    "complex-map": (method("return Result(x.abs() * 1j, x)"), "complex64"),
    "no-memory": (method("return Result(torch.zeros(1, device='meta').expand(x.shape), x)"), "meta"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which a package is installed whose methods are all these and the good one."""
    folder = tmp_path_factory.mktemp("packages")
    sources = {"one-call": GOOD}
    for table in (LEFT_OUT, REFUSED, FAILING):
        sources |= {name: source for name, (source, _) in table.items()}
    points = ["[uadbench.methods]"]
    for index, (name, source) in enumerate(sources.items()):
        (folder / f"fault_plugin{index}.py").write_text(source + "\n")
        points.append(f"{name} = fault_plugin{index}:INFO")
    dist = folder / "faults-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: faults\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("\n".join(points) + "\n")
    return environment(PYTHONPATH=python_path(folder))


def named(lines: list[str]) -> dict[str, str]:
    """Plug-in -> what stderr says of it."""
    head = "warning: method "
    found = [line.removeprefix(head) for line in lines if line.startswith(head)]
    return dict(line.split(" is left out: ", 1) for line in found)


def test_bench_list_names_every_broken_package_and_lists_the_good_one(
    installed: dict[str, str], tmp_path: Path
) -> None:
    done = bench("list", cwd=tmp_path, env=installed)
    assert done.returncode == 0, done.stderr
    listed = " ".join(done.stdout.split())
    assert "one-call one call, my paper; gaussian: unet-gaussian; simplex: unet-simplex" in listed
    assert len(done.stderr.splitlines()) == len(LEFT_OUT), done.stderr
    faults = named(done.stderr.splitlines())
    assert set(faults) == set(LEFT_OUT)
    for name, (_, what) in LEFT_OUT.items():
        assert what in faults[name], name
    assert list(tmp_path.iterdir()) == []


RUN = ("run", "--dataset", "folder", "--data-root", "data", "--threads", "1", "--set", "n_boot=5")
ALL_VERBS = """
import json, sys
from support.faults import invoke, refused
from uadbench.bench.commands.doctor import examine
from itertools import takewhile
checks = takewhile(lambda check: check.area in ("installed", "plug-in"), examine(None))
print(json.dumps({check.name: (check.ok, check.note) for check in checks if check.area == "plug-in"}))
words = ("run", "--output", "out", "--methods")
print(json.dumps({name: refused(invoke(*words, f"one-call,{name}")) for name in json.loads(sys.argv[1])}))
"""


def test_doctor_and_run_tell_in_one_line_what_can_be_known_before_the_first_case(
    installed: dict[str, str], tmp_path: Path
) -> None:
    """All in one process, since loading torch takes longer than all else."""
    tests = Path(__file__).resolve().parents[1]
    env = installed | {"PYTHONPATH": f"{installed['PYTHONPATH']}{os.pathsep}{tests}"}
    command = [sys.executable, "-c", ALL_VERBS, json.dumps([*REFUSED, *LEFT_OUT])]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    checks, said = map(json.loads, done.stdout.splitlines())
    assert checks["one-call"][0]
    for name in ("bare", "a-class", "preset-raises", "preset-exits", *LEFT_OUT):
        ok, note = checks[name]
        assert not ok, name
        assert (LEFT_OUT | REFUSED)[name][1] in note, name
        assert "\n" not in note
    for name, (_, what) in REFUSED.items():
        assert said[name].startswith(f"error: {name}: "), said[name]
        assert what in said[name], said[name]
    for name in LEFT_OUT:
        assert "unknown method" in said[name]
    assert list(tmp_path.iterdir()) == []


def test_bench_run_scores_the_good_one_and_says_of_each_bad_one_why_its_cases_fail(
    installed: dict[str, str], tmp_path: Path
) -> None:
    make_slices(tmp_path / "data", {"train": 1, "val": 1, "test": 2})
    names = ",".join(["one-call", *FAILING])
    done = bench(*RUN, "--methods", names, "--output", "out", cwd=tmp_path, env=installed)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "failed: " in done.stderr
    cells = {cell.info["method"]: cell for cell in load_run(tmp_path / "out").cells}
    good: dict[str, Any] = cells["one-call"].metrics or {}
    assert (good["n_cases"], good["n_failed"]) == (2, 0)
    assert {cases["nfe"] for cases in cells["one-call"].cases} == {1}
    for name, (_, reason) in FAILING.items():
        reasons = {str(case["reason"]) for case in cells[name].cases}
        assert len(cells[name].cases) == 3, name
        assert all(reason in text and "\n" not in text for text in reasons), (name, reasons)
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    assert "one call" in page
