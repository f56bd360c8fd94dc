"""``configs/paper``: the published rows as their authors ran them, as far as switches reach."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT

from uadbench.bench.plan.config import ConfigError, config_hash, load_config, make_config
from uadbench.bench.plan.grid import Cell, plan_cells
from uadbench.bench.plan.plan import make_plan
from uadbench.engine.methods import build_method

PAPER = ROOT / "configs" / "paper"
OURS = ROOT / "configs"
AUTHORS = {"map_at": "every-50", "perceptual_norm": "twice", "renoise": "t"}
CALLS = {  # network calls a case
    "thor-gaussian": 350,
    "thor-simplex": 250,
    "ddpm-gaussian": 350,
    "anoddpm-simplex": 250,
    "autoddpm-gaussian": 200 + 50 * 5,
    "pddpm-simplex": 4,
}


def published() -> dict[str, str]:
    """File -> the row of Table 1 of THOR's paper, "noise, method"."""
    tables = tomllib.loads((ROOT / "reports" / "published.toml").read_text(encoding="utf-8"))["table"]
    (table,) = [one for one in tables if one["columns"][:2] == ["noise", "method"]]
    return {f"{method}-{noise}".lower(): f"{noise}, {method}" for noise, method, *_ in table["rows"]}


PUBLISHED = published()
ROWS = pytest.mark.parametrize("row", PUBLISHED)


def cell_of(path: Path) -> Cell:
    """The one cell of a file that is no floor."""
    (cell,) = [cell for cell in plan_cells(make_config(load_config(path), {})) if not cell.variant.floor]
    return cell


def test_there_is_a_file_for_each_published_row_and_no_other() -> None:
    assert {path.name for path in PAPER.iterdir()} == {f"{row}.toml" for row in PUBLISHED}
    assert set(CALLS) == set(PUBLISHED)


def test_there_is_a_file_for_each_published_row_in_our_reading_too() -> None:
    assert {path.stem for path in OURS.glob("*.toml")} >= set(PUBLISHED)


@ROWS
def test_a_row_takes_the_papers_network_calls_its_net_and_its_mask_rule(row: str) -> None:
    config = make_config(load_config(PAPER / f"{row}.toml"), {})
    cell = cell_of(PAPER / f"{row}.toml")
    assert f"{cell.variant.method}-{cell.variant.noise}" == row
    steps = "paper" if hasattr(cell.method, "respaced") else "-"
    assert (cell.walk.nfe, cell.variant.steps) == (CALLS[row], steps)
    assert (config.perceptual, config.mask_rule, config.eta) == (("lpips-squeeze",), "any", 1.0)


@ROWS
def test_only_thor_has_further_practice_to_switch_on(row: str) -> None:
    expected = AUTHORS if row.startswith("thor") else {}
    assert json.loads(cell_of(PAPER / f"{row}.toml").variant.settings) == expected


@ROWS
def test_a_file_says_all_settings_of_ours_and_in_words_what_it_covers_and_what_not(row: str) -> None:
    path = PAPER / f"{row}.toml"
    text = path.read_text(encoding="utf-8").replace("\n# ", " ")
    calls = "every level visited" if hasattr(cell_of(path).method, "respaced") else "one network call"
    assert calls in text.split("Covers: ")[1].split("Does not cover: ")[0]
    assert "arXiv 2403.08464, Table 1" in text
    assert f'"{PUBLISHED[row]}"' in text
    ours, theirs = (load_config(folder / f"{row}.toml") for folder in (OURS, PAPER))
    assert {**theirs, **ours, "mask_rule": "any"}.keys() == theirs.keys()
    name = row.split("-")[0]
    assert {key: theirs[name][key] for key in ours[name]} == ours[name]


@ROWS
def test_our_own_configs_stay_as_they_were(row: str) -> None:
    config = make_config(load_config(OURS / f"{row}.toml"), {})
    cell = cell_of(OURS / f"{row}.toml")
    assert config.mask_rule == "half"
    assert cell.variant.settings == "{}"
    preset: Any = build_method(cell.variant.method, cell.variant.noise, "paper")
    assert dataclasses.asdict(cell.method) == dataclasses.asdict(preset)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        pytest.param(
            "thor.map_at", "every", "thor.map_at is 'every'; 'harmonize' or 'every-50'", id="map_at"
        ),
        pytest.param("thor.renoise", 1, "thor.renoise is 1; 't_prev' or 't' is needed", id="renoise"),
        pytest.param("thor.perceptual_norm", "2", "'once' or 'twice' is needed", id="perceptual_norm"),
        pytest.param("mask_rule", "all", "mask_rule is 'all'; 'half' or 'any' is needed", id="mask_rule"),
    ],
)
def test_a_switch_that_is_misspelt_is_one_line_with_the_choices(
    key: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_cells(make_config({"methods": ["thor"]}, {}, [(key, value)]))


def test_every_50_with_fewer_steps_than_its_levels_is_refused_before_anything_runs() -> None:
    flags = {"methods": "thor", "steps": "5"}
    with pytest.raises(ConfigError, match="5 steps cannot visit the 7 levels"):
        plan_cells(make_config({}, flags, [("thor.map_at", "every-50")]))


def test_the_mask_rule_is_part_of_the_runs_identity_and_reaches_the_data(tmp_path: Path) -> None:
    (tmp_path / "index.csv").write_text("case_id,image,mask,split,subject\na,a.png,,test,s\n")
    usual, other = (
        make_config({"methods": ["ddpm"], "dataset": "folder", "data_root": str(tmp_path)}, {}, sets)
        for sets in ([], [("mask_rule", "any")])
    )
    assert config_hash(usual) != config_hash(other)
    a, b = make_plan(usual).dataset, make_plan(other).dataset
    assert (a.preprocessing["mask_rule"], b.preprocessing["mask_rule"]) == (0.5, "any")
    assert a.fingerprint != b.fingerprint
