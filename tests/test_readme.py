"""The README says what is so."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path

import click
import pytest
from result_tables import fill, table

from uadbench.bench.cli import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_every_command_in_the_readme_exists_and_every_command_is_in_the_readme() -> None:
    named = set(re.findall(r"`?bench ([a-z]+)", README)) - {"run"}
    assert named <= set(commands())
    for name in commands():
        assert f"bench {name}" in README, name


def test_every_option_of_bench_run_that_the_readme_names_exists() -> None:
    run = import_module("uadbench.bench.commands.run").command
    known = {option for parameter in run.params for option in (*parameter.opts, *parameter.secondary_opts)}
    elsewhere = {"--fail-on", "--data", "--help"}  # of bench compare and bench train
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert named - elsewhere <= known


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.findall(r"(?<![\w/`])[A-Z]+_[A-Z_]{3,}(?![\w`])", README.replace("UADBENCH_DATA", ""))


def test_the_published_runs_used_the_shipped_weights() -> None:
    for manifest in sorted(ROOT.glob("reports/results/*/manifest.json")):
        for noise, used in json.loads(manifest.read_text())["checkpoints"].items():
            card = json.loads((ROOT / "models" / f"unet-{noise}.json").read_text())
            assert used["sha256"] == card["sha256"], manifest


def test_the_result_tables_are_those_of_the_result_files() -> None:
    assert fill(README, ROOT) == README
    assert README.count("| **THOR") >= 2


def test_a_table_shows_the_values_of_its_file(tmp_path: Path) -> None:
    columns = (
        "dataset,method,noise,steps,backend,precision,kind,dice_max,dice_max_lo,dice_max_hi,dice_small,dice_medium,"
        "dice_large,auprc,nfe,latency_ms_p50,speedup,t_start"
    )
    rows = [
        "d,blur,none,0,torch,fp32,floor,0.5,0.4,0.6,,0.2,0.3,0.1,0,1.5,,",
        "d,thor,gaussian,25,torch,fp32,method,0.25,0.2,0.3,,0.2,0.3,0.1,25,1000,,350",
    ]
    (tmp_path / "leaderboard.csv").write_text("\n".join([columns, *rows]) + "\n")
    lines = table(tmp_path / "leaderboard.csv").splitlines()
    assert lines[2].startswith("| **THOR · gaussian · 25 steps** | 25.0 (20.0–30.0) | – | 20.0 |")
    assert lines[3].startswith("| *floor:* blur | 50.0 (40.0–60.0) |")


def test_the_method_of_ten_lines_runs() -> None:
    """The README's own code, on the closed-form denoiser."""
    torch = pytest.importorskip("torch")
    from support.closed_form import AbsolutePerceptual, GaussianDenoiser

    from uadbench.engine.rng import noise_source
    from uadbench.engine.schedule import linear_schedule
    from uadbench.engine.tools import make_tools

    code = README.split("```python\n")[1].split("```")[0]
    space: dict[str, object] = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec", dont_inherit=True), space)
    method = space["INFO"].preset("gaussian")  # type: ignore[attr-defined]
    schedule = linear_schedule()
    source = noise_source("gaussian", 0, ["a"], (16, 16))
    tools = make_tools(GaussianDenoiser(schedule, 0.0, 0.0), schedule, source, AbsolutePerceptual())
    result = method(torch.full((1, 1, 16, 16), 0.5), tools)
    torch.testing.assert_close(result.anomaly, torch.full((1, 1, 16, 16), 0.25))
