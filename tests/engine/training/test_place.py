"""Where a training computes: what is shared out is the whole, and what cannot be had is one line with the remedy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.faults import environment, make_slices
from torch import nn

from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.conditioned_unet import ConditionedUNetConfig
from uadbench.engine.networks.image_encoder import EncoderConfig
from uadbench.engine.networks.restoration_unet import RestorationUNetConfig
from uadbench.engine.networks.unet import UNetConfig
from uadbench.engine.networks.vae import VAEConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.contract import Step
from uadbench.engine.training.loop import Pool, _draw_images, _gradients, _State
from uadbench.engine.training.losses import OBJECTIVES
from uadbench.engine.training.place import Place, PlaceError, open_place

SHAPE = {"channels": (16, 16), "attention": (False, True), "head_channels": 8, "groups": 4, "embedding": 16}
SHAPES = {
    "conditioned": ConditionedUNetConfig(**SHAPE, encoder=(8, 8), code=12),
    "masked": EncoderConfig((8, 8), 12),
    **dict.fromkeys(("coarse", "cold", "flow"), RestorationUNetConfig(**SHAPE, outputs=1, mirrored=False)),
    "restoration": RestorationUNetConfig(**SHAPE),
    "code": VAEConfig((8, 8), 4, 4),
}
POOLS = (Pool("noise", np.random.default_rng(0).random((5, 32, 32), dtype=np.float32), 1.0, np.asarray),)
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def place_of(rank: int, processes: int) -> Place:
    """What a process knows of itself, without the others."""
    return Place("fp32", SimpleNamespace(num_processes=processes, process_index=rank))


def test_processes_share_each_batch_and_all_of_it() -> None:
    assert Place().rows(4, 3).tolist() == list(range(12))
    parts = [place_of(rank, 2).rows(4, 3).tolist() for rank in range(2)]
    assert parts == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]


def drawn(name: str, config: TrainingConfig, place: Place) -> tuple[Any, ...]:
    """What a process draws for one step."""
    rng, rows = case_generator(0, "step"), place.rows(config.batch_size, config.accumulate)
    x = _draw_images(POOLS, config, rng, rows)
    step = Step(7, rng, config, linear_schedule(), rows)
    return OBJECTIVES[name].draw(x, step, SHAPES.get(name, UNetConfig(**SHAPE)))


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_the_processes_draw_is_what_one_process_draws(name: str, noise: str) -> None:
    config = TrainingConfig(noise=noise, objective=name, batch_size=4, t_from=100)
    whole = drawn(name, config, Place())
    parts = [drawn(name, config, place_of(rank, 2)) for rank in range(2)]
    for tensor, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat(shares), tensor)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_of_accumulated_batches_are_those_of_one_batch(name: str) -> None:
    shape = SHAPES.get(name, UNetConfig(**SHAPE))
    torch.manual_seed(0)
    net: Any = NETWORKS[kind_of(shape)].module(shape)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.05)
    found = []
    for batch_size, accumulate in ((6, 1), (2, 3)):
        config = TrainingConfig(objective=name, batch_size=batch_size, accumulate=accumulate, t_from=100)
        net.zero_grad()
        rng, rows = case_generator(0, "step"), Place().rows(batch_size, accumulate)
        x = _draw_images(POOLS, config, rng, rows)
        state = _State(net, net, net, torch.optim.Adam(net.parameters()))
        loss = _gradients(state, config, Step(0, rng, config, linear_schedule(), rows), x, Place())
        gradients = [weight.grad for weight in net.parameters()]
        assert any(gradient is None for gradient in gradients) == OBJECTIVES[name].partial
        found.append((loss, torch.cat([part.flatten() for part in gradients if part is not None])))
    (one, gradient), (two, accumulated) = found
    assert two == pytest.approx(one, rel=1e-6)
    assert gradient.norm() > 0
    assert (accumulated - gradient).norm() < 3e-5 * gradient.norm()


def test_one_process_on_the_cpu_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    place = open_place("cpu", "bf16")
    assert (place.device.type, place.processes, place.is_main) == ("cpu", 1, True)


@pytest.mark.parametrize(
    ("device", "precision", "processes", "message"),
    [
        pytest.param("cpu", "fp16", 1, "fp16 is trained in on a GPU only; use --device cuda", id="fp16"),
        pytest.param(
            "tpu", "fp32", 1, "training runs on cpu or cuda in fp32, bf16, fp16, not on tpu", id="device"
        ),
        pytest.param(
            "cpu",
            "fp32",
            2,
            r"training in 2 processes needs accelerate .*; `pip install 'uadbench\[train\]'`",
            id="processes without the package",
        ),
    ],
)
def test_what_cannot_be_had_is_one_line_with_the_remedy(
    device: str, precision: str, processes: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PlaceError, match=message) as caught:
        open_place(device, precision)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_gpu_that_is_not_there_is_one_line_with_the_remedy() -> None:
    with pytest.raises(
        PlaceError, match="torch sees no CUDA device; use --device cpu, or install a CUDA build"
    ):
        open_place("cuda", "fp32")


def train_words(output: str, steps: int = 3) -> list[str]:
    words = ["train", "--data", "folder", "--data-root", "data", "--steps", str(steps), "--batch-size", "2"]
    return [*words, "--validate-every", "2", "--threads", "1", "--accumulate", "2", "--output", output]


def launch(start: list[str], words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*start, "-m", "uadbench", *words],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "name"), [("noise", "unet-gaussian"), ("masked", "masked-encoder")], ids=["all", "partial"]
)
def test_two_processes_learn_what_one_learns_and_only_the_main_one_speaks(
    objective: str, name: str, tmp_path: Path
) -> None:
    make_slices(tmp_path / "data", {"train": 3, "val": 2}, side=128)
    states, losses = [], []
    for start, output in (([sys.executable], "one"), (LAUNCH, "two")):
        done = launch(start, [*train_words(output), "--objective", objective], tmp_path)
        assert done.stdout.split() == [f"{output}/{name}.safetensors"]
        assert done.stderr.count("step 2 of 3, loss ") == 1
        label = name.removeprefix("unet-")
        states.append(torch.load(tmp_path / output / f"state-{label}.pt", weights_only=True))
        lines = (tmp_path / output / f"log-{label}.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
        card = json.loads((tmp_path / output / f"{name}.json").read_text())
        assert card["processes"] == len(states)
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert states[1]["identity"] == states[0]["identity"]
    one, two = (torch.cat([w.flatten() for w in state["model"].values()]) for state in states)
    # Adam's first steps divide gradients by their own size, and so move by rounding what has next to no gradient.
    assert (two - one).norm() < 1e-3 * one.norm()


@pytest.mark.slow
def test_two_processes_that_are_stopped_go_on_to_the_same_weights(tmp_path: Path) -> None:
    make_slices(tmp_path / "data", {"train": 3, "val": 2}, side=128)
    launch(LAUNCH, train_words("whole", 6), tmp_path)
    words, log = (
        [*LAUNCH, "-m", "uadbench", *train_words("stopped", 6)],
        tmp_path / "stopped/log-gaussian.jsonl",
    )
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 300
        while not log.is_file():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < end
            time.sleep(0.05)
        process.terminate()
        _, stderr = process.communicate(timeout=300)
    assert stderr.count("interrupted; the same command goes on from here") == 1
    stopped = torch.load(tmp_path / "stopped/state-gaussian.pt", weights_only=True)
    assert 2 <= stopped["step"] < 6
    launch(LAUNCH, train_words("stopped", 6), tmp_path)
    whole, resumed = (
        torch.load(tmp_path / name / "state-gaussian.pt", weights_only=True) for name in ("whole", "stopped")
    )
    assert resumed["step"] == 6
    for name, weight in whole["ema"].items():
        assert torch.equal(resumed["ema"][name], weight)


@pytest.mark.slow
def test_accelerate_asks_the_network_for_nothing() -> None:
    guarded = (
        "import socket\n"
        "def refuse(*arguments, **named): raise SystemExit('it wants the network')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "import torch, accelerate\n"
        "one = accelerate.Accelerator(cpu=True, mixed_precision='no')\n"
        "net = torch.nn.Linear(2, 2)\n"
        "model, optimizer = one.prepare(net, torch.optim.Adam(net.parameters()))\n"
        "one.backward(model(torch.ones(1, 2)).sum()); optimizer.step(); one.end_training()\n"
    )
    done = subprocess.run([sys.executable, "-c", guarded], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
