"""What only a machine with an NVIDIA GPU can tell; run with ``pytest -m gpu``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from uadbench.bench.run.networks import open_denoiser
from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.engine.backends.cuda_device import driver_version
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.kernels.morphology import close, dilate
from uadbench.engine.networks.checkpoint import shipped
from uadbench.engine.rng import noise_source
from uadbench.reports.identity import Arm

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

    words = [
        "--quick",
        "--backends",
        "torch",
        "--precision",
        "fp32,tf32,bf16",
        "--device",
        "cuda",
        "--allow-load",
    ]
    done = CliRunner().invoke(command, [*words, "--output", str(tmp_path / "p")])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "p" / "profile.json").read_text())
    assert record["at_work"][0]["gpu"]["name"]
    assert set(record["ceilings"]["cuda"]["precisions"]) == {"fp32", "tf32", "bf16"}
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


# In processes of their own, as Accelerate is set up once in each.
TRAINED = """
import sys, torch, numpy as np
from pathlib import Path
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.loop import Pool, train
from uadbench.engine.training.place import open_place

device, precision, state, stop = sys.argv[1:]
torch.backends.cudnn.allow_tf32 = False
images = np.random.default_rng(0).random((6, 32, 32), dtype=np.float32)
config = TrainingConfig(steps=3, batch_size=2, accumulate=2, warmup=2)
network = UNetConfig(channels=(16, 16), attention=(False, True), head_channels=8, groups=4, embedding=16)
pools, place = (Pool("a", images, 1.0, np.asarray),), open_place(device, precision)
for progress, averaged in train(pools, config, Path(state), "data", save_every=1, network=network, place=place):
    assert next(averaged().parameters()).device.type == device
    print(progress.loss)
    if progress.step == int(stop):
        break
"""


def trained(state: Path, device: str, precision: str, stop: int = 3) -> list[float]:
    """The running loss after each of three steps."""
    words = [sys.executable, "-c", TRAINED, device, precision, str(state), str(stop)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.split()]


@pytest.mark.parametrize(("precision", "gate"), [("fp32", 1e-4), ("bf16", 2e-2), ("fp16", 5e-3)])
def test_training_on_the_gpu_goes_as_on_the_cpu(tmp_path: Path, precision: str, gate: float) -> None:
    reference = trained(tmp_path / "cpu.pt", "cpu", "fp32")
    assert trained(tmp_path / "gpu.pt", "cuda", precision) == pytest.approx(reference, rel=gate)
    states = [torch.load(tmp_path / name, weights_only=True) for name in ("cpu.pt", "gpu.pt")]
    assert all(weight.device.type == "cpu" for weight in states[1]["ema"].values())
    assert ("scaler" in states[1]) == (precision == "fp16")
    one, two = (torch.cat([w.flatten() for w in state["ema"].values()]) for state in states)
    assert (two - one).norm() < 1e-2 * one.norm()


def test_a_training_on_the_gpu_goes_on_from_one_on_the_cpu(tmp_path: Path) -> None:
    reference = trained(tmp_path / "cpu.pt", "cpu", "fp32")
    trained(tmp_path / "both.pt", "cpu", "fp32", stop=1)
    assert trained(tmp_path / "both.pt", "cuda", "fp16")[-1] == pytest.approx(reference[-1], rel=5e-3)


@pytest.fixture(scope="module")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all these tests, so that each engine is built once."""
    return tmp_path_factory.mktemp("cache")


def open_engine(
    name: str, precision: str, batch_size: int, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Denoiser:
    """The shipped network on a back end; skipped with the reason where it is missing or not for this GPU."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    try:
        check_backend(name, precision, "cuda")
    except BackendError as error:
        pytest.skip(str(error))
    return open_denoiser(
        Arm(name, precision, "cuda"), shipped("unet-gaussian"), batch_size=batch_size, say=None
    )


ENGINES = ["onnxruntime", "tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt"]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("precision", "gate"), [("fp32", 1e-4), ("fp16", 5e-3), ("bf16", 5e-2)])
def test_an_engine_predicts_what_torch_predicts_in_fp32(
    engine_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, precision: str, gate: float
) -> None:
    engine = open_engine(name, precision, 4, engine_cache, monkeypatch)
    reference = open_backend("torch", shipped("unet-gaussian"), device="cuda")
    for count, level in ((4, 250), (1, 500), (3, 1000)):
        x_t = noise_source("gaussian", 0, [str(i) for i in range(count)], (128, 128), "cuda")(level)
        t = torch.full((count,), level, device="cuda")
        found, wanted = engine.denoise(x_t, t), reference.denoise(x_t, t)
        assert found.is_cuda
        error = ((found - wanted).norm() / wanted.norm()).item()
        assert error < gate
        assert precision == "fp32" or error > 1e-6, "else it ran in fp32"
    record = engine.describe()
    if name.startswith("tensorrt"):
        assert precision in record["layers_by_precision"]
    else:
        assert list(record["nodes_by_provider"]) == [record["provider"]]
    assert record["cuda_graph"] == "yes", record["cuda_graph"]
    engine.close()


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_waits_for_what_torch_has_queued_and_torch_for_the_engine(
    engine_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each has a stream of its own; without waiting, the engine would read an input that is not written yet."""
    engine = open_engine(name, "fp16", 4, engine_cache, monkeypatch)
    x, t = torch.randn(4, 1, 128, 128, device="cuda"), torch.full((4,), 250, device="cuda")
    wanted = engine.denoise(2 * x, t)
    engine.synchronize()
    for _ in range(20):
        slow = torch.randn(4096, 4096, device="cuda")
        for _ in range(8):
            slow = slow @ slow.clamp(-1e-3, 1e-3)
        late = 2 * x + 0 * slow.nan_to_num(0, 0, 0).mean()
        found = engine.denoise(late, t).clone()
        late.fill_(float("nan"))  # comes after the engine has read it
        assert torch.equal(found, wanted)
    engine.close()


@pytest.mark.parametrize("name", ENGINES[1:])
def test_a_second_opening_takes_the_engine_that_was_kept_and_computes_the_same(
    engine_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    x_t, t = torch.randn(2, 1, 128, 128, device="cuda"), torch.full((2,), 350, device="cuda")
    answers, told = [], []
    for _ in range(2):
        engine = open_engine(name, "fp16", 4, engine_cache, monkeypatch)
        answers.append(engine.denoise(x_t, t))
        told.append(engine.describe()["build_seconds"])
        engine.close()
    assert torch.equal(*answers)
    assert told[0] == told[1], "of the one build"


def test_the_driver_tells_its_version() -> None:
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", driver_version())
