"""What an engine says of its precision is read as TensorRT 10 and 11 write it, and held against what was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from uadbench.engine.backends.tensorrt_layers import contradiction, count_types


def told(*types: str, tactic: str = "", key: str = "Format/Datatype") -> str:
    layers = [{"Name": "a", "TacticName": tactic, "Outputs": [{"Name": "y", key: kind}]} for kind in types]
    return json.dumps({"Layers": layers, "I/O Tensors": [{"Name": "x", "DataType": "Float"}]})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param(told("Half", "Float", "Half", "Int64"), {"fp16": 2, "fp32": 1}, id="short names"),
        pytest.param(
            told(
                "Channel major FP16 format where channel % 8 == 0", "Row major linear FP32 format (kLINEAR)"
            ),
            {"fp16": 1, "fp32": 1},
            id="formats",
        ),
        pytest.param(told("BFloat16", "Row major linear BF16 format"), {"bf16": 2}, id="bf16"),
        pytest.param(told("Half", key="DataType"), {"fp16": 1}, id="another key"),
        pytest.param(
            told("Float", tactic="sm80_xmma_fprop_tf32f32"), {"fp32": 1, "tf32 kernels": 1}, id="TF32"
        ),
        pytest.param('{"Layers": ["conv", "add"]}', {}, id="names only"),
        pytest.param('{"Layers": [{"Name": "a", "Outputs": []}, {"Outputs": [3]}, 4]}', {}, id="no outputs"),
        pytest.param('{"Layers": 3}', {}, id="no list"),
        pytest.param("[]", {}, id="no object"),
        pytest.param("", {}, id="nothing"),
        pytest.param("[" * 100_000, {}, id="nested deep"),
    ],
)
def test_layers_are_counted_by_the_type_they_give(text: str, wanted: dict[str, int]) -> None:
    assert count_types(text) == wanted


@pytest.mark.parametrize(
    ("counts", "precision", "wrong"),
    [
        ({}, "fp16", None),
        ({"fp32": 9}, "fp32", None),
        ({"fp32": 9, "fp16": 1}, "fp32", "1 layers in fp16"),
        ({"fp32": 9, "tf32 kernels": 2}, "fp32", "2 kernels in TF32"),
        ({"fp32": 9}, "fp16", "no layer in fp16"),
        ({"fp32": 9, "fp16": 30}, "fp16", None),
        ({"bf16": 9, "fp16": 30}, "fp16", "9 layers in bf16"),
        ({"bf16": 9, "fp32": 3}, "bf16", None),
    ],
)
def test_an_engine_in_another_precision_than_asked_for_is_found_out(
    counts: dict[str, int], precision: str, wrong: Any
) -> None:
    assert contradiction(counts, precision) == wrong
