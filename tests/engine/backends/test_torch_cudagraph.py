"""CUDA graphs of torch, with a stand-in that replays what was dispatched: the numbers of eager torch, on any batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_network as tiny
from support.closed_form import AbsolutePerceptual
from support.forms import KINDS, SIZE
from support.replayed import ReplayDevice
from torch import Tensor, nn

from uadbench.bench.run.timing import Stopwatch, TimedDenoiser
from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.engine.backends.cuda_device import record
from uadbench.engine.backends.torch import TorchDenoiser
from uadbench.engine.backends.torch_cudagraph import WARM_UP, CudaGraphDenoiser
from uadbench.engine.interfaces import Denoiser, Result
from uadbench.engine.methods import METHODS
from uadbench.engine.networks.unet import ShiftedNorm
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools
from uadbench.exporters.parity import record_chain, relative_l2

SCHEDULE = linear_schedule()
CHAINS = [
    pytest.param(1.0, None, id="ancestral"),
    pytest.param(1.0, lambda t: t / 1000, id="exact variance"),
    pytest.param(0.5, None, id="eta 0.5"),
    pytest.param(0.0, None, id="deterministic"),
]
GATES = {"fp32": 1e-6, "bf16": 1e-6}  # of bf16, too: the weights are rounded once in place of in each call


def graphs(
    kind: str = "unet", precision: str = "fp32", batch: int = 3
) -> tuple[CudaGraphDenoiser, ReplayDevice]:
    device = ReplayDevice()
    found = KINDS[kind]
    return CudaGraphDenoiser(found.make(), found.card, precision, device, batch, side=SIZE), device  # type: ignore[arg-type]


def eager(kind: str = "unet", precision: str = "fp32") -> TorchDenoiser:
    return TorchDenoiser(KINDS[kind].make(), KINDS[kind].card, precision)


def images(count: int, seed: int = 0) -> Tensor:
    return 0.6 * torch.randn(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def shown(kind: str, count: int) -> Tensor | None:
    return images(count, 77).clamp(-1, 1) if kind == "conditioned-unet" else None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["unet", "unet of v", "conditioned-unet", "restoration-unet", "vae"])
def test_a_replayed_call_is_the_networks_call_for_any_batch_up_to_its_own(kind: str, precision: str) -> None:
    (replayed, _), reference = graphs(kind, precision), eager(kind, precision)
    for count in (3, 1, 2):
        x_t, t = images(count, count), torch.linspace(1, 1000, count).long()
        found, wanted = (d.denoise(x_t, t, shown(kind, count)) for d in (replayed, reference))
        assert found.shape == wanted.shape
        assert relative_l2(found, wanted) < GATES[precision]


@pytest.mark.parametrize("kind", ["restoration-unet", "vae"])
def test_a_network_that_predicts_no_noise_has_no_step(kind: str) -> None:
    denoiser, _ = graphs(kind)
    assert denoiser.stepper(SCHEDULE) is None
    assert denoiser.describe()["recorded"] == [f"3x1x{SIZE}x{SIZE}"]


@pytest.mark.parametrize("count", [3, 2])
@pytest.mark.parametrize(("eta", "x0_variance"), CHAINS)
@pytest.mark.parametrize("kind", ["unet", "conditioned-unet"])
def test_a_replayed_step_is_the_samplers_step_all_along_a_chain(
    kind: str, eta: float, x0_variance: Callable[[int], float] | None, count: int
) -> None:
    replayed, reference = (
        make_tools(
            denoiser,
            SCHEDULE,
            noise_source("gaussian", 0, [str(i) for i in range(count)], (SIZE, SIZE)),
            AbsolutePerceptual(),
            eta,
            x0_variance=x0_variance,
        )
        for denoiser in (graphs(kind)[0], eager(kind))
    )
    x, cond = images(count), shown(kind, count)
    for t, t_prev in SCHEDULE.pairs(350, 4):
        found = replayed.reverse(x, t, t_prev, cond)
        x, x0 = reference.reverse(x, t, t_prev, cond)
        assert max(relative_l2(a, b) for a, b in zip(found, (x, x0), strict=True)) < 1e-6
        assert x.std() > 0.05


def test_a_step_is_one_launch_between_copies_and_waits_for_nothing() -> None:
    denoiser, device = graphs()
    step, x = denoiser.stepper(SCHEDULE), images(3)
    device.events.clear()
    device.synchronized = 0
    for t, t_prev in SCHEDULE.pairs(350, 5):
        x, _ = step(x, t, t_prev, images(3, t))
    assert device.events == ["queue", "launch"] * 5
    assert device.synchronized == 0


def test_answers_are_not_overwritten_by_later_ones() -> None:
    denoiser, _ = graphs()
    step, t = denoiser.stepper(SCHEDULE), torch.full((3,), 250)
    answers = [denoiser.denoise(images(3), t), *step(images(3), 250, 200, images(3, 1))]
    kept = [answer.clone() for answer in answers]
    denoiser.denoise(images(3, 5), t)
    step(images(3, 5), 100, 50, images(3, 6))
    assert all(map(torch.equal, answers, kept))


def test_a_step_without_noise_takes_nothing_of_what_an_earlier_one_left() -> None:
    denoiser, _ = graphs()
    step = denoiser.stepper(SCHEDULE)
    wanted = step(images(3), 50, 0, None)[0]
    step(images(3), 100, 50, torch.full((3, 1, SIZE, SIZE), float("nan")))
    assert torch.equal(step(images(3), 50, 0, None)[0], wanted)


@pytest.mark.parametrize("name", ["thor", "autoddpm", "pddpm"])
def test_a_method_finds_the_same_with_replays_whether_timed_recorded_or_bare(name: str) -> None:
    """As ``bench run``, ``bench parity`` and ``uadbench.detect`` call it."""
    method: Any = METHODS[name].preset("gaussian")
    if hasattr(method, "respaced"):
        method = method.respaced(6)
    x = images(2).clamp(-1, 1)

    def walk(denoiser: Denoiser) -> Tensor:
        noise = noise_source("gaussian", 0, ["a", "b"], (SIZE, SIZE))
        found: Result = method(x, make_tools(denoiser, SCHEDULE, noise, AbsolutePerceptual()))
        return torch.cat([found.anomaly, found.reconstruction])

    (replayed, device), reference = graphs(), record_chain(eager(), walk)
    device.events.clear()
    watch, stops = Stopwatch(), []
    timed = walk(TimedDenoiser(replayed, watch, lambda: stops.append(0)))
    chain = record_chain(replayed, walk)
    calls = len(reference.levels)
    assert chain.levels == reference.levels
    assert watch.calls["network"] == len(stops) == calls
    assert device.events.count("launch") == 2 * calls
    for found, wanted in zip(chain.states, reference.states, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(timed, chain.final)
    torch.testing.assert_close(chain.final, reference.final, atol=1e-4, rtol=1e-4)


def test_another_image_size_is_recorded_when_it_comes_and_the_record_says_so() -> None:
    denoiser, _ = graphs()
    record = json.loads(json.dumps(denoiser.describe()))
    assert record["recorded"] == [f"3x1x{SIZE}x{SIZE}", f"3x1x{SIZE}x{SIZE} step"]
    assert (record["cuda_graph"], record["weights"], record["checkpoint_sha256"]) == ("yes", "fp32", "0")
    x_t, t = torch.randn(2, 1, SIZE, 2 * SIZE), torch.tensor([9, 90])
    assert relative_l2(denoiser.denoise(x_t, t), eager().denoise(x_t, t)) < 1e-6
    assert f"3x1x{SIZE}x{2 * SIZE}" in denoiser.describe()["recorded"]


def test_the_weights_of_products_are_in_bf16_and_no_others() -> None:
    denoiser, _ = graphs("unet", "bf16")
    found = {type(m): p.dtype for m in denoiser._model.modules() for p in m.parameters(recurse=False)}
    half = {nn.Conv2d: torch.bfloat16, nn.Linear: torch.bfloat16}
    assert found == {**half, nn.GroupNorm: torch.float32, ShiftedNorm: torch.float32}


def test_cudnn_tries_its_algorithms_while_a_graph_is_recorded_and_not_afterwards() -> None:
    seen, net = [], KINDS["unet"].make()
    net.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.benchmark))
    CudaGraphDenoiser(net, {"sha256": "0"}, "fp32", ReplayDevice(), 1, side=SIZE)  # type: ignore[arg-type]
    assert seen == [True] * 2 * (WARM_UP + 1)
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: capture failed\nand more"), None])
def test_what_cannot_be_recorded_is_an_error_and_never_eager_torch(error: Exception | None) -> None:
    class Peeking(nn.Module):
        """Waits for the GPU, which cannot be recorded."""

        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            return x * float(timesteps[0])

    device, net = ReplayDevice(error), Peeking() if error is None else KINDS["unet"].make()
    told = "not permitted when stream is capturing" if error is None else r"CUDA error: capture failed\)"
    with pytest.raises(
        BackendError, match=rf"cannot record this network as a CUDA graph .*{told}.*--backends torch"
    ):
        CudaGraphDenoiser(net, {"sha256": "0"}, "fp32", device, 1, side=SIZE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"count": 4}, "opened for batches of up to 3, not 4; open it for a larger", id="batch"),
        pytest.param({"cond": True}, "unconditional; give no cond", id="cond"),
        pytest.param({"channels": 2}, r"takes images \[B, 1, H, W\], not \[3, 2, 16, 16\]", id="channels"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_by_call_and_step(changes: dict[str, Any], message: str) -> None:
    given = {"count": 3, "channels": 1, "cond": False} | changes
    x_t = torch.zeros(given["count"], given["channels"], SIZE, SIZE)
    denoiser, cond = graphs()[0], x_t if given["cond"] else None
    with pytest.raises(BackendError, match=message):
        denoiser.denoise(x_t, torch.full((given["count"],), 9), cond)
    with pytest.raises(BackendError, match=message):
        denoiser.stepper(SCHEDULE)(x_t, 9, 8, x_t, cond)


def test_images_without_a_level_each_are_refused() -> None:
    denoiser, _ = graphs()
    with pytest.raises(BackendError, match=r"3 images need as many levels, not t of shape \[2\]"):
        denoiser.denoise(images(3), torch.tensor([9, 90]))


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("fp16", "cuda", "runs fp32, tf32, bf16, not 'fp16'"),
        ("fp32", "cpu", "runs on cuda, not on 'cpu'; give --device cuda"),
        ("bf16", "cuda", "no CUDA device, and torch-cudagraph needs one; use another --backends"),
    ],
)
def test_what_it_does_not_run_on_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for attempt in (
        lambda: check_backend("torch-cudagraph", precision, device),
        lambda: open_backend("torch-cudagraph", tiny.make_checkpoint(tmp_path), precision, device),
    ):
        with pytest.raises(BackendError, match=message):
            attempt()


def test_a_recording_runs_the_work_first_and_says_why_where_there_is_no_graph() -> None:
    runs: list[int] = []
    device = ReplayDevice()
    launch, told = record(device, lambda: runs.append(0), 3, lambda: "it branches")  # type: ignore[arg-type]
    assert (told, len(runs), device.synchronized) == ("no: it branches", 3, 1)
    launch()
    assert len(runs) == 4, "it is the work itself"


def test_the_stand_in_runs_no_python_when_it_is_launched() -> None:
    kept, counted = torch.zeros(2), []

    def work() -> None:
        counted.append(0)
        kept.add_(torch.ones(2) * len(counted))

    launch = ReplayDevice().capture(work)
    launch()
    launch()
    assert kept.tolist() == [3, 3]
