"""What can be named, and how a network is had that is not shipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from uadbench.bench.cli import cli
from uadbench.bench.commands.list import names
from uadbench.engine.methods import METHODS
from uadbench.engine.networks.checkpoint import is_shipped


def test_list_names_all_that_other_commands_take() -> None:
    listing = json.loads(CliRunner().invoke(cli, ["list", "--json"]).stdout)
    assert {"thor", "ddpm", "anoddpm", "autoddpm"} <= set(listing["methods"])
    floors = {"residual-median", "zscore", "intensity", "asymmetry", "asymmetry-intensity"}
    assert floors | {"blur", "perceptual-blur"} == set(listing["floors (always run)"])
    (named,) = [listing[kind] for kind in listing if kind.startswith("floors (run where named")]
    assert {f"{name}-fitted" for name in floors} == set(named)
    assert {"phantom", "ixi-stroke", "soop-flair", "folder"} <= set(listing["data sets"])
    assert "torch" in listing["back ends"]
    assert set(listing["noises"]) == {"gaussian", "simplex"}
    assert {"brain-squeeze", "lpips-squeeze"} <= set(listing["perceptual nets"])
    assert set(METHODS) <= set(listing["methods"])


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_entry_tells_its_paper_its_calls_and_the_checkpoint_of_each_noise(name: str) -> None:
    info, told = METHODS[name], names()["methods"][name].split("; ")
    calls = "1 call a case" if info.calls == 1 else f"{info.calls} calls a case"
    wanted = [f"{info.title}, {info.paper}", calls]
    for noise in info.noises:
        network = info.networks(noise)["denoiser"]
        there = network if is_shipped(network) else f"{network} (not shipped)"
        wanted.append(there if noise == "none" else f"{noise}: {there}")
    assert told == wanted


def test_an_entry_reads_as_this() -> None:
    listed = names()["methods"]
    assert listed["mend"] == "Mend, docs/methods/mend.md; 4 calls a case; mend-unet"
    assert listed["dae"].split("; ")[1] == "1 call a case"
    assert listed["cddpm"] == (
        "cDDPM, arXiv 2312.04215; 3 calls a case; simplex: conditioned-unet-simplex; "
        "gaussian: conditioned-unet-gaussian (not shipped)"
    )


def test_a_noise_is_refused_for_a_method_that_draws_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", "--methods", "mend:gaussian", "--output", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert result.stderr.strip().endswith(
        "mend draws no noise, and 'mend:gaussian' asks for some; name it mend"
    )


def test_a_method_whose_network_is_not_shipped_says_how_to_get_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        cli, ["run", "--methods", "autoddpm,pddpm:gaussian", "--output", str(tmp_path)]
    )
    assert result.exit_code == 2
    assert "no network patch-unet-gaussian is shipped; train one with `bench train`" in result.stderr
    assert "--set checkpoints.patch-unet-gaussian=FILE" in result.stderr
    assert not list(tmp_path.iterdir())
