"""A batch through a cell: what no method may give is a failure of its case, and warming up uses all there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.cells import (
    BLUR,
    SLUG,
    Fault,
    Recording,
    cell_of,
    compute,
    make_bench,
    make_dataset,
    method_cell,
    records,
    score,
)
from support.closed_form import AbsolutePerceptual
from torch import Tensor

from uadbench.bench.run.evaluate import NoNetwork, bind, call_method, run_batch, warm_up
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Sample
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.kernels.simplex_omissions import omissions
from uadbench.engine.methods.ddpm import DDPM


def four_samples() -> list[Sample]:
    dataset = make_dataset()
    return [dataset.load(case) for case in dataset.split("test")[:4]]


def marked_samples() -> list[Sample]:
    dataset = make_dataset(marked=("case1",))
    return [dataset.load(case) for case in dataset.split("test")[:4]]


def test_images_and_noise_are_brought_to_the_device_as_transfers() -> None:
    class There(Recording):
        device = "meta"  # any device that is not the host

    watch = Stopwatch()
    tools, x = bind(method_cell(), There(), four_samples(), make_bench(), watch)
    assert {x.device.type, tools.noise(100).device.type} == {"meta"}
    assert watch.calls == {"noise": 1, "transfers": 2}


def test_a_method_that_fails_on_one_case_fails_on_that_case_only(tmp_path: Path) -> None:
    arguments = ((method_cell(Fault("raise")),), make_dataset(marked=("case1",)))
    compute(tmp_path, *arguments)
    found = records(tmp_path)
    assert found["case1"]["reason"] == "RuntimeError: cannot do this one"
    assert {k for k, r in found.items() if r["status"] == "failed"} == {"case1"}
    assert found["case2"]["batch_size"] == 1  # it shared a batch with the one at fault
    assert found["case0"]["batch_size"] == 4
    assert "second line" in (tmp_path / "cells" / SLUG / "errors.log").read_text()
    score(tmp_path, *arguments)
    metrics = cell_of(tmp_path).metrics
    assert metrics is not None
    assert (metrics["n_cases"], metrics["n_failed"]) == (6, 1)
    assert metrics["failed"] == [{"case_id": "case1", "reason": "RuntimeError: cannot do this one"}]


@pytest.mark.parametrize(
    ("kind", "reason", "failing"),
    [
        pytest.param("nan", "the anomaly map holds 576 values that are NaN or infinite", 1, id="NaN"),
        pytest.param("negative", "the anomaly map holds -1; it must be >= 0", 1, id="negative"),
        pytest.param("shape", "ValueError: the anomaly map is (1, 1, 24, 4)", 10, id="shape"),
    ],
)
def test_a_result_that_no_method_may_give_is_a_failure_and_not_a_score(
    tmp_path: Path, kind: str, reason: str, failing: int
) -> None:
    compute(tmp_path, (method_cell(Fault(kind)),), make_dataset(marked=("case1",)))
    failed = {k: r["reason"] for k, r in records(tmp_path).items() if r["status"] == "failed"}
    assert len(failed) == failing
    assert failed["case1"].startswith(reason)


def test_a_cell_of_which_every_case_fails_has_a_summary_without_scores(tmp_path: Path) -> None:
    arguments = ((BLUR, method_cell(Fault("shape"))),)
    compute(tmp_path, *arguments)
    score(tmp_path, *arguments)
    metrics, latency = cell_of(tmp_path).metrics, cell_of(tmp_path).latency
    assert metrics is not None
    assert latency is not None
    assert (metrics["n_cases"], metrics["n_failed"], metrics["dice_max"]["value"]) == (0, 7, None)
    assert latency["n"] == 0


def test_a_floor_that_calls_a_network_or_draws_noise_fails() -> None:
    @dataclasses.dataclass(frozen=True)
    class Calls:
        def __call__(self, x: Tensor, tools: Tools) -> Result:
            return Result(tools.denoise(x, 3), x)

    @dataclasses.dataclass(frozen=True)
    class Draws:
        def __call__(self, x: Tensor, tools: Tools) -> Result:
            return Result(tools.noise(3), x)

    for method, reason in ((Calls(), "no network to call"), (Draws(), "no noise to draw")):
        cell = dataclasses.replace(BLUR, method=method)
        (outcome,) = run_batch(cell, NoNetwork(), four_samples()[:1], make_bench())
        assert outcome.reason is not None
        assert reason in outcome.reason


def test_a_variant_looks_through_its_own_perceptual_net() -> None:
    class Other(AbsolutePerceptual):
        def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
            return lambda x_rec: torch.full_like(x, 0.25)

    @dataclasses.dataclass(frozen=True)
    class Look:
        def __call__(self, x: Tensor, tools: Tools) -> Result:
            return Result(tools.against(x)(x), x)

    bench = dataclasses.replace(make_bench(), perceptuals={"first": AbsolutePerceptual(), "second": Other()})
    for name, value in (("first", 0.0), ("second", 0.25)):
        (outcome,) = run_batch(method_cell(Look(), perceptual=name), Recording(), four_samples()[:1], bench)
        assert outcome.anomaly is not None
        assert outcome.anomaly.max() == value


def test_warming_up_calls_the_network_at_every_size_to_come() -> None:
    network = Recording()
    found = warm_up(method_cell(), network, four_samples(), [4, 2], make_bench())
    assert [size for _, size in network.log] == [4, 4, 2, 2]
    assert found["first_call_ms"] is not None
    assert found["warmup_ms"] is not None
    assert found["first_call_ms"] < found["warmup_ms"]


def test_warming_up_draws_simplex_noise_on_every_plane_of_the_chain() -> None:
    samples, bench = four_samples(), make_bench()
    cell = method_cell(DDPM(t_start=93, steps=7), noise="simplex")
    warm_up(cell, Recording(), samples, [4], bench)
    before = omissions.cache_info().misses
    assert [outcome.reason for outcome in run_batch(cell, Recording(), samples, bench)] == [None] * 4
    assert omissions.cache_info().misses == before


@pytest.mark.parametrize(("name", "beside"), [("torch", 3), ("openvino", 1)])
def test_beside_threads_that_are_not_torchs_a_step_takes_one_and_the_perceptual_net_all(
    name: str, beside: int
) -> None:
    """Or those that torch's last operation woke hold the cores that the network needs."""
    seen: dict[str, set[int]] = {}

    def see(where: str, value: Tensor) -> Tensor:
        seen.setdefault(where, set()).add(torch.get_num_threads())
        return value

    class Seeing(AbsolutePerceptual):
        def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
            distance = super().against(see("net", x))
            return lambda x_rec: see("net", distance(x_rec))

    def method(x: Tensor, tools: Tools) -> Result:
        x_t, _ = tools.reverse(see("step", x), 100, 50)
        return Result(tools.against(x)(x_t), see("step", x_t))

    cell = method_cell(method)
    cell = dataclasses.replace(cell, arm=dataclasses.replace(cell.arm, backend=name))
    bench = dataclasses.replace(make_bench(), perceptuals={"here": Seeing()})
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        seen.clear()  # of what was called to make the cell
        call_method(cell, Recording(), four_samples(), bench, Stopwatch())
        assert seen == {"step": {beside}, "net": {3}}
        with pytest.raises(RuntimeError, match="cannot do this one"):
            call_method(
                dataclasses.replace(cell, method=Fault("raise")),
                Recording(),
                marked_samples(),
                bench,
                Stopwatch(),
            )
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
