"""One training: what it is given, what it leaves, and that nothing is told twice after an interruption."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import filelock
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.diffusion import TINY
from support.trainings import SMALL, UNET, log_of, make_small, make_training, rows_of, steps_of

from uadbench.bench.commands.train import command
from uadbench.bench.plan.config import ConfigError
from uadbench.bench.run.training_sources import load_sources
from uadbench.datasets.case import CaseError
from uadbench.engine.networks.checkpoint import load_checkpoint, save_checkpoint
from uadbench.engine.networks.conditioned_unet import ConditionedUNetConfig
from uadbench.engine.networks.image_encoder import EncoderConfig
from uadbench.engine.networks.unet import UNet
from uadbench.engine.training import losses
from uadbench.engine.training.config import TrainingConfig


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


def test_sources_hold_healthy_slices_with_their_weights_and_records() -> None:
    sources = load_sources({"fake": 2.0}, None)
    (pool,) = sources.pools
    assert (pool.name, pool.weight, len(pool.images)) == ("fake", 2.0, 3)
    assert sources.validation["fake"].shape == (3, 24, 24)  # the healthy ones
    assert (sources.records[0]["slices"], sources.records[0]["weight"]) == (3, 2.0)
    assert sources.fingerprint == load_sources({"fake": 2.0}, None).fingerprint
    assert sources.fingerprint != load_sources({"fake": 1.0}, None).fingerprint


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        pytest.param("fkae", ConfigError, "unknown data set 'fkae'; did you mean 'fake'", id="no such"),
        pytest.param(
            "untrained",
            ConfigError,
            "untrained has no healthy train case to train with; train on",
            id="no train",
        ),
        pytest.param("bad", CaseError, "val0.png: is empty; copy it again", id="cannot be read"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(name: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        load_sources({name: 1.0}, None)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_its_card_a_log_and_a_grid_stand_at_every_validation(tmp_path: Path) -> None:
    training = make_training(tmp_path)
    assert steps_of(training) == [(1, False), (2, True), (3, False), (4, True), (5, False), (6, True)]
    log = log_of(tmp_path)
    assert [record["step"] for record in log] == [2, 4, 6]
    told = {"step", "loss", "lowest_loss", "learning_rate", "seconds", "eps_error_by_band"}
    assert set(log[0]) == told | {"clean_error", "one_call_dice"}
    assert set(log[0]["clean_error"]) == {"fake"}
    assert set(log[0]["one_call_dice"]["fake"]) == {"250"}
    assert [record["learning_rate"] for record in log] == [
        pytest.approx(3e-4 * (0.05 + 0.475 * (1 + math.cos(math.pi * done)))) for done in (0, 1 / 4, 3 / 4)
    ]
    model, card = load_checkpoint(tmp_path / UNET)
    assert (card["steps"], card["of_steps"], card["images_seen"]) == (6, 6, 12)
    assert (card["kind"], card["prediction"], card["noise"]) == ("unet", "epsilon", "gaussian")
    assert card["schedule"] == {"kind": "linear", "length": 1000, "start": 1e-4, "end": 0.02}
    assert card["log"] == log
    assert card["data"] == list(training.sources.records)
    assert card["data_fingerprint"] == training.sources.fingerprint
    assert card["validation_slices"] == {"fake": 3}
    assert card["validation_lesions"] == {"fake": 1}
    assert card["one_call_dice"] == log[-1]["one_call_dice"]
    assert (card["device"], card["processes"], card["precision"]) == ("cpu", 1, "fp32")
    assert card["training"]["batch_size"] == 2
    assert card["parameters"] == sum(weight.numel() for weight in model.parameters())
    grids = sorted(path.name for path in tmp_path.glob("grid-*.png"))
    assert grids == [f"grid-gaussian-{step:06d}.png" for step in (2, 4, 6)]
    with Image.open(tmp_path / grids[0]) as grid:
        assert grid.size == (3 * 24, 5 * 24)  # 3 slices; themselves, then 4 levels


@pytest.mark.parametrize("killed", [3, 4, 5])
def test_after_a_kill_no_line_of_the_log_is_told_twice_and_the_weights_are_the_same(
    tmp_path: Path, killed: int
) -> None:
    steps_of(make_training(tmp_path / "whole"))
    steps_of(make_training(tmp_path / "killed"), stop_at=killed)
    steps_of(make_training(tmp_path / "killed"))
    whole, resumed = log_of(tmp_path / "whole"), log_of(tmp_path / "killed")
    for record in (*whole, *resumed):
        record.pop("seconds")
    assert resumed == whole
    tables = [rows_of(tmp_path / name / "log-gaussian.csv") for name in ("whole", "killed")]
    assert tables[0] == tables[1]
    weights = [(tmp_path / name / UNET).read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


def test_a_torn_line_of_the_log_is_left_out(tmp_path: Path) -> None:
    steps_of(make_training(tmp_path), stop_at=4)
    with open(tmp_path / "log-gaussian.jsonl", "a") as file:
        file.write('{"step": 4, "lo')
    steps_of(make_training(tmp_path))
    assert [record["step"] for record in log_of(tmp_path)] == [2, 4, 6]


def test_a_training_may_start_from_a_checkpoint(tmp_path: Path) -> None:
    steps_of(make_training(tmp_path / "first"))
    start = tmp_path / "first" / UNET
    model, card = load_checkpoint(start)
    still = TrainingConfig(steps=1, batch_size=1, warmup=1, learning_rate=0.0, initial=card["sha256"])
    steps_of(make_training(tmp_path / "second", config=still, initial=(start,)))
    again, card = load_checkpoint(tmp_path / "second" / UNET)
    assert card["training"]["initial"] == still.initial
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=0, rtol=0)


def test_the_card_tells_of_the_trainings_before_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also across kinds of networks: a conditioned one from a denoiser that was trained twice, and an encoder."""
    levels, code = (8, 8), 12
    for name, shape in (
        ("masked", EncoderConfig(levels, code)),
        ("conditioned", ConditionedUNetConfig(**asdict(SMALL), encoder=levels, code=code)),
    ):
        taught = replace(losses.OBJECTIVES[name], presets={"small": shape})
        monkeypatch.setitem(losses.OBJECTIVES, name, taught)
    named: list[str] = []

    def trained(objective: str, *initial: Path, steps: int = 1) -> Path:
        folder = tmp_path / str(len(named))
        arguments = ["--data", "fake", "--objective", objective, "--steps", str(steps), "--batch-size", "2"]
        starts = [word for path in initial for word in ("--initial", str(path))]
        result = CliRunner().invoke(
            command, [*arguments, *starts, "--accumulate", "2", "--output", str(folder)]
        )
        assert result.exit_code == 0, result.output
        named.append(load_checkpoint(Path(result.stdout.strip()))[1]["sha256"])
        return Path(result.stdout.strip())

    first = trained("noise", steps=3)
    denoiser, encoder = trained("noise", first, steps=2), trained("masked")
    _, card = load_checkpoint(trained("conditioned", denoiser, encoder))
    assert {entry["sha256"] for entry in card["ancestry"]} == set(named[:3])
    told = {entry["sha256"]: entry for entry in card["ancestry"]}
    assert [entry["sha256"] for entry in card["ancestry"] if entry["name"] == "unet-gaussian"] == named[:2]
    assert [told[sha]["images_seen"] for sha in named[:3]] == [12, 8, 4]
    assert told[named[0]]["log"] == load_checkpoint(first)[1]["log"]
    assert told[named[1]]["initial"] == named[0]
    assert (card["images_seen"], card["images_seen_in_all"]) == (4, 28)
    assert card["images_seen_in_all_is"] == "exact"
    assert load_checkpoint(first)[1]["ancestry"] == []


def test_a_start_with_a_damaged_ancestry_is_refused(tmp_path: Path) -> None:
    start = tmp_path / UNET
    save_checkpoint(start, UNet(SMALL), {"ancestry": "long"})
    arguments = ["--data", "fake", "--initial", str(start), "--output", str(tmp_path / "second")]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "its card's ancestry is damaged; give another checkpoint, or none" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_the_paper_preset_trains_the_papers_kind_of_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(losses.SHAPES, "paper", TINY)
    arguments = ["--data", "fake", "--steps", "2", "--batch-size", "1", "--no-progress"]
    result = CliRunner().invoke(command, [*arguments, "--preset", "paper", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    model, card = load_checkpoint(tmp_path / UNET)
    assert (card["kind"], card["network"]["groups"]) == ("diffusion-unet", TINY.groups)
    assert card["parameters"] == sum(weight.numel() for weight in model.parameters())


def test_a_start_of_another_shape_is_refused(tmp_path: Path) -> None:
    steps_of(make_training(tmp_path / "first"))
    start = tmp_path / "first" / UNET
    arguments = ["--data", "fake", "--preset", "paper", "--initial", str(start)]
    result = CliRunner().invoke(command, [*arguments, "--output", str(tmp_path / "second")])
    assert result.exit_code == 2
    assert "nothing of a unet can start this network: it is of another kind or shape; give" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_second_trainer_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / ".lock-gaussian", timeout=0):
        result = CliRunner().invoke(command, ["--data", "fake", "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "another process trains there; wait, or give another --output" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_bench_train_ends_with_the_place_of_its_checkpoint(tmp_path: Path) -> None:
    arguments = ["--data", "fake=2", "--steps", "2", "--batch-size", "1", "--validate-every", "1"]
    result = CliRunner().invoke(command, [*arguments, "--no-progress", "--output", str(tmp_path / "new")])
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "new" / UNET)
    assert result.stderr.startswith("step 1 of 2, loss ")
    assert "; one-call Dice (%): fake " in result.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--data", "untrained"], "has no healthy train case", id="no training rows"),
        pytest.param(["--data", "fake=0"], "the weight must be a number above 0", id="weight"),
        pytest.param(["--data", "fake,fake"], "names 'fake' twice", id="twice"),
        pytest.param(
            ["--data", "fake", "--precision", "fp16"], "fp16 is trained in on a GPU only", id="fp16"
        ),
        pytest.param(["--data", "fake", "--initial", "nowhere.safetensors"], "is missing", id="initial"),
    ],
)
def test_bench_train_explains_what_is_wrong_in_one_line(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = CliRunner().invoke(command, [*arguments, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not list((tmp_path / "out").glob("unet*"))
