"""What torch computes beside a back end: with one thread beside one that has its own, and never in TF32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from support.closed_form import AbsolutePerceptual, Fake
from torch import Tensor

from uadbench.bench.run.threads import call_beside
from uadbench.engine.backends.tf32 import in_tf32
from uadbench.engine.backends.torch import computing_in
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.tools import make_tools
from uadbench.reports.identity import Arm

X = torch.zeros(2, 1, 32, 32)


@dataclass(frozen=True)
class Told:
    """A method that keeps what torch was set to when it was called, and when its perceptual net was."""

    seen: dict[str, Any] = field(default_factory=dict)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        self.seen["between"] = torch.get_num_threads()
        self.seen["tf32"] = modes()
        return Result(tools.against(x)(x), x)


@dataclass(frozen=True)
class Net:
    """A perceptual net that keeps with how many threads it was called."""

    seen: dict[str, Any]

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        self.seen["features"] = torch.get_num_threads()

        def compared(x_rec: Tensor) -> Tensor:
            self.seen["distance"] = torch.get_num_threads()
            return (x - x_rec).abs()

        return compared


def modes() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def told_by(arm: Arm) -> dict[str, Any]:
    method = Told()
    noise = noise_source("gaussian", 0, ["a", "b"], (32, 32))
    tools = make_tools(Fake(lambda x, t: x), linear_schedule(), noise, AbsolutePerceptual())
    call_beside(arm, method, X, replace(tools, against=Net(method.seen).against))
    return method.seen


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    assert torch.get_num_threads() == 3, "as it was"
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("arm", "between"),
    [
        (Arm("torch"), 3),
        (Arm("torch-compile", "bf16"), 3),
        (Arm("openvino", "bf16"), 1),
        (Arm("onnxruntime", "int8"), 1),
        (Arm("onnxruntime", "fp32", "cuda"), 3),
    ],
)
def test_torch_has_one_thread_beside_a_back_end_with_threads_of_its_own(arm: Arm, between: int) -> None:
    seen = told_by(arm)
    assert seen["between"] == between
    assert (seen["features"], seen["distance"]) == (3, 3), "the perceptual net is a network itself"


def test_on_a_gpu_nothing_beside_the_network_is_in_tf32_whatever_torch_is_set_to() -> None:
    assert modes()[1], "torch's own default, which is what this is for"
    assert told_by(Arm("torch", "tf32", "cuda"))["tf32"] == (False, False)
    assert modes() == (False, True)
    assert told_by(Arm())["tf32"] == (False, True), "a CPU has none"


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize(("precision", "expected"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_a_network_is_in_tf32_where_that_was_asked_for_alone(precision: str, expected: bool) -> None:
    before = modes()
    with computing_in(precision, "cuda:0"):
        assert modes() == (expected, expected)
    assert modes() == before


def test_a_network_in_tf32_leaves_what_is_around_it_as_it_was() -> None:
    with in_tf32("cuda", False):
        with in_tf32("cuda", True):
            assert modes() == (True, True)
        assert modes() == (False, False)


def test_an_error_leaves_the_setting_as_it_was() -> None:
    before = modes()
    with pytest.raises(ValueError, match="boom"), in_tf32("cuda", False):
        raise ValueError("boom")
    assert modes() == before
