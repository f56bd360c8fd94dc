"""``bench parity``: verdicts in a file, an exit code for CI, one line where it cannot judge."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import tiny_network as tiny
from support.closed_form import Fake
from support.files import edit
from support.judged import PERCEPTUALS, judged_run
from torch import Tensor

from uadbench.bench.commands.parity import command
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.atomic import read_json
from uadbench.reports.identity import Arm


def _half(x_t: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x_t


@pytest.fixture(autouse=True)
def perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "uadbench.bench.run.reopen.open_perceptual", lambda name, *rest: PERCEPTUALS["brain-squeeze"]
    )


def made_here(path: Path, arms: list[tuple[str, str]]) -> Path:
    """A run whose record names the weights that are here."""
    run = judged_run(path, arms)
    net = {"sha256": PERCEPTUALS["brain-squeeze"].sha256}
    edit(run / "manifest.json", perceptual={"brain-squeeze": net})
    return run


def test_bench_parity_writes_verdicts_and_its_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_here(tmp_path / "run", [("torch", "fp32"), ("onnxruntime", "fp32")])
    fakes: dict[str, Denoiser] = {"torch": Fake(_half), "onnxruntime": Fake(_half)}

    def opener(arm: Arm, *rest: Any, say: Callable[[str], None], hint: str) -> Denoiser:
        say(f"building an engine for {arm.backend}")
        return fakes[arm.backend]

    monkeypatch.setattr("uadbench.bench.run.reopen.open_denoiser", opener)
    checkpoint = tiny.make_checkpoint(tmp_path)
    card = json.loads(checkpoint.with_suffix(".json").read_text())
    edit(run / "manifest.json", checkpoints={"unet-gaussian": {"sha256": card["sha256"], "card": card}})
    arguments = [str(run), "--checkpoint", f"unet-gaussian={checkpoint}", "--threads", "1"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "building an engine for onnxruntime" in result.stderr  # work of minutes is announced
    assert read_json(run / "parity.json")["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "pass"
    fakes["onnxruntime"] = Fake(lambda x, t: 0.6 * x)
    assert CliRunner().invoke(command, arguments).exit_code == 1
    assert read_json(run / "parity.json")["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "fail"
    edit(run / "manifest.json", checkpoints={"unet-gaussian": {"sha256": "0" * 64}})
    other = CliRunner().invoke(command, arguments)
    assert other.exit_code == 2
    assert "is not the network of this run" in other.output
    assert "give it with --checkpoint unet-gaussian=FILE" in other.output


def test_bench_parity_refuses_other_weights_of_a_perceptual_net(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", [("torch", "fp32"), ("onnxruntime", "fp32")])
    result = CliRunner().invoke(command, [str(run), "--threads", "1"])
    assert result.exit_code == 2
    assert "was made with other weights of brain-squeeze than are here" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_bench_parity_says_in_one_line_that_a_run_is_of_another_version(tmp_path: Path) -> None:
    run = made_here(tmp_path / "run", [("torch", "fp32"), ("onnxruntime", "fp32")])
    edit(run / "manifest.json", checkpoints={})
    result = CliRunner().invoke(command, [str(run), "--threads", "1"])
    assert result.exit_code == 2
    assert "the manifest lacks 'unet-gaussian'; it was made by another version" in result.output


def test_bench_parity_does_not_fail_for_what_it_cannot_judge(tmp_path: Path) -> None:
    run = made_here(tmp_path / "run", [("onnxruntime", "fp32")])
    result = CliRunner().invoke(command, [str(run), "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert read_json(run / "parity.json")["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "not judged"


def test_bench_parity_says_in_one_line_that_a_file_cannot_be_written(tmp_path: Path) -> None:
    run = made_here(tmp_path / "run", [("onnxruntime", "fp32")])
    (run / "parity.json").mkdir()  # cannot be replaced by a file
    result = CliRunner().invoke(command, [str(run), "--threads", "1"])
    assert result.exit_code == 1
    assert "parity.json" in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("what", ["no run", "torch only"])
def test_bench_parity_explains_what_it_cannot_judge(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run"
    if what == "torch only":
        judged_run(path, [("torch", "fp32")])
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 2
    assert ("no such folder" if what == "no run" else "nothing to compare") in result.output
    assert len(result.output.strip().splitlines()) == 1
