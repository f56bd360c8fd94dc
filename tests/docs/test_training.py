"""The page on training quotes its results file, and names the options and the card's keys as they are."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import torch
from support.pages import DOCS, code, page, table
from support.places import ROOT

from uadbench.bench.run.training import Training
from uadbench.bench.run.training_checks import ERROR_RISE, LOSS_RISE, trouble
from uadbench.bench.run.training_sources import HELD_OUT, Sources
from uadbench.datasets.case import TOO_SMALL
from uadbench.engine.methods import METHODS
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.conditioned_unet import ConditionedUNetConfig
from uadbench.engine.networks.image_encoder import EncoderConfig
from uadbench.engine.networks.restoration_unet import RestorationUNetConfig
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.networks.vae import VAEConfig
from uadbench.engine.training.ancestry import LOG_ROWS, told
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.initial import starting_weights
from uadbench.engine.training.losses import ABOVE_START, OBJECTIVES
from uadbench.engine.training.place import Place

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
    gaussian, simplex = (DDPM.preset(noise).t_start + ABOVE_START for noise in ("gaussian", "simplex"))
    assert f"{gaussian} Gaussian, {simplex} simplex" in TEXT


def test_the_keys_of_the_card_are_those_that_training_writes() -> None:
    written = (
        _keys("bench/run/training.py", "_card")
        | _keys("engine/training/ancestry.py", "before")
        | _keys("engine/networks/checkpoint.py", "save_checkpoint")
    )
    assert {code(row["key"]) for row in table(TEXT, "card")} == written


def test_the_keys_of_an_ancestrys_entry_are_those_that_are_carried_on() -> None:
    keys = " ".join(row["key"] for row in table(TEXT, "ancestry"))
    assert set(re.findall(r"`(\w+)`", keys)) == set(told({}))
    assert f"{LOG_ROWS} rows" in TEXT


def test_the_keys_of_a_record_are_those_that_a_validation_writes() -> None:
    written = _keys("bench/run/training_checks.py", "validate")
    assert {code(row["key"]) for row in table(TEXT, "record")} == written


def training(objective: str, noise: str) -> Training:
    config = TrainingConfig(objective=objective, noise=noise)
    return Training(config, Sources((), {}, ()), Path("out"), (), Place(), "bench train")


def test_the_objectives_are_those_of_the_code() -> None:
    wanted = []
    for name, objective in OBJECTIVES.items():
        bands = ("{} to {}".format(*objective.levels(noise)) for noise in ("gaussian", "simplex"))
        one, other = (training(name, noise) for noise in ("gaussian", "simplex"))
        words = [
            one.checkpoint.stem.replace("gaussian", "NOISE"),
            one.label.replace("gaussian", "NOISE"),
        ]
        assert other.label == words[1].replace("NOISE", "simplex")
        wanted.append(
            {
                "`--objective`": f"`{name}`",
                "teaches": objective.title,
                "NETWORK": f"`{words[0]}`",
                "LABEL": f"`{words[1]}`",
                "predicts": objective.prediction,
                "`--preset`": ", ".join(objective.presets),
                "most levels (Gaussian; simplex)": "; ".join(bands) if objective.noisy else "–",
                "errors at": ", ".join(map(str, objective.validated)),
                "Dice at": "–" if objective.judged is None else str(objective.judged),
            }
        )
    assert table(TEXT, "objectives") == wanted
    assert tuple(OBJECTIVES) == import_module("uadbench.bench.commands.train").OBJECTIVES


def test_the_help_of_train_names_the_objective_of_every_methods_network() -> None:
    command = import_module("uadbench.bench.commands.train").command
    (text,) = [option.help for option in command.params if option.name == "objective"]
    for info in METHODS.values():
        for noise in info.noises:
            (taught,) = [
                key
                for key, found in OBJECTIVES.items()
                if found.name(noise) == info.networks(noise)["denoiser"]
            ]
            said = re.search(rf"\b{taught}: [^()]*\(([^()]*)\)", text)
            assert said
            assert info.title in said[1].split(", ")


LAST = {"conv_out.weight", "conv_out.bias"}
SHAPE = {"channels": (16, 16), "attention": (False, True), "head_channels": 8, "groups": 4, "embedding": 16}
GUIDED, ENCODER = ConditionedUNetConfig(**SHAPE, encoder=(8, 8), code=12), EncoderConfig((8, 8), 12)
SHAPES = {"patch-unet": UNetConfig(**SHAPE), "conditioned-unet": GUIDED, "masked-encoder": ENCODER}
RESTORING = {
    **dict.fromkeys(
        ("dae-unet", "cold-unet", "flow-unet"), RestorationUNetConfig(**SHAPE, outputs=1, mirrored=False)
    ),
    "mend-unet": RestorationUNetConfig(**SHAPE),
    "vae": VAEConfig((8, 8), 4, 4),
}
KINDS = {"unet": UNetConfig(**SHAPE), **SHAPES, **RESTORING}


def start(network: str, objective: str) -> str:
    """What a checkpoint of a network gives to the network of an objective, in the page's words."""
    taught = {found.network: found for found in OBJECTIVES.values()}
    with torch.device("meta"):
        source, target = (
            NETWORKS[kind_of(KINDS[name])].module(KINDS[name])
            for name in (network, OBJECTIVES[objective].network)
        )
    card = {"kind": network, "prediction": taught[network].prediction}
    try:
        found = set(starting_weights(source, card, target, OBJECTIVES[objective].prediction))
    except ValueError:
        return "–"
    wanted = set(target.state_dict())
    # The layers that take the encoder's vector are of neither part; they begin without effect.
    denoiser = {name for name in wanted if name.startswith("unet.") and ".modulate." not in name}
    encoder = {name for name in wanted if name.startswith("encoder.")}
    words = {
        "all": wanted,
        "all but the last layer": wanted - LAST,
        "the denoiser": denoiser,
        "the denoiser but its last layer": denoiser - {f"unet.{name}" for name in LAST},
        "the encoder": encoder,
    }
    (word,) = [word for word, names in words.items() if names == found][:1]
    return word


def test_what_can_start_what_is_what_the_code_takes() -> None:
    wanted = [
        {"from": f"`{network}`", **{f"`{name}`": start(network, name) for name in OBJECTIVES}}
        for network in KINDS
    ]
    assert table(TEXT, "initial") == wanted


def test_the_signs_of_divergence_are_those_of_the_code_and_of_none_of_the_committed_logs() -> None:
    assert f"above {LOSS_RISE:g} times its lowest" in TEXT
    assert f"above {ERROR_RISE:g} times its best" in TEXT
    assert f"at most {HELD_OUT} validation lesions" in TEXT
    assert f"of more than {TOO_SMALL} px" in TEXT
    logs = sorted((ROOT / "reports/results/training").glob("log-*.jsonl"))
    assert logs
    for log in logs:
        records = [json.loads(line) for line in log.read_text().splitlines()]
        for number, record in enumerate(records):
            assert trouble(record, records[:number]) == ""


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
    keys += [
        target.slice
        for node in ast.walk(found)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Subscript)
    ]
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def test_the_errors_of_the_trainings_under_way_are_those_in_the_cards() -> None:
    for row in table(TEXT, "under way"):
        card = json.loads((ROOT / f"{row['card'].strip('`')}.json").read_text())
        (entry,) = [record for record in card["log"] if record["step"] == int(row["step"])]
        for source, levels in entry["clean_error"].items():
            told = [f"{1e4 * levels[level]:.1f}" for level in row["t"].split(" / ")]
            assert row[source] == " / ".join(told)


def test_the_last_step_told_of_is_the_one_whose_weights_are_there() -> None:
    last = {row["card"].strip("`"): int(row["step"]) for row in table(TEXT, "under way")}
    assert last == {name: json.loads((ROOT / f"{name}.json").read_text())["steps"] for name in last}


def test_how_far_the_denoisers_errors_still_fall_is_what_their_logs_say() -> None:
    text = " ".join(TEXT.split())
    for name, since in (("Gaussian", 500), ("simplex", 3000)):
        card = json.loads((ROOT / f"models/unet-{name.lower()}.json").read_text())
        log = {record["step"]: record["clean_error"] for record in card["log"]}
        first, last = log[since], log[card["steps"]]
        falls = [100 * (1 - last[source]["250"] / first[source]["250"]) for source in first]
        told = f"by {min(falls):.0f} to {max(falls):.0f} % over the {name} one's last {card['steps'] - since}"
        assert told in text, told
