"""Which file a network is, and that what its card says reaches the cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tiny_network import make_unet

from uadbench.bench.plan.config import ConfigError, make_config
from uadbench.bench.plan.grid import plan_cells
from uadbench.bench.plan.weights import find_network
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
