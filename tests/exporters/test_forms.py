"""Every kind of network in every form computes what it computes in torch fp32, and is in the file what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from support.forms import KINDS, SIZE, Kind, inputs
from torch import Tensor, nn

from uadbench.engine.backends import BACKENDS, BackendError, open_backend
from uadbench.engine.backends.artifacts import ArtifactError, check_precision, read_artifact
from uadbench.engine.backends.form import IN_8_BITS, Form
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.perceptual.distance import open_squeeze
from uadbench.exporters.onnx import export_perceptual, export_unet, lowered_stages
from uadbench.exporters.parity import relative_l2
from uadbench.exporters.precision import ExportError, in_form, lowered

GATES = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 3e-2}
FLOAT, HALF, BF16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
FORMS = [Form(p, a, 3 if a == "plain" else None) for p in GATES for a in ("fused", "plain")]


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def run_file(path: Path, named: dict[str, Tensor]) -> Tensor:
    """In ONNX Runtime; in ONNX's own reference where that has no arithmetic for the precision."""
    arrays = {name: value.numpy() for name, value in named.items()}
    if read_artifact(path).precision == "bf16":
        (found,) = ReferenceEvaluator(onnx.load(str(path))).run(None, arrays)
    else:
        session = load_runtime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, arrays)
    assert found.dtype == np.float32
    return torch.from_numpy(found)


def types(path: Path) -> dict[str, set[int]]:
    """Operator -> the element types of its first input, wherever it stands."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    known = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input)}
    found: dict[str, set[int]] = {}
    for node in graph.node:
        if node.input and node.input[0] in known:
            found.setdefault(node.op_type, set()).add(known[node.input[0]])
    return found


@pytest.fixture(scope="module")
def plain_half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compact U-Net that predicts x0, in fp16 with its attention written out, for batches of 3."""
    path = tmp_path_factory.mktemp("half") / "net.onnx"
    export_unet(KINDS["unet of x0"].make(), {"sha256": "0"}, path, Form("fp16", "plain", 3), size=SIZE)
    return path


@pytest.fixture(scope="module")
def fused_bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bf16") / "net.onnx"
    export_unet(KINDS["unet"].make(), {"sha256": "0"}, path, Form("bf16"), size=SIZE)
    return path


@pytest.mark.parametrize("precision", list(GATES))
def test_a_network_in_a_precision_stays_as_near_to_fp32_as_the_precision_allows(
    kind: Kind, precision: str
) -> None:
    model, named = kind.make(), inputs(kind.card)
    error = relative_l2(in_form(model, Form(precision, "plain"))(**named), model(**named))
    assert error < GATES[precision]
    assert precision == "fp32" or error > GATES[precision] / 1000  # it is another precision


def test_the_network_itself_is_left_as_it_was() -> None:
    model, named = KINDS["unet"].make(), inputs({})
    before = model(**named)
    in_form(model, Form("bf16", "plain"))
    assert in_form(model, Form(batch=2)) is model
    torch.testing.assert_close(model(**named), before, rtol=0, atol=0)


def test_fp16_with_plain_attention_agrees_with_torch_and_keeps_norms_and_softmax_in_fp32(
    plain_half: Path,
) -> None:
    manifest = read_artifact(plain_half).manifest
    assert (manifest["precision"], manifest["attention"], manifest["opset"], manifest["batch"]) == (
        "fp16",
        "plain",
        21,
        3,
    )
    assert [(v["dtype"], v["shape"]) for v in (*manifest["inputs"], *manifest["outputs"])] == [
        ("float32", [3, 1, SIZE, SIZE]),
        ("int64", [3]),
        ("float32", [3, 1, SIZE, SIZE]),
    ]
    assert (manifest["operators"]["MatMul"], manifest["operators"]["Softmax"]) == (2, 1)
    assert not {"Attention", "Einsum", "Shape"} & set(manifest["operators"])
    found = types(plain_half)
    assert all(found[name] == {HALF} for name in ("Conv", "Gemm", "MatMul")), found
    assert all(found[name] == {FLOAT} for name in ("GroupNormalization", "Softmax", "Sin", "Cos")), found
    named = inputs({})
    assert relative_l2(run_file(plain_half, named), KINDS["unet of x0"].make()(**named)) < GATES["fp16"]


def test_bf16_with_fused_attention_agrees_with_torch_and_keeps_norms_and_sines_in_fp32(
    fused_bf16: Path,
) -> None:
    proto, found = onnx.load(str(fused_bf16)), types(fused_bf16)
    assert all(found[name] == {BF16} for name in ("Conv", "Gemm", "Attention")), found
    assert all(found[name] == {FLOAT} for name in ("GroupNormalization", "Sin", "Cos")), found
    (attention,) = [node for node in proto.graph.node if node.op_type == "Attention"]
    assert "softmax_precision" not in {a.name for a in attention.attribute}  # TensorRT's parser refuses it
    halves = {t.data_type for t in proto.graph.initializer if len(t.dims) > 1}
    assert BF16 in halves  # the weights, too
    named = inputs({})
    assert relative_l2(run_file(fused_bf16, named), KINDS["unet"].make()(**named)) < GATES["bf16"]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f.precision}-{f.attention}")
def test_every_kind_of_network_in_every_form_agrees_with_torch_fp32(
    tmp_path: Path, kind: Kind, form: Form
) -> None:
    model, named = kind.make(), inputs(kind.card)
    manifest = export_unet(model, kind.card, tmp_path / "net.onnx", form, size=SIZE)
    assert [entry["name"] for entry in manifest["inputs"]] == list(named)
    assert ("Attention" in manifest["operators"]) is (kind.attends and form.attention == "fused")
    assert relative_l2(run_file(tmp_path / "net.onnx", named), model(**named)) < GATES[form.precision]


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_perceptual_net_keeps_its_lengths_in_fp32(precision: str) -> None:
    """A feature's length is a sum of squares, which fp16 would take for infinite."""
    net = open_squeeze("brain-squeeze").net
    low = lowered_stages(net, precision)
    x = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted, found = net(net.features(x), x.flip(-1)), low(low.features(x), x.flip(-1))
    assert 0 < relative_l2(found, wanted) < GATES[precision]
    for feature, exact in zip(low.features(x), net.features(x), strict=True):
        assert feature.dtype == torch.float32
        assert relative_l2(feature, exact) < 10 * GATES[precision]  # near-zero features are scaled up


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_the_perceptual_net_is_exported_in_a_precision(tmp_path: Path, precision: str) -> None:
    opened = open_squeeze("brain-squeeze")
    source = {"name": opened.name, "sha256": opened.sha256}
    export_perceptual(opened.net, source, tmp_path, "p", Form(precision), size=48)
    kept = types(tmp_path / "p-features.onnx")
    assert kept["Conv"] == {HALF if precision == "fp16" else BF16}
    assert kept["Sqrt"] == {FLOAT}
    if precision == "fp16":
        x = torch.rand(2, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
        session = load_runtime().InferenceSession(str(tmp_path / "p-features.onnx"))
        for feature, wanted in zip(session.run(None, {"x": x.numpy()}), opened.net.features(x), strict=True):
            assert relative_l2(torch.from_numpy(feature), wanted) < GATES["fp16"]


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_back_end_of_fp32_refuses_a_file_of_another_precision(plain_half: Path, name: str) -> None:
    with pytest.raises(
        BackendError, match=r"net\.onnx: is exported in fp16, fp32 is needed; .*--precision fp32"
    ):
        open_backend(name, plain_half)
    check_precision(read_artifact(plain_half), "fp16")
    with pytest.raises(ArtifactError, match="bf16 is needed"):
        check_precision(read_artifact(plain_half), "bf16")


@pytest.mark.parametrize("name", [name for name, known in BACKENDS.items() if "cpu" in known.precisions])
def test_the_back_ends_of_cpus_take_one_file_for_fp32_and_bf16_and_share_that_of_int8(name: str) -> None:
    """OpenVINO lowers the precision to bf16 by itself."""
    layout = "channels-last" if name == "openvino" else "channels-first"
    for precision in BACKENDS[name].precisions["cpu"]:
        wanted = Form("int8", layout="channels-last") if precision in IN_8_BITS else Form(layout=layout)
        assert {BACKENDS[name].form(precision, n, "cpu") for n in (1, 4)} == {wanted}


def test_a_weight_that_fp16_does_not_hold_is_refused() -> None:
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, 1e5)
    with pytest.raises(ExportError, match=r"a weight of 1e\+05 does not fit into torch.float16; export bf16"):
        lowered(nn.Sequential(layer), "fp16")
    assert float(lowered(layer, "bf16")(torch.ones(1, 1)).detach()) > 9e4


def test_a_layer_of_unknown_precision_is_refused() -> None:
    with pytest.raises(ExportError, match="which precision a BatchNorm2d stands; export the network in fp32"):
        lowered(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)), "bf16")


def test_attention_with_a_mask_is_not_written_out() -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)

    with pytest.raises(ExportError, match="with a mask or dropout cannot be written out"):
        in_form(Masked(), Form("fp32", "plain"))(torch.ones(1, 1, 4, 4), torch.zeros(1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(
            {"precision": "int4"}, "precision is 'int4'; allowed are fp32, fp16, bf16, int8", id="precision"
        ),
        pytest.param(
            {"attention": "flash"}, "attention is 'flash'; allowed are fused, plain", id="attention"
        ),
        pytest.param(
            {"layout": "last"}, "layout is 'last'; allowed are channels-first, channels-last", id="layout"
        ),
        pytest.param({"batch": 0}, "batch is 0; allowed is a number from 1 on", id="batch"),
    ],
)
def test_a_form_that_there_is_not_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Form(**given)
