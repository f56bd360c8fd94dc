"""What only a machine with an NVIDIA GPU can tell; run with ``pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from uadbench.engine.backends import open_backend
from uadbench.engine.kernels.morphology import close, dilate
from uadbench.engine.networks.checkpoint import shipped
from uadbench.engine.rng import noise_source

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.mark.parametrize(("precision", "gate"), [("fp32", 1e-4), ("bf16", 5e-2)])
@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_the_network_predicts_on_the_gpu_what_it_predicts_on_the_cpu(
    noise: str, precision: str, gate: float
) -> None:
    x_t = noise_source(noise, 0, ["a", "b"], (128, 128))(250)
    t = torch.full((2,), 250)
    reference = open_backend("torch", shipped(f"unet-{noise}")).denoise(x_t, t)
    found = (
        open_backend("torch", shipped(f"unet-{noise}"), precision, "cuda").denoise(x_t.cuda(), t.cuda()).cpu()
    )
    assert ((found - reference).norm() / reference.norm()).item() < gate


def test_noise_is_the_same_on_either_device() -> None:
    on_cpu = noise_source("simplex", 3, ["a"], (32, 32))(100)
    assert torch.equal(noise_source("simplex", 3, ["a"], (32, 32), "cuda")(100).cpu(), on_cpu)


def test_morphology_takes_maps_from_the_gpu_and_gives_them_back_there() -> None:
    maps = torch.from_numpy(np.random.default_rng(0).random((2, 1, 40, 40), dtype=np.float32))
    found = dilate(close(maps.cuda(), 13), 13)
    assert found.is_cuda
    assert torch.equal(found.cpu(), dilate(close(maps, 13), 13))


def test_cuda_events_enclose_the_work_that_the_host_waits_for(tmp_path: Path) -> None:
    from uadbench.bench.profile.calls import call_network

    denoiser = open_backend("torch", shipped("unet-gaussian"), "fp32", "cuda")
    x_t, t = torch.zeros(8, 1, 128, 128, device="cuda"), torch.full((8,), 250, device="cuda")
    for _ in range(4):
        found = call_network(denoiser, x_t, t)
    assert found.device_ms is not None
    assert found.enqueue is not None
    assert 0 < found.device_ms <= found.seconds * 1e3 + 0.1
    assert found.enqueue <= found.seconds


def test_a_profile_on_the_gpu_has_device_times_memory_and_the_state_of_the_gpu(tmp_path: Path) -> None:
    import json

    from uadbench.bench.commands.profile import command

    words = ["--quick", "--backends", "torch", "--precision", "fp32,bf16", "--device", "cuda", "--allow-load"]
    done = CliRunner().invoke(command, [*words, "--output", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "p" / "profile.json").read_text())
    assert record["gpu"]["name"]
    assert set(record["ceilings"]["cuda"]["precisions"]) == {"fp32", "bf16"}
    for row in record["rows"]:
        assert row["device_ms"]["p50"] > 0
        assert row["device_peak_mib"] > 0
        assert row["parity"] in ("reference", "pass")


def test_bench_run_finds_the_same_lesions_on_the_gpu(tmp_path: Path) -> None:
    import pandas as pd

    from uadbench.bench.commands.run import command

    scores = {}
    for device in ("cpu", "cuda"):
        arguments = ["--methods", "thor", "--limit", "4", "--steps", "6", "--device", device]
        done = CliRunner().invoke(command, [*arguments, "--output", str(tmp_path / device), "--no-progress"])
        assert done.exit_code == 0, done.output
        frame = pd.read_csv(tmp_path / device / "leaderboard.csv").set_index("method")
        scores[device] = frame.loc["thor", "dice_max"]
    assert scores["cuda"] == pytest.approx(scores["cpu"], abs=0.01)
