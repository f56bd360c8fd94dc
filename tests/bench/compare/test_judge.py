"""Every cell of a run is held against its torch fp32 cell, or it is said why it is not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_network as tiny
from support.closed_form import Fake
from support.files import edit
from support.judged import PERCEPTUALS, judged_run
from support.stored import change_lines
from torch import Tensor

from uadbench.bench.compare.judge import judge_run
from uadbench.bench.run import reopen
from uadbench.exporters.levels import LEVELS
from uadbench.reports.atomic import RunError, write_json
from uadbench.reports.runs import load_run


def _half(x_t: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x_t


def _change_and_logit(x: Tensor, t: Tensor) -> Tensor:
    return torch.cat([0.5 * x, x], dim=1)


def test_a_real_export_agrees_over_a_whole_thor_chain(tmp_path: Path) -> None:
    from uadbench.engine.backends import open_backend

    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    artifact, checkpoint = tiny.make_artifact(tmp_path), tiny.make_checkpoint(tmp_path)
    opened = {
        "torch": open_backend("torch", checkpoint),
        "onnxruntime": open_backend("onnxruntime", artifact, threads=1),
    }
    result = judge_run(load_run(run), lambda cell: opened[cell.info["backend"]], PERCEPTUALS)
    entry = result["thor-gaussian-5-onnxruntime-fp32"]
    assert entry["verdict"] == "pass", entry["reason"]
    assert entry["reference"] == "thor-gaussian-5-torch-fp32"
    assert result[entry["reference"]]["verdict"] == "reference"
    assert len(entry["trajectory"]["levels"]) == 5
    assert 0 < entry["trajectory"]["final"] < 1e-4
    assert "blur-none-0-torch-fp32" not in result


@pytest.mark.parametrize(("factor", "verdict"), [(1 + 1e-6, "pass"), (1.02, "fail")])
def test_a_method_without_noise_is_judged_too(tmp_path: Path, factor: float, verdict: str) -> None:
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")], "mend", "none")
    opened = {
        "torch": Fake(_change_and_logit),
        "onnxruntime": Fake(lambda x, t: factor * _change_and_logit(x, t)),
    }
    result = judge_run(load_run(run), lambda cell: opened[cell.info["backend"]], PERCEPTUALS)
    entry = result["mend-none-0-onnxruntime-fp32"]
    assert entry["verdict"] == verdict, entry["reason"]
    assert entry["network"]["rel_image"] == pytest.approx(0.5 * (factor - 1), rel=0.1)
    assert entry["trajectory"]["levels"] == [2, 2, 1, 1]


@pytest.mark.parametrize("wrong", [1, 2, 50])
def test_a_network_is_judged_by_all_that_its_method_reads_of_it_and_by_nothing_else(
    tmp_path: Path, wrong: int
) -> None:
    """Mend reads the change at strength 2, the probability at 1, and nothing at 50."""

    def other(x: Tensor, t: Tensor) -> Tensor:
        change, logit = _change_and_logit(x, t).split(1, dim=1)
        here = int(t[0]) == wrong
        return torch.cat([change + 0.1 * (here and wrong == 2), logit + 0.1 * (here and wrong != 2)], dim=1)

    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")], "mend", "none")
    opened = {"torch": Fake(_change_and_logit), "onnxruntime": Fake(other)}
    result = judge_run(load_run(run), lambda cell: opened[cell.info["backend"]], PERCEPTUALS)
    entry = result["mend-none-0-onnxruntime-fp32"]
    assert {call["t"] for call in entry["network"]["calls"]} == {1, 2}
    assert entry["verdict"] == ("pass" if wrong == 50 else "fail"), entry["reason"]
    named = {1: "a pixel's probability is off by 2.5e-02, the gate is 2e-05", 2: "of the image", 50: ""}[
        wrong
    ]
    assert named in entry["reason"]


def test_a_wrong_back_end_fails_in_network_and_trajectory(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    opened = {"torch": Fake(_half), "onnxruntime": Fake(lambda x, t: 0.52 * x)}
    result = judge_run(load_run(run), lambda cell: opened[cell.info["backend"]], PERCEPTUALS)
    entry = result["thor-gaussian-5-onnxruntime-fp32"]
    assert entry["verdict"] == "fail"
    assert "network: " in entry["reason"]
    assert "trajectory: " in entry["reason"]
    write_json(tmp_path / "parity.json", result)  # plain JSON, no infinity


def test_no_more_cases_are_compared_at_once_than_the_run_had_in_a_batch(tmp_path: Path) -> None:
    """A back end of a fixed batch size was opened for that."""
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    found = {}
    for size in (8, 1):
        edit(run / "manifest.json", config={**load_run(run).manifest["config"], "batch_size": size})
        entry = judge_run(load_run(run), lambda cell: Fake(_half), PERCEPTUALS)[
            "thor-gaussian-5-onnxruntime-fp32"
        ]
        found[size] = entry["network"]["batch_size"], entry["trajectory"]["n_cases"]
    assert found == {8: (2, 2), 1: (1, 1)}


def test_what_is_opened_again_is_opened_for_the_runs_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run(judged_run(tmp_path, [("torch", "fp32")]))
    run.manifest["config"] |= {"batch_size": 7, "hint": "throughput"}
    asked: list[Any] = []

    def opens(arm: Any, path: Path, threads: int, batch: int, say: Any, hint: str) -> Any:
        asked.extend((batch, hint))
        return Fake(_half)

    monkeypatch.setattr(reopen, "open_denoiser", opens)
    monkeypatch.setattr(reopen, "digest", lambda identity: "the same")
    checkpoint = tiny.make_checkpoint(tmp_path)
    run.manifest["checkpoints"] = {"unet-gaussian": {"sha256": "0"}}
    with ExitStack() as stack:
        opener = reopen.network_opener(run, {"unet-gaussian": str(checkpoint)}, 1, stack, print)
        opener(next(cell for cell in run.cells if cell.info["kind"] == "method"))
    assert asked == [7, "throughput"]


def test_without_a_reference_nothing_is_judged(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [("openvino", "bf16")])
    result = judge_run(load_run(run), lambda cell: Fake(_half), PERCEPTUALS)
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
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "fp32")])
    path = run / "cells" / f"thor-gaussian-5-{failing}-fp32" / "cases.jsonl"
    change_lines(path, lambda record: {**record, "status": "failed"})
    result = judge_run(load_run(run), lambda cell: Fake(_half), PERCEPTUALS)
    entry = result["thor-gaussian-5-onnxruntime-fp32"]
    assert entry["verdict"] == verdict
    assert reason in entry["reason"]
    other = result["thor-gaussian-5-openvino-fp32"]["verdict"]
    assert other == ("pass" if failing == "onnxruntime" else "not judged")


def test_the_reference_chain_is_computed_once_for_all_back_ends(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32"), ("openvino", "bf16")])
    reference, other = Fake(_half), Fake(_half)
    judge_run(
        load_run(run),
        lambda cell: reference if cell.info["backend"] == "torch" else other,
        PERCEPTUALS,
    )
    calls = len(LEVELS) * 3
    assert reference.calls == 2 * calls + 5
    assert other.calls == 2 * (calls + 5)


def test_a_variant_is_held_against_its_own_reference_only(tmp_path: Path) -> None:
    """Two seeds of one method: the second has no torch fp32 cell, whatever the first has."""
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    slug = "thor-gaussian-5-onnxruntime-fp32"
    edit(run / "cells" / slug / "cell.json", seed=1)
    result = judge_run(load_run(run), lambda cell: Fake(_half), PERCEPTUALS)
    assert result[slug]["verdict"] == "not judged"


def test_each_variant_looks_through_its_own_perceptual_net(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    nets = {"unused": None, **PERCEPTUALS}
    result = judge_run(load_run(run), lambda cell: Fake(_half), nets)  # type: ignore[arg-type]
    assert result["thor-gaussian-5-onnxruntime-fp32"]["verdict"] == "pass"


def test_the_chain_is_walked_with_the_cells_exact_variance(tmp_path: Path) -> None:
    seen: dict[str, list[Tensor]] = {}
    table = {"levels": [1, 1000], "v": [0.04, 0.04], "noise": 1.0}
    for name, fields in (("plain", {}), ("exact", {"x0_variance": table})):
        run = judged_run(tmp_path / name, [("torch", "fp32"), ("onnxruntime", "fp32")])
        for backend in ("torch", "onnxruntime"):
            edit(run / "cells" / f"thor-gaussian-5-{backend}-fp32" / "cell.json", **fields)
        states = seen[name] = []
        reference = Fake(lambda x, t, states=states: states.append(x.clone()) or 0.5 * x)  # type: ignore[misc]
        judge_run(
            load_run(run),
            lambda cell, reference=reference: reference if cell.info["backend"] == "torch" else Fake(_half),
            PERCEPTUALS,
        )
    plain, exact = (states[:5] for states in seen.values())  # of THOR's 5 calls
    assert torch.equal(plain[0], exact[0])
    assert not torch.equal(plain[1], exact[1])
    assert exact[1].var() > plain[1].var()


def test_an_unfinished_run_is_not_judged(tmp_path: Path) -> None:
    run = judged_run(tmp_path, [("torch", "fp32"), ("onnxruntime", "fp32")])
    (run / "cells" / "thor-gaussian-5-torch-fp32" / "metrics.json").unlink()
    with pytest.raises(RunError, match="has no scores yet; finish the run first"):
        judge_run(load_run(run), lambda cell: Fake(_half), PERCEPTUALS)
