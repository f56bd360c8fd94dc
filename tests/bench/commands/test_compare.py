"""``bench compare`` as typed: what it prints, and its exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.compared import FLOOR, Made, N, values, write_run

from uadbench.bench.commands.compare import command

THOR = Made(dice=values(), latency=np.full(N, 100.0))
DDPM = Made("ddpm", signal=0.1, dice=values() - 0.05, latency=np.full(N, 112.5))


def run(*args: Any) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


@pytest.fixture
def both(tmp_path: Path) -> Path:
    return write_run(tmp_path / "a", THOR, DDPM, FLOOR)


def test_two_methods_of_one_run_are_a_block_of_80_columns_on_stdout(both: Path) -> None:
    outcome = run(both, "--methods", "thor,ddpm")
    assert outcome.exit_code == 0, outcome.output
    lines = outcome.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "A  THOR · gaussian · 25 steps · torch fp32"
    assert lines[1] == "B  DDPM · gaussian · 25 steps · torch fp32"
    assert lines[2] == "   differs (A | B): method thor | ddpm"
    rows = {line[:18].strip(): line for line in lines[4:9]}
    assert list(rows) == ["Max Dice %", "Average Dice %", "Dice a case %", "Latency ms", "Network ms"]
    assert rows["Max Dice %"].endswith("worse")
    assert "-5.00 .. -5.00" in rows["Dice a case %"]
    assert "+12.5 .. +12.5" in rows["Latency ms"]
    assert "+12.5% of A" in " ".join(lines[9:])
    assert outcome.stderr == ""


def test_without_names_every_variant_is_held_against_the_best(both: Path) -> None:
    outcome = run(both, "--measure", "dice_max")
    heads = [line for line in outcome.stdout.splitlines() if line.startswith(("A ", "B "))]
    assert [head.split(" · ")[0] for head in heads] == ["A  THOR", "B  DDPM", "A  THOR", "B  blur"]


def test_runs_that_are_not_one_are_named_in_each_block(tmp_path: Path, both: Path) -> None:
    other = write_run(tmp_path / "b", DDPM, FLOOR, version="0.2")
    outcome = run(both, other, "--methods", "thor,ddpm")
    text = " ".join(outcome.stdout.split())
    assert f"torch fp32 · {both}" in text
    assert f"torch fp32 · {other}" in text
    assert "method thor | ddpm; version - | 0.2" in text


def test_json_holds_everything_and_stands_alone_on_stdout(both: Path) -> None:
    outcome = run(both, "--methods", "thor,ddpm", "--json", "--fail-on", "dice_max=-0.02")
    assert outcome.exit_code == 1
    (pair,) = json.loads(outcome.stdout)["pairs"]
    assert (pair["a"]["variant"], pair["n_cases"]) == ("THOR · gaussian · 25 steps", N)
    assert pair["differs"] == [{"setting": "method", "a": "thor", "b": "ddpm"}]
    row = pair["rows"][0]
    assert (row["measure"], row["unit"], row["verdict"]) == ("dice_max", "fraction", "worse")
    assert row["difference"] == pytest.approx(row["b"] - row["a"])
    assert row["lo"] <= row["difference"] <= row["hi"] < 0


def test_csv_has_a_line_for_each_measure_of_each_pair(both: Path) -> None:
    outcome = run(both, "--csv", "--measure", "dice_max", "--measure", "network")
    lines = list(csv.DictReader(io.StringIO(outcome.stdout)))
    assert [(line["cell_b"].split("-")[0], line["measure"]) for line in lines] == [
        (method, measure) for method in ("ddpm", "blur") for measure in ("dice_max", "network")
    ]
    assert lines[3]["a"] == ""
    assert lines[3]["unjudged"] == "no case has it on both sides"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        pytest.param(["--fail-on", "dice_max=-0.9"], 0, "ok: dice_max=-0.9", id="within"),
        pytest.param(
            ["--fail-on", "dice_max=-0.02"], 1, "FAIL ddpm-gaussian-25-torch-fp32 against", id="broken"
        ),
        pytest.param(["--fail-on", "speed=1"], 2, "unknown measure 'speed'", id="no such gate"),
        pytest.param(["--measure", "speed"], 2, "choose from dice_max, ", id="no such measure"),
        pytest.param(["--json", "--csv"], 2, "exclude each other", id="two forms"),
        pytest.param(["--across", "method"], 2, "No such option", id="what it was before"),
    ],
)
def test_exit_codes_tell_passed_broken_and_wrong(
    both: Path, options: list[str], code: int, said: str
) -> None:
    outcome = run(both, "--methods", "thor,ddpm", *options)
    assert outcome.exit_code == code, outcome.output
    assert said in outcome.stderr


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert outcome.exit_code == 2
    assert "manifest.json" in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_a_row_under_load_says_so_and_fails_its_gate(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", THOR, Made("ddpm", load=3.9))
    outcome = run(path, "--methods", "thor,ddpm", "--fail-on", "latency=+10%")
    assert outcome.exit_code == 1
    assert outcome.stdout.count("not judged: load 3.9 with 1 thread") == 2  # latency and network
    assert "latency=+10%: not judged: load 3.9 with 1 thread" in outcome.stderr
    assert max(map(len, outcome.stdout.splitlines())) <= 80


def test_variants_left_out_are_noted_on_stderr(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", THOR, DDPM), write_run(tmp_path / "b", THOR)
    outcome = run(a, b)
    assert outcome.exit_code == 0
    assert outcome.stderr == "note: only in A: DDPM · gaussian · 25 steps\n"
