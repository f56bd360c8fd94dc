"""Parity passes what differs by rounding, and finds each kind of difference that matters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from support import tiny_network as tiny
from support.closed_form import AbsolutePerceptual
from support.runs import make_run
from torch import Tensor

from uadbench.bench.commands.parity import command
from uadbench.bench.compare import judge as parity
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.methods import build_method
from uadbench.engine.schedule import linear_schedule
from uadbench.exporters.parity import (
    LEVELS,
    MARGINS,
    NETWORK_GATES,
    compare_chains,
    network_parity,
    record_chain,
    relative_l2,
    score_parity,
    trajectory_parity,
    verdict,
)
from uadbench.reports.store import load_run, read_json, write_json


class Fake:
    """A denoiser that is a function of (x_t, t)."""

    name, device = "fake", "cpu"

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], precision: str = "fp32") -> None:
        self.function, self.precision, self.calls = function, precision, 0

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        return self.function(x_t, t)

    def synchronize(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {}


def _half(x_t: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x_t


IMAGES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def _walk(denoiser: Denoiser) -> Tensor:
    """Three Euler-like steps, each feeding its error into the next."""
    x = IMAGES
    for level in (300, 200, 100):
        x = x - 0.1 * denoiser.denoise(x, torch.full((2,), level))
    return x


def test_relative_l2_is_the_ratio_of_norms() -> None:
    assert relative_l2(torch.tensor([3.0, 4.0 + 0.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)
    assert relative_l2(torch.tensor([math.nan]), torch.tensor([1.0])) == math.inf
    assert relative_l2(torch.zeros(3), torch.zeros(3)) == 0


def test_equal_networks_agree_exactly_at_every_level_and_seed() -> None:
    result = network_parity(Fake(_half), Fake(_half), IMAGES)
    assert (result["rel_l2"], result["rel_image"], result["max_abs"]) == (0, 0, 0)
    assert result["pass"]
    assert {(call["t"], call["seed"]) for call in result["calls"]} == {
        (t, s) for t in LEVELS for s in range(3)
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_gate_is_on_what_an_error_of_eps_does_to_the_image(precision: str, factor: float) -> None:
    """eps' = (1 + e) eps with eps = x_t gives an image error of sqrt(1 - abar_t) e, at most e."""
    error = factor * NETWORK_GATES[precision]
    other = Fake(lambda x, t: x * (1 + error), precision)
    result = network_parity(Fake(lambda x, t: x), other, IMAGES)
    assert result["rel_l2"] == pytest.approx(error, rel=0.05)
    abar = linear_schedule().abar
    for call in result["calls"]:
        expected = math.sqrt(1 - abar[call["t"]]) * call["rel_l2"]
        assert call["rel_image"] == pytest.approx(expected, rel=0.05)
    assert result["pass"] is (factor < 1)


def test_a_network_that_is_wrong_at_one_level_only_is_found() -> None:
    other = Fake(lambda x, t: 0.5 * x + (0.01 if int(t[0]) == 350 else 0.0))
    result = network_parity(Fake(_half), other, IMAGES)
    assert not result["pass"]
    assert {call["t"] for call in result["calls"] if call["rel_image"] > 1e-5} == {350}


def test_nan_never_passes() -> None:
    broken = Fake(lambda x, t: x * math.nan)
    assert network_parity(Fake(_half), broken, IMAGES)["rel_image"] == math.inf
    assert not network_parity(Fake(_half), broken, IMAGES)["pass"]
    assert not trajectory_parity(Fake(_half), broken, _walk)["pass"]
    assert not score_parity(_metrics(), _metrics(dice=math.nan), 0.01)["pass"]


def test_an_error_accumulates_along_the_chain_as_it_must() -> None:
    """x' = x (1 - 0.1 k): after n calls the ratio is ((1 - 0.1 k') / (1 - 0.1 k)) ** n."""
    result = trajectory_parity(Fake(_half), Fake(lambda x, t: 0.501 * x), _walk)
    ratio = (1 - 0.0501) / (1 - 0.05)
    assert result["levels"] == [300, 200, 100]
    for n, error in enumerate([*result["rel_l2"], result["final"]]):
        assert error == pytest.approx(1 - ratio**n, rel=1e-2, abs=1e-9)
    assert result["max"] == result["final"]
    assert not result["pass"]


def test_chains_of_different_methods_are_not_compared() -> None:
    short = record_chain(Fake(_half), lambda d: d.denoise(IMAGES, torch.full((2,), 300)))
    with pytest.raises(ValueError, match="visit 3 and 1 levels"):
        compare_chains(record_chain(Fake(_half), _walk), short, "fp32")


def _metrics(
    dice: float | None = 0.4, auprc: float | None = 0.3, cases: tuple[str, ...] = ("a", "b")
) -> dict:
    return {
        "n_cases": len(cases),
        "dice_max": None if dice is None else {"value": dice},
        "auprc": {"value": auprc},
        "per_case": {case: {} for case in cases},
    }


@pytest.mark.parametrize(
    ("metrics", "passes", "reason"),
    [
        pytest.param(_metrics(), True, None, id="equal"),
        pytest.param(_metrics(dice=0.391, auprc=0.309), True, None, id="within, either way"),
        pytest.param(_metrics(dice=0.389), False, "max Dice differs by -1.10 points", id="Dice below"),
        pytest.param(_metrics(auprc=0.32), False, "AUPRC differs by +2.00 points", id="AUPRC above"),
        pytest.param(_metrics(cases=("a",)), False, "different cases", id="a case less"),
        pytest.param(_metrics(dice=None), False, "only one of the cells has a max Dice", id="no Dice"),
    ],
)
def test_scores_pass_within_the_margin_on_the_same_cases(
    metrics: dict, passes: bool, reason: str | None
) -> None:
    result = score_parity(_metrics(), metrics, MARGINS["fp32"])
    assert result["pass"] is passes
    assert (result["reason"] is None) if reason is None else (reason in result["reason"])


def test_scores_that_nobody_has_prove_nothing() -> None:
    nothing = _metrics(dice=None, auprc=None)
    result = score_parity(nothing, nothing, 0.01)
    assert not result["pass"]
    assert "no case with a lesion" in result["reason"]


def test_a_verdict_needs_all_three_parts_and_names_those_that_fail() -> None:
    network = network_parity(Fake(_half), Fake(_half), IMAGES)
    chain = trajectory_parity(Fake(_half), Fake(_half), _walk)
    scores = score_parity(_metrics(), _metrics(dice=0.401), 0.01)
    passed, why = verdict(network, chain, scores)
    assert passed == "pass"
    assert "max Dice +0.10" in why
    assert verdict(network, chain, None) == ("fail", "scores could not be compared")
    wrong = score_parity(_metrics(), _metrics(dice=0.3), 0.01)
    failed, why = verdict({**network, "pass": False}, {**chain, "pass": False}, wrong)
    assert failed == "fail"
    assert all(part in why for part in ("network: ", "trajectory: ", "scores: max Dice differs by -10.00"))


def test_a_real_export_agrees_over_a_whole_thor_chain(tmp_path: Path) -> None:
    from uadbench.engine.backends import open_backend

    run = _run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    artifact, checkpoint = tiny.make_artifact(tmp_path), tiny.make_checkpoint(tmp_path)
    opened = {
        "torch": open_backend("torch", checkpoint),
        "onnxruntime": open_backend("onnxruntime", artifact, threads=1),
    }
    result = parity.judge_run(load_run(run), lambda cell: opened[cell.info["backend"]], AbsolutePerceptual())
    entry = result["thor-gaussian-5-onnxruntime-fp32"]
    assert entry["verdict"] == "pass", entry["reason"]
    assert entry["reference"] == "thor-gaussian-5-torch-fp32"
    assert result[entry["reference"]]["verdict"] == "reference"
    assert len(entry["trajectory"]["levels"]) == 5
    assert 0 < entry["trajectory"]["final"] < 1e-4
    assert "blur-none-0-torch-fp32" not in result


def test_a_wrong_back_end_fails_in_network_and_trajectory(tmp_path: Path) -> None:
    run = _run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    opened = {"torch": Fake(_half), "onnxruntime": Fake(lambda x, t: 0.52 * x)}
    result = parity.judge_run(load_run(run), lambda cell: opened[cell.info["backend"]], AbsolutePerceptual())
    entry = result["thor-gaussian-5-onnxruntime-fp32"]
    assert entry["verdict"] == "fail"
    assert "network: " in entry["reason"]
    assert "trajectory: " in entry["reason"]
    write_json(tmp_path / "parity.json", result)  # plain JSON, no infinity


def test_without_a_reference_nothing_is_judged(tmp_path: Path) -> None:
    run = _run(tmp_path, [("openvino", "bf16")])
    result = parity.judge_run(load_run(run), lambda cell: Fake(_half), AbsolutePerceptual())
    entry = result["thor-gaussian-5-openvino-bf16"]
    assert entry["verdict"] == "not judged"
    assert "no torch fp32 cell" in entry["reason"]


@pytest.mark.parametrize(
    ("failing", "verdict", "reason"),
    [
        pytest.param("onnxruntime", "fail", "it finished no test case", id="the cell"),
        pytest.param("torch", "not judged", "the torch fp32 cell", id="its reference"),
    ],
)
def test_a_cell_without_a_result_does_not_keep_the_others_from_their_verdicts(
    tmp_path: Path, failing: str, verdict: str, reason: str
) -> None:
    run = _run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")])
    path = run / "cells" / f"thor-gaussian-5-{failing}-fp32" / "cases.jsonl"
    records = [{**json.loads(line), "status": "failed"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    result = parity.judge_run(load_run(run), lambda cell: Fake(_half), AbsolutePerceptual())
    entry = result["thor-gaussian-5-onnxruntime-fp32"]
    assert entry["verdict"] == verdict
    assert reason in entry["reason"]
    other = result["thor-gaussian-5-openvino-fp32"]["verdict"]
    assert other == ("pass" if failing == "onnxruntime" else "not judged")


def test_the_reference_chain_is_computed_once_for_all_back_ends(tmp_path: Path) -> None:
    run = _run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "bf16")])
    reference, other = Fake(_half), Fake(_half)
    parity.judge_run(
        load_run(run),
        lambda cell: reference if cell.info["backend"] == "torch" else other,
        AbsolutePerceptual(),
    )
    calls = len(LEVELS) * 3
    assert reference.calls == 2 * calls + 5
    assert other.calls == 2 * (calls + 5)


def test_bench_parity_writes_verdicts_and_its_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [("torch", "fp32"), ("onnxruntime", "fp32")]
    run, perceptual = _run(tmp_path / "run", arms), _perceptual(monkeypatch)
    fakes: dict[str, Denoiser] = {"torch": Fake(_half), "onnxruntime": Fake(_half)}
    monkeypatch.setattr("uadbench.bench.run.networks.open_denoiser", lambda name, *rest: fakes[name])
    checkpoint = tiny.make_checkpoint(tmp_path)
    manifest = read_json(run / "manifest.json")
    sha256 = json.loads(checkpoint.with_suffix(".json").read_text())["sha256"]
    manifest |= {"checkpoints": {"gaussian": {"sha256": sha256}}, "perceptual": perceptual}
    write_json(run / "manifest.json", manifest)
    arguments = [str(run), "--checkpoint", f"gaussian={checkpoint}", "--threads", "1"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert read_json(run / "parity.json")["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "pass"
    fakes["onnxruntime"] = Fake(lambda x, t: 0.6 * x)
    assert CliRunner().invoke(command, arguments).exit_code == 1
    assert read_json(run / "parity.json")["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "fail"
    write_json(run / "manifest.json", manifest | {"checkpoints": {"gaussian": {"sha256": "0" * 64}}})
    other = CliRunner().invoke(command, arguments)
    assert other.exit_code == 2
    assert "is not the network of this run" in other.output


def test_bench_parity_does_not_fail_for_what_it_cannot_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, perceptual = _run(tmp_path / "run", [("onnxruntime", "fp32")]), _perceptual(monkeypatch)
    write_json(run / "manifest.json", read_json(run / "manifest.json") | {"perceptual": perceptual})
    result = CliRunner().invoke(command, [str(run), "--threads", "1"])
    assert result.exit_code == 0, result.output
    assert read_json(run / "parity.json")["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "not judged"


def test_bench_parity_says_in_one_line_that_a_file_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, perceptual = _run(tmp_path / "run", [("onnxruntime", "fp32")]), _perceptual(monkeypatch)
    write_json(run / "manifest.json", read_json(run / "manifest.json") | {"perceptual": perceptual})
    (run / "parity.json").unlink(missing_ok=True)
    (run / "parity.json").mkdir()  # cannot be replaced by a file
    monkeypatch.setattr("uadbench.reports.store._optional", lambda path: None)
    monkeypatch.setattr("uadbench.bench.compare.judge.judge_run", lambda *_: {})
    result = CliRunner().invoke(command, [str(run), "--threads", "1"])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("what", ["no run", "torch only"])
def test_bench_parity_explains_what_it_cannot_judge(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run"
    if what == "torch only":
        _run(path, [("torch", "fp32")])
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 2
    assert ("no such folder" if what == "no run" else "nothing to compare") in result.output
    assert len(result.output.strip().splitlines()) == 1


def _run(path: Path, arms: list[tuple[str, str]]) -> Path:
    """A finished run of THOR in 5 steps on images of 32 x 32 for each (back end, precision), and a floor."""
    thor: Any = build_method("thor", "gaussian", 5)
    cells = tuple(("thor", "gaussian", "5", b, p, "method", 0.4, 100.0, 5) for b, p in arms)
    floor = ("blur", "none", "0", "torch", "fp32", "floor", 0.1, 0.1, 0)
    make_run(path, cells=(*cells, floor), n_lesion=3, n_healthy=2, parity=False)
    for cell in load_run(path).cells:
        if cell.info["kind"] == "method":
            fields = {name: getattr(thor, name) for name in thor.__dataclass_fields__}
            write_json(
                cell.path / "cell.json", {**cell.info, "hyperparameters": fields, "t_start": thor.t_start}
            )
            first = load_run(path).cells[0].metrics
            write_json(cell.path / "metrics.json", first)
    _shrink(path)
    return path


def _shrink(path: Path) -> None:
    """Cut the inputs to what the tiny network takes."""
    from uadbench.reports.store import read_input, write_input

    for file in (path / "inputs").glob("*.npz"):
        image, mask = read_input(path, file.stem)
        write_input(path, file.stem, image[48:80, 48:80], mask[48:80, 48:80])


def _perceptual(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    fake = AbsolutePerceptual()
    fake.sha256 = "1" * 64  # type: ignore[attr-defined]
    monkeypatch.setattr("uadbench.engine.perceptual.distance.open_perceptual", lambda *_: fake)
    return {"name": fake.name, "sha256": "1" * 64}
