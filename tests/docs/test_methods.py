"""The pages of the methods say what the methods do."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support.pages import code, page, table
from support.places import ROOT
from torch.utils.flop_counter import FlopCounterMode

from uadbench.bench.plan.config import load_config, make_config
from uadbench.bench.plan.grid import plan_cells
from uadbench.bench.plan.walk import walk
from uadbench.engine.methods import FLOORS, METHODS, build_method
from uadbench.engine.networks.checkpoint import read_card, shipped
from uadbench.engine.networks.conditioned_unet import ConditionedUNet
from uadbench.engine.schedule import linear_schedule

PAGE = {**{name: f"methods/{name}.md" for name in METHODS}, **dict.fromkeys(FLOORS, "methods/floors.md")}
PRESETS = [(name, noise) for name, info in (METHODS | FLOORS).items() for noise in info.noises]


@pytest.mark.parametrize(("name", "noise"), PRESETS)
def test_the_table_of_switches_is_the_fields_of_the_method_with_their_defaults(name: str, noise: str) -> None:
    rows = table(page(PAGE[name]), f"switches: {name}")
    told = {code(row["field"]): ast.literal_eval(code(row[noise])) for row in rows}
    method: Any = build_method(name, noise)
    assert told == {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    assert all(row["meaning"] for row in rows)


@pytest.mark.parametrize("name", [*METHODS, *FLOORS])
def test_every_noise_of_a_method_has_its_column(name: str) -> None:
    noises, rows = (METHODS | FLOORS)[name].noises, table(page(PAGE[name]), f"switches: {name}")
    fields: Any = dataclasses.fields(build_method(name, noises[0]))  # type: ignore[arg-type]
    assert len(rows) == len(fields)
    assert all(tuple(row)[1:-1] == noises for row in rows)


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_on_the_page_is_what_the_walk_counts(name: str) -> None:
    rows = table(page(PAGE[name]), f"cost: {name}")
    told = {row["noise"]: (int(row["default"]), int(row["`--steps paper`"])) for row in rows}
    counted = {
        noise: (_calls(name, noise, None), _calls(name, noise, "paper")) for noise in METHODS[name].noises
    }
    assert told == counted


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_costs_no_network_call(name: str) -> None:
    assert _calls(name, "none", None) == 0


def _calls(name: str, noise: str, steps: str | None) -> int:
    return walk(build_method(name, noise, steps), linear_schedule()).nfe


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_a_configuration_of_a_published_row_is_the_preset_that_visits_every_level(path: Path) -> None:
    config = make_config(load_config(path), {})
    (cell,) = [cell for cell in plan_cells(config) if not cell.variant.floor]
    rows = {
        row["noise"]: row for row in table(page(PAGE[cell.variant.method]), f"cost: {cell.variant.method}")
    }
    assert cell.variant.settings == "{}"
    assert cell.walk.nfe == int(rows[cell.variant.noise]["`--steps paper`"])
    assert path.stem == f"{cell.variant.method}-{cell.variant.noise}"


@pytest.mark.parametrize("data", ["ixi-stroke", "soop-flair"])
def test_what_thors_page_says_of_auroc_is_what_the_committed_tables_say(data: str) -> None:
    frame = pd.read_csv(ROOT / "reports" / "results" / data / "leaderboard.csv")
    found = frame.groupby(["method", "noise"])["auroc_image"].agg(["min", "max"])  # over the perceptual nets
    text = " ".join(page("methods/thor.md").split())
    assert "no such cost in AUROC with Gaussian noise, where THOR is above DDPM" in text
    assert "above AnoDDPM through `brain-squeeze` and below it through `lpips-squeeze`, on both" in text
    assert found.loc[("thor", "gaussian"), "min"] > found.loc[("ddpm", "gaussian"), "max"]
    thor = frame[frame["method"].eq("thor") & frame["noise"].eq("simplex")].set_index("perceptual")
    rival = found.loc[("anoddpm", "simplex"), "max"]
    assert thor.loc["brain-squeeze", "auroc_image"] > rival > thor.loc["lpips-squeeze", "auroc_image"]


def test_what_thors_page_says_of_auroc_on_phantoms_is_what_the_table_says() -> None:
    frame = pd.read_csv(ROOT / "reports" / "results" / "phantom" / "leaderboard.csv")
    rows = frame[frame["noise"].eq("simplex")].set_index("method")["auroc_image"]
    best, least, rival = (
        f"{100 * value:.1f}" for value in (rows["thor"].max(), rows["thor"].min(), rows["anoddpm"])
    )
    assert f"through either ({best} and {least} against {rival})" in page("methods/thor.md")
    assert rows["thor"].max() < rows["anoddpm"]


def test_the_encoder_of_cddpm_costs_what_its_page_says() -> None:
    with torch.device("meta"):
        network, x = ConditionedUNet(), torch.zeros(1, 1, 128, 128)
        with FlopCounterMode(display=False) as whole, torch.no_grad():
            network(x, torch.zeros(1, dtype=torch.int64), x)
        with FlopCounterMode(display=False) as encoder, torch.no_grad():
            network.encoder(x)
    share = encoder.get_total_flops() / whole.get_total_flops()
    text = " ".join(page("methods/cddpm.md").split())
    parameters = sum(weight.numel() for weight in network.encoder.parameters()) / 1e6
    assert f"({parameters:.1f} M parameters, {100 * share:.0f} % of a call's operations)" in text
    assert f"would save {100 * share * 2 / 3:.0f} % of the operations of three calls" in text


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_what_one_steps_page_says_of_the_levels_in_training_is_in_the_cards(noise: str) -> None:
    told = read_card(shipped(f"unet-{noise}"))["training"]
    words = f"drew {100 * told['focus_share']:.0f} % of its training levels from 1 to {told['t_focus']}, "
    assert words in page("methods/one-step.md").replace("\n", " ")
