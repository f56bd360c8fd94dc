"""One exported step is what the sampler does with the network: for every step of a chain, any eta, any variance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.closed_form import AbsolutePerceptual
from support.forms import KINDS, SIZE, inputs
from torch import Tensor

from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.backends.torch import TorchDenoiser
from uadbench.engine.fused_step import FusedStep
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools
from uadbench.exporters.parity import relative_l2
from uadbench.exporters.precision import ExportError
from uadbench.exporters.step import export_step

KIND = KINDS["conditioned-unet"]
SCHEDULE = linear_schedule()
PAIRS = SCHEDULE.pairs(350, 4)
CHAINS = [
    pytest.param(1.0, None, id="ancestral"),
    pytest.param(1.0, lambda t: t / 1000, id="ancestral, exact variance"),
    pytest.param(0.5, None, id="eta 0.5"),
    pytest.param(0.0, None, id="deterministic"),
]


def given(step: int) -> dict[str, Tensor]:
    """An image at a level, noise, and the clean image, each step another; scaled so that x0 is rarely clipped."""
    draw = torch.Generator().manual_seed(step)
    x, z = (torch.randn(3, 1, SIZE, SIZE, generator=draw) for _ in range(2))
    return {"x": 0.6 * x, "step": torch.full((3,), step), "z": z, "cond": inputs(KIND.card)["cond"]}


def sampled(
    step: int, eta: float = 1.0, x0_variance: Callable[[int], float] | None = None
) -> tuple[Tensor, Tensor]:
    """What ``tools.reverse`` makes of it."""
    named = given(step)
    tools = make_tools(
        TorchDenoiser(KIND.make(), KIND.card),
        SCHEDULE,
        lambda t: named["z"],
        AbsolutePerceptual(),
        eta,
        x0_variance=x0_variance,
    )
    return tools.reverse(named["x"], *PAIRS[step], named["cond"])


@pytest.mark.parametrize(("eta", "x0_variance"), CHAINS)
def test_a_step_in_one_module_is_the_samplers_step_all_along_the_chain(
    eta: float, x0_variance: Callable[[int], float] | None
) -> None:
    module = FusedStep(KIND.make(), SCHEDULE, PAIRS, eta, x0_variance)
    for step in range(len(PAIRS)):
        for found, wanted in zip(module(**given(step)), sampled(step, eta, x0_variance), strict=True):
            assert relative_l2(found, wanted) < 1e-5
            assert wanted.std() > 0.05


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("step") / "step.onnx"
    export_step(KIND.make(), KIND.card, path, PAIRS, size=SIZE)
    return path


def test_the_exported_step_is_the_samplers_step_all_along_the_chain(exported: Path) -> None:
    session = load_runtime().InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    for step in range(len(PAIRS)):
        answers = session.run(["x_prev", "x0"], {k: v.numpy() for k, v in given(step).items()})
        for found, wanted in zip(answers, sampled(step), strict=True):
            assert relative_l2(torch.from_numpy(found), wanted) < 1e-5


def test_images_of_one_batch_may_stand_at_different_steps(exported: Path) -> None:
    session = load_runtime().InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    named = {**given(0), "step": torch.tensor([2, 0, 3])}
    (mixed,) = session.run(["x_prev"], {k: v.numpy() for k, v in named.items()})
    for row, step in enumerate((2, 0, 3)):
        same = {**named, "step": torch.full((3,), step)}
        (alone,) = session.run(["x_prev"], {k: v.numpy() for k, v in same.items()})
        assert relative_l2(torch.from_numpy(mixed[row]), torch.from_numpy(alone[row])) < 1e-6


def test_the_manifest_says_which_chain_is_in_the_file(exported: Path) -> None:
    manifest = read_artifact(exported, "step").manifest
    assert [entry["name"] for entry in manifest["inputs"]] == ["x", "step", "z", "cond"]
    assert [entry["name"] for entry in manifest["outputs"]] == ["x_prev", "x0"]
    assert manifest["chain"]["pairs"] == [list(pair) for pair in PAIRS]
    assert manifest["chain"]["schedule"] == {"kind": "linear", "length": 1000, "start": 1e-4, "end": 0.02}
    assert (manifest["chain"]["eta"], manifest["chain"]["noise"][-1]) == (1.0, 0.0)
    assert (manifest["precision"], manifest["attention"], manifest["batch"]) == ("fp32", "fused", "dynamic")


@pytest.mark.slow
def test_a_step_in_fp16_computes_everything_but_the_network_in_fp32(tmp_path: Path) -> None:
    path = tmp_path / "step.onnx"
    export_step(KIND.make(), KIND.card, path, PAIRS, Form("fp16", "plain", 3), size=SIZE)
    session = load_runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for step in range(len(PAIRS)):
        answers = session.run(None, {k: v.numpy() for k, v in given(step).items()})
        for found, wanted in zip(answers, sampled(step), strict=True):
            assert 1e-7 < relative_l2(torch.from_numpy(found), wanted) < 3e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"pairs": []}, "the chain has no steps", id="no steps"),
        pytest.param({"pairs": [(10, 10)]}, "from level 10 to 10; levels fall, from 1000", id="no way down"),
        pytest.param({"pairs": [(1001, 10)]}, "from level 1001 to 10", id="beyond the schedule"),
        pytest.param({"eta": 2.0}, "eta is 2.0; 0 to 1 is allowed", id="eta"),
        pytest.param({"eta": 0.0, "x0_variance": lambda t: 0.1}, "with x0_variance only 1", id="variance"),
    ],
)
def test_a_chain_that_there_is_not_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    arguments = {"pairs": PAIRS, "size": SIZE} | changes
    with pytest.raises(ExportError, match=message):
        export_step(KIND.make(), KIND.card, tmp_path / "step.onnx", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_undoes_anomalies_has_no_steps(tmp_path: Path) -> None:
    kind = KINDS["restoration-unet"]
    with pytest.raises(ExportError, match="predicts no noise, so it has no steps; export it alone"):
        export_step(kind.make(), kind.card, tmp_path / "step.onnx", [(10, 0)], size=SIZE)
