"""Which file a network is, and that what its card says reaches the cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_network import make_unet

from uadbench.bench.plan.config import ConfigError, make_config
from uadbench.bench.plan.grid import plan_cells
from uadbench.bench.plan.plan import make_plan
from uadbench.bench.plan.weights import find_network
from uadbench.bench.run.record import make_manifest
from uadbench.engine.networks import checkpoint
from uadbench.engine.networks.checkpoint import CheckpointError, save_checkpoint, shipped
from uadbench.engine.schedule import linear_schedule


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A network that was trained with a schedule of 200 levels."""
    path = tmp_path / "mine.safetensors"
    schedule = {"kind": "linear", "length": 200, "start": 1e-3, "end": 0.1}
    save_checkpoint(path, make_unet(), {"noise": "gaussian", "schedule": schedule})
    return path


def test_the_users_file_is_taken_where_one_is_given_and_the_shipped_one_otherwise(short: Path) -> None:
    given = {"unet-gaussian": str(short)}
    mine, ours = find_network("unet-gaussian", given), find_network("unet-simplex", given)
    assert (mine.path, ours.path) == (short, shipped("unet-simplex"))
    assert mine.schedule == linear_schedule(200, 1e-3, 0.1)
    assert ours.schedule == linear_schedule()


def test_a_network_that_is_nowhere_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no network unet-perlin is shipped"):
        find_network("unet-perlin", {})
    with pytest.raises(CheckpointError, match=r"mine\.safetensors is missing"):
        find_network("unet-gaussian", {"unet-gaussian": str(tmp_path / "mine.safetensors")})


def test_a_cells_chain_runs_on_the_schedule_of_its_networks_card(short: Path) -> None:
    flags = {"methods": "ddpm", "t_start": 150}
    config = make_config({"checkpoints": {"unet-gaussian": str(short)}}, flags)
    cells = {cell.variant.method: cell for cell in plan_cells(config)}
    assert cells["ddpm"].schedule.length == 200
    assert max(cells["ddpm"].walk.levels) == 150
    assert cells["blur"].schedule == linear_schedule()  # a floor has no card


def test_a_level_above_the_cards_schedule_is_refused(short: Path) -> None:
    config = make_config({"checkpoints": {"unet-gaussian": str(short)}}, {"methods": "ddpm"})
    with pytest.raises(ConfigError, match=r"^ddpm: t_start is 350; allowed is 1 to 200"):
        plan_cells(config)


def test_another_card_for_the_same_weights_is_another_network(short: Path) -> None:
    before = find_network("unet-gaussian", {"unet-gaussian": str(short)})
    card = json.loads(short.with_suffix(".json").read_text())
    short.with_suffix(".json").write_text(json.dumps(card | {"prediction": "v"}))
    after = find_network("unet-gaussian", {"unet-gaussian": str(short)})
    assert after.card["sha256"] == before.card["sha256"]
    assert after.identity != before.identity


@pytest.fixture
def shipped_nearby(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped networks with the usual one alone."""
    monkeypatch.setattr(checkpoint, "_among_shipped", lambda name: tmp_path / f"{name}.safetensors")
    save_checkpoint(tmp_path / "unet-gaussian.safetensors", make_unet(), {"noise": "gaussian"})
    return tmp_path


OWN = {"unet-gaussian": "unet-gaussian-wrist"}


def test_a_data_sets_own_network_is_taken_where_it_is_shipped_and_the_user_gives_none(
    shipped_nearby: Path, short: Path
) -> None:
    save_checkpoint(shipped_nearby / "unet-gaussian-wrist.safetensors", make_unet(), {"noise": "gaussian"})
    found = find_network("unet-gaussian", {}, OWN)
    assert (found.name, found.path.name) == ("unet-gaussian", "unet-gaussian-wrist.safetensors")
    assert found.wanted == ""
    assert find_network("unet-gaussian", {"unet-gaussian": str(short)}, OWN).path == short


def test_the_usual_network_serves_with_a_caveat_where_the_data_sets_own_is_not_shipped(
    shipped_nearby: Path,
) -> None:
    found = find_network("unet-gaussian", {}, OWN)
    assert found.path.name == "unet-gaussian.safetensors"
    assert "unet-gaussian-wrist" in found.caveat
    assert "--set checkpoints.unet-gaussian=FILE" in found.caveat


def test_a_run_says_which_file_serves_and_that_its_own_is_missing(shipped_nearby: Path) -> None:
    config = make_config({}, {"dataset": "phantom-wrist", "methods": "ddpm", "limit": 4})
    plan = make_plan(config)
    assert [network.wanted for network in plan.networks.values()] == ["unet-gaussian-wrist"]
    manifest = make_manifest(config, plan.dataset, plan.cases, [], plan.networks, {}, 1, "bench run")
    assert manifest["checkpoints"]["unet-gaussian"]["file"] == "unet-gaussian.safetensors"
    assert plan.notes[0] in manifest["dataset"]["caveats"]
    save_checkpoint(shipped_nearby / "unet-gaussian-wrist.safetensors", make_unet(), {"noise": "gaussian"})
    mended = make_plan(config)
    assert mended.notes == []
    again = make_manifest(config, mended.dataset, mended.cases, [], mended.networks, {}, 1, "bench run")
    assert again["checkpoints"]["unet-gaussian"]["file"] == "unet-gaussian-wrist.safetensors"
