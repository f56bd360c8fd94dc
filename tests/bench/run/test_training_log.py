"""What a training tells: the same in three forms, each step once, and signs of divergence in time."""

from __future__ import annotations

import fnmatch
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.cells import make_dataset
from support.pages import code, page, table
from support.trainings import CONFIG, log_of, make_small, make_training, rows_of, steps_of

from uadbench.bench.plan import data
from uadbench.bench.run import training as module
from uadbench.bench.run import training_checks
from uadbench.bench.run.training import run_training
from uadbench.bench.run.training_log import flat
from uadbench.bench.run.training_sources import load_lesions
from uadbench.engine.networks.checkpoint import load_checkpoint


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)


@pytest.mark.parametrize("killed", [3, 4, 5])
def test_after_a_kill_tensorboard_is_told_every_step_once(tmp_path: Path, killed: int) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    steps_of(make_training(tmp_path), stop_at=killed)
    (tmp_path / "state-gaussian.pt").unlink()  # the longest way back: from the start
    steps_of(make_training(tmp_path))
    events = EventAccumulator(str(tmp_path / "tensorboard" / "gaussian"))
    events.Reload()
    for record in log_of(tmp_path):
        for name, number in flat(record).items():
            if name != "step":
                told = {event.step: event.value for event in events.Scalars(name)}
                assert told[record["step"]] == pytest.approx(number, rel=1e-6)
    steps = [event.step for event in events.Scalars("clean_error/fake/250")]
    assert steps == [2, 4, 6]
    (picture, *_) = events.Images("grid")
    assert (picture.width, picture.height) == (3 * 24, 5 * 24)


def test_without_tensorboard_one_line_says_so_and_the_rest_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    told: list[str] = []
    steps_of(make_training(tmp_path), told=told)
    (line,) = told
    assert line.startswith("tensorboard is not installed")
    assert "pip install 'uadbench[train]'" in line
    assert not (tmp_path / "tensorboard").exists()
    assert [record["step"] for record in log_of(tmp_path)] == [2, 4, 6]


def test_the_table_has_a_row_a_validation_and_a_column_a_number(tmp_path: Path) -> None:
    steps_of(make_training(tmp_path))
    rows, log = rows_of(tmp_path / "log-gaussian.csv"), log_of(tmp_path)
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    for row, record in zip(rows, log, strict=True):
        assert float(row["clean_error/fake/350"]) == record["clean_error"]["fake"]["350"]
        assert float(row["eps_error_by_band/1-50"]) == record["eps_error_by_band"]["1-50"]
        assert float(row["one_call_dice/fake/250"]) == record["one_call_dice"]["fake"]["250"]
    assert rows[0]["lowest_loss"] == ""  # the warm-up is not over
    assert float(rows[2]["lowest_loss"]) <= float(rows[2]["loss"])


def test_lesions_are_those_of_the_validation_split_and_nothing_else_is_read() -> None:
    read: list[str] = []

    def reading(root: Any, seed: int, limit: Any) -> Any:
        dataset = make_dataset()
        return replace(dataset, load=lambda case: read.append(case.case_id) or dataset.load(case))

    data.DATASETS["fake"] = reading  # the fixture's own table
    found = load_lesions(["fake"], None)
    assert read == ["val3"]
    assert found["fake"].images.shape == (1, 24, 24)
    assert int(found["fake"].masks.sum()) == 49


@pytest.mark.parametrize("errors", [[1.0, 1.4, 1.6, 2.0], [1.0, 0.5, 0.8, 0.9]], ids=["at 3", "at 3 of 2"])
def test_a_training_that_seems_to_diverge_says_so_once_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: list[float]
) -> None:
    pending = iter(errors)

    def validate(model: Any, progress: Any, *arguments: Any) -> dict[str, Any]:
        shared = {"step": progress.step, "loss": 1.0, "lowest_loss": 1.0, "one_call_dice": {}}
        return {**shared, "clean_error": {"fake": {"350": next(pending)}}}

    monkeypatch.setattr(module, "validate", validate)
    told: list[str] = []
    training = make_training(tmp_path, config=replace(CONFIG, steps=8))
    good = b""
    for progress, _ in run_training(training, 2, lambda: None, told.append):
        if progress.step == 4:
            good = training.checkpoint.read_bytes()
    (line,) = [line for line in told if "diverge" in line]
    kept = tmp_path / "unet-gaussian-good.safetensors"
    assert line.startswith("step 6: the error of x0 on fake at t = 350 is ")
    assert "1.6 times its best" in line
    assert line.endswith(f"lower --learning-rate; the last good checkpoint is kept as {kept}")
    assert kept.read_bytes() == good != training.checkpoint.read_bytes()
    assert load_checkpoint(kept)[1]["steps"] == 4


def test_the_files_are_those_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_checks, "LOSS_RISE", 0.9)  # so that there is a last good checkpoint
    training = make_training(tmp_path)
    steps_of(training)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    rows = [code(row["file in `--output`"]) for row in table(page("training.md"), "files")]
    names = {"NETWORK": training.checkpoint.stem, "LABEL": training.label, "STEP": "*"}
    patterns = [re.sub("|".join(names), lambda found: names[found[0]], row) for row in rows]
    for pattern in patterns:
        assert fnmatch.filter(files, pattern), pattern
    assert [name for name in files if not any(fnmatch.fnmatch(name, one) for one in patterns)] == []


def test_a_loss_that_rises_between_validations_is_told_at_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_checks, "LOSS_RISE", 0.9)  # so that any loss has risen
    told: list[str] = []
    steps_of(make_training(tmp_path), told=told)
    (line,) = [line for line in told if "diverge" in line]
    assert line.startswith("step 3: the running loss is ")  # the warm-up is over after 2 steps
    assert load_checkpoint(tmp_path / "unet-gaussian-good.safetensors")[1]["steps"] == 2
