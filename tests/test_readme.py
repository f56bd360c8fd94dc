"""The README says what is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from profile_tables import profile_table
from result_tables import FLOORS_SHOWN, fill, table
from support.runs import CELLS, make_run

from uadbench.bench.cli import cli
from uadbench.datasets import DATASETS
from uadbench.engine.networks.checkpoint import read_card, shipped

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> dict[str, click.Command]:
    context = click.Context(cli)
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def options_of(verb: str) -> set[str]:
    parameters = commands()[verb].params
    return {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}


def test_every_command_in_the_readme_exists_and_every_command_is_in_the_readme() -> None:
    named = set(re.findall(r"`?bench ([a-z]+(?:-[a-z]+)*)", README)) - {"run"}
    assert named <= set(commands())
    for name in commands():
        assert f"bench {name}" in README, name


def test_every_option_of_bench_run_that_the_readme_names_exists() -> None:
    elsewhere = {"--fail-on": "compare", "--data": "train", "--initial": "train"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--help"}
    assert named - set(elsewhere) <= options_of("run")
    for option, verb in elsewhere.items():
        assert option in options_of(verb), option


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_be_filled_in() -> None:
    assert not re.findall(r"(?<![\w/`])[A-Z]+_[A-Z_]{3,}(?![\w`])", README.replace("UADBENCH_DATA", ""))


def test_the_published_runs_used_the_shipped_weights() -> None:
    for manifest in sorted(ROOT.glob("reports/results/*/manifest.json")):
        for used in json.loads(manifest.read_text())["checkpoints"].values():
            name, first, _ = Path(used["file"]).stem.partition("-first")  # what a shipped one began as
            card = json.loads((ROOT / "models" / f"{name}.json").read_text())
            assert used["sha256"] == (card["ancestry"][0] if first else card)["sha256"], manifest


def test_what_is_said_of_the_shipped_checkpoints_is_in_their_cards() -> None:
    names = ("unet-gaussian", "unet-simplex", "patch-unet-simplex", "conditioned-unet-simplex", "mend-unet")
    cards = {name: read_card(shipped(name)) for name in names}
    for card in cards.values():
        assert {one["name"]: one["slices"] for one in card["data"]} == {
            "ixi-stroke": 465,
            "soop-flair": 220,
            "phantom": 600,
        }
    text = " ".join(README.split())
    assert "465 healthy IXI slices (CC BY-SA 3.0), 220 lesion-free SOOP FLAIR slices and 600 phantoms" in text
    assert all(card["steps"] == card["of_steps"] for card in cards.values())
    trainings = {name: [*card["ancestry"], card] for name, card in cards.items()}
    gaussian, simplex = (  # but for the first version's, which no other came before
        sum(one["steps"] for one in trainings[f"unet-{noise}"][1:]) for noise in ("gaussian", "simplex")
    )
    assert gaussian == simplex
    assert f"after {gaussian:,} steps of 8 images each" in text
    patch, guided = (
        sum(one["steps"] for one in trainings[name] if one.get("name") == name)
        for name in ("patch-unet-simplex", "conditioned-unet-simplex")
    )
    assert patch == guided
    assert f"after {patch} steps each of their own" in text


def test_the_result_tables_are_those_of_the_result_files() -> None:
    assert fill(README, ROOT) == README
    assert README.count("| **THOR") >= 2


def test_a_table_shows_the_values_of_its_file(tmp_path: Path) -> None:
    columns = (
        "dataset,method,title,noise,steps,backend,precision,kind,dice_max,dice_max_lo,dice_max_hi,dice_average,"
        "dice_small,dice_medium,dice_large,auprc,nfe,latency_ms_p50,speedup,t_start,cell"
    )
    rows = [
        "d,blur,,none,0,torch,fp32,floor,0.5,0.4,0.6,0.35,,0.2,0.3,0.1,0,1.5,,,blur-none-0",
        "d,thor,THOR,gaussian,25,torch,fp32,method,0.25,0.2,0.3,0.15,,0.2,0.3,0.1,25,1000,,350,thor-gaussian-25",
    ]
    (tmp_path / "leaderboard.csv").write_text("\n".join([columns, *rows]) + "\n")
    lines = table(tmp_path / "leaderboard.csv").splitlines()
    assert lines[2].startswith("| **THOR · gaussian · 25 steps** | 25.0 (20.0–30.0) | 15.0 | – | 20.0 |")
    assert lines[3].startswith("| *floor:* blur | 50.0 (40.0–60.0) | 35.0 | – |")


def test_a_table_shows_the_best_floors_alone(tmp_path: Path) -> None:
    columns = (
        "dataset,method,noise,steps,backend,precision,kind,dice_max,dice_max_lo,dice_max_hi,dice_average"
    )
    rest = "dice_small,dice_medium,dice_large,auprc,nfe,latency_ms_p50,speedup,t_start,cell"
    rows = [f"d,f{i},none,0,torch,fp32,floor,0.{i},0.1,0.9,0.2,,,,0.1,0,1,,,f{i}" for i in range(1, 9)]
    (tmp_path / "leaderboard.csv").write_text("\n".join([f"{columns},{rest}", *rows]) + "\n")
    shown = re.findall(r"\*floor:\* (f\d)", table(tmp_path / "leaderboard.csv"))
    assert shown == [f"f{i}" for i in range(8, 8 - FLOORS_SHOWN, -1)]


def test_a_profile_table_shows_the_values_of_its_file(tmp_path: Path) -> None:
    columns = (
        "network,method,label,backend,precision,batch,image_ms_p50,images_per_s,speedup_vs_eager,speedup_lo,speedup_hi,"
        "parity,share_of_ceiling,stability"
    )
    rows = [
        "unet-gaussian,-,-,torch,fp32,1,40,25,,,,reference,0.7,stable",
        "unet-gaussian,thor,THOR,openvino,bf16,1,500.4,1.998,2,1.9,2.1,pass,,noisy",
        "unet-gaussian,-,-,torch,fp32,4,40,25,,,,reference,0.7,stable",
    ]
    (tmp_path / "profile.csv").write_text("\n".join([columns, *rows]) + "\n")
    lines = profile_table(tmp_path / "profile.csv").splitlines()
    assert lines[2:] == [
        "| unet-gaussian | torch fp32 | 40.0 | 25 | – | reference | 70% | stable |",
        "| **THOR** | openvino bf16 | 500 | 2 | 2.00 (1.90–2.10) | pass | – | noisy |",
    ]


def test_the_python_lines_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's own code, on a slice and a run of the names that it has."""
    code = README.split("```python\n")[1].split("```")[0]
    (named,) = re.findall(r'load_run\("([^"]+)"\)', code)
    make_run(tmp_path / named, cells=CELLS[:2], n_lesion=2, n_healthy=1)
    monkeypatch.chdir(tmp_path)
    image = DATASETS["phantom"](None, 0, 1).training_slices()
    space: dict[str, Any] = {"__name__": "readme", "image": np.asarray(next(image), dtype=np.float32)}
    exec(compile(code, "README.md", "exec", dont_inherit=True), space)
    assert space["result"].anomaly.shape == space["image"].shape
    assert len(space["run"].leaderboard) == 2
    assert len(space["run"].cases) == 2 * 3
