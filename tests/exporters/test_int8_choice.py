"""Which convolutions int8 takes, told by what reaches them in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support import tiny_network as tiny
from support.int8 import CARD, healthy
from torch import Tensor, nn

from uadbench.engine.backends.form import Form
from uadbench.exporters.calibration import calibration_set
from uadbench.exporters.int8 import float_convolutions
from uadbench.exporters.onnx import ExportError, export_unet


def test_a_network_without_a_convolution_that_may_be_quantized_is_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 1, 3, padding=1)
            )

        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            return self.layers(x) + 0 * timesteps[:, None, None, None]

    with pytest.raises(ExportError, match="none of the network's 2 convolutions can be quantized"):
        export_unet(
            Two().eval().requires_grad_(False),
            CARD,
            tmp_path / "net.onnx",
            Form("int8"),
            size=tiny.SIZE,
            calibration=calibration_set(CARD, healthy()),
        )
    assert not list(tmp_path.iterdir())


def kept(nodes: list[Any], images: list[str], weights: dict[str, np.ndarray], *others: Any) -> set[str]:
    """What stays fp32 of a graph from these images and other inputs to eps."""
    value, number = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    inputs = [*(value(name, number, [1, 1, 8, 8]) for name in images), *others]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "g", inputs, [value("eps", number, [1, 1, 8, 8])], stored)
    return float_convolutions(onnx.helper.make_model(graph))


def test_first_and_last_are_told_by_what_reaches_them_without_another_convolution() -> None:
    """Images x and cond each have a first; levels reach every block and have none; attention's stay at any size."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w3"], ["a"], name="first"),
        node("Conv", ["cond", "w3"], ["b"], name="first of cond"),
        node("Conv", ["b", "w3"], ["c"], name="second of cond"),
        node("Add", ["a", "c"], ["d"], name="sum"),
        node("Add", ["d", "timesteps"], ["e"], name="level"),
        node("Conv", ["e", "w3"], ["f"], name="middle"),
        node("Conv", ["f", "w1"], ["g"], name="skip"),
        node("Conv", ["g", "w3"], ["h"], name="queries"),
        node("Softmax", ["h"], ["i"], name="softmax"),
        node("Conv", ["i", "w3"], ["j"], name="out of attention"),
        node("Conv", ["j", "w3"], ["k"], name="late"),
        node("Conv", ["k", "w3"], ["l"], name="last"),
        node("Sigmoid", ["l"], ["eps"], name="squashed"),
    ]
    weights = {f"w{k}": np.ones((1, 1, k, k), np.float32) for k in (1, 3)}
    level = onnx.helper.make_tensor_value_info("timesteps", onnx.TensorProto.FLOAT, [1])
    found = kept(nodes, ["x", "cond"], weights, level)
    assert found == {"first", "first of cond", "skip", "queries", "out of attention", "last"}


def test_where_attention_projects_by_linear_layers_no_convolution_is_taken_for_its_projection() -> None:
    """Plain attention, of the papers' network; its products of queries, keys and values are by no weight."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w3"], ["a"], name="first"),
        node("Conv", ["a", "w3"], ["b"], name="before"),
        node("MatMul", ["b", "p"], ["q"], name="queries"),
        node("MatMul", ["b", "p"], ["k"], name="keys"),
        node("MatMul", ["q", "k"], ["l"], name="logits"),
        node("Softmax", ["l"], ["s"], name="softmax"),
        node("Conv", ["b", "w3"], ["v"], name="values"),
        node("MatMul", ["s", "v"], ["o"], name="attended"),
        node("Gemm", ["o", "p"], ["h"], name="out of attention"),
        node("Conv", ["h", "w3"], ["m"], name="after"),
        node("Conv", ["m", "w3"], ["eps"], name="last"),
    ]
    weights = {"w3": np.ones((1, 1, 3, 3), np.float32), "p": np.ones((8, 8), np.float32)}
    assert kept(nodes, ["x"], weights) == {"first", "last"}
