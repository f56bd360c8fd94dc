"""Torch compiled and as CUDA graphs, on a GPU and held against eager torch; run with ``pytest -m gpu``."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from support.closed_form import AbsolutePerceptual

from uadbench.bench.run.networks import open_denoiser
from uadbench.engine.backends import BACKENDS, BackendError, check_backend, open_backend
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.networks.checkpoint import shipped
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools
from uadbench.reports.identity import Arm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def opened_on_gpu(name: str, precision: str, batch_size: int) -> Denoiser:
    """The shipped network; skipped with the reason where something is missing."""
    try:
        check_backend(name, precision, "cuda")
    except BackendError as error:
        pytest.skip(str(error))
    arm = Arm(name, precision, "cuda")
    return open_denoiser(arm, shipped("unet-gaussian"), batch_size=batch_size, say=None)


@pytest.mark.parametrize("name", ["torch-compile", "torch-cudagraph"])
@pytest.mark.parametrize(
    ("precision", "gate"), [("fp32", 1e-4), ("tf32", 5e-3), ("fp16", 5e-3), ("bf16", 5e-2)]
)
def test_torch_compiled_or_recorded_predicts_what_eager_torch_predicts_in_fp32(
    name: str, precision: str, gate: float
) -> None:
    if precision not in BACKENDS[name].precisions["cuda"]:
        pytest.skip(f"{name} has no {precision}")
    opened = opened_on_gpu(name, precision, 4)
    reference = open_backend("torch", shipped("unet-gaussian"), device="cuda")
    for count, level in ((4, 250), (1, 500), (3, 1000)):
        x_t = noise_source("gaussian", 0, [str(i) for i in range(count)], (128, 128), "cuda")(level)
        t = torch.full((count,), level, device="cuda")
        found, wanted = opened.denoise(x_t, t), reference.denoise(x_t, t)
        error = ((found - wanted).norm() / wanted.norm()).item()
        assert error < gate
        assert precision == "fp32" or error > 1e-6, "else it ran in fp32"
    opened.close()


@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("count", [4, 3])
def test_a_recorded_chain_is_eager_torchs_chain(eta: float, count: int) -> None:
    opened = opened_on_gpu("torch-cudagraph", "fp32", 4)
    ends, schedule = [], linear_schedule()
    for denoiser in (opened, open_backend("torch", shipped("unet-gaussian"), device="cuda")):
        noise = noise_source("gaussian", 0, [str(i) for i in range(count)], (128, 128), "cuda")
        tools = make_tools(denoiser, schedule, noise, AbsolutePerceptual(), eta)
        x, kept = noise(350), []
        for t, t_prev in schedule.pairs(350, 25):
            x, x0 = tools.reverse(x, t, t_prev)
            kept.append(x0)
        ends.append(torch.stack([x, *kept]))
    assert ((ends[0] - ends[1]).norm() / ends[1].norm()).item() < 1e-4
    opened.close()


def test_a_recorded_step_waits_for_nothing() -> None:
    """A hundred steps of a large batch are queued in a fraction of the time that the GPU takes for them."""
    opened = opened_on_gpu("torch-cudagraph", "fp32", 64)
    step = opened.stepper(linear_schedule())  # type: ignore[attr-defined]
    x, z = (torch.randn(64, 1, 128, 128, device="cuda") for _ in range(2))
    for t in range(350, 250, -1):  # rows are filled
        x, _ = step(x, t, t - 1, z)
    opened.synchronize()
    start = time.perf_counter()
    for t in range(350, 250, -1):
        x, _ = step(x, t, t - 1, z)
    queued = time.perf_counter() - start
    opened.synchronize()
    assert queued < 0.5 * (time.perf_counter() - start)
    opened.close()


def test_bench_run_judges_torch_compiled_and_recorded_and_they_pass(tmp_path: Path) -> None:
    from uadbench.bench.commands.run import command

    arguments = [
        "--methods",
        "thor,ddpm",
        "--limit",
        "4",
        "--steps",
        "6",
        "--device",
        "cuda",
        "--no-progress",
    ]
    backends = ["--backends", "torch,torch-compile,torch-cudagraph", "--precision", "fp32,tf32,bf16"]
    done = CliRunner().invoke(command, [*arguments, *backends, "--output", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    judged = json.loads((tmp_path / "run" / "parity.json").read_text())
    verdicts = {slug: entry["verdict"] for slug, entry in judged.items()}
    assert len(verdicts) == 12
    assert set(verdicts.values()) <= {"pass", "reference"}, judged
