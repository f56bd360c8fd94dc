"""int8: the convolutions that are quantized and those that are not, what it is calibrated on, and how far off it is."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from support import tiny_network as tiny
from support.forms import KINDS
from torch import Tensor, nn

from uadbench.bench.run import networks
from uadbench.bench.run.calibration import training_slices
from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.engine.backends import openvino as openvino_backend
from uadbench.engine.backends.artifacts import manifest_path, read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.networks.checkpoint import load_denoiser, save_checkpoint
from uadbench.engine.networks.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from uadbench.engine.perceptual.distance import open_squeeze
from uadbench.engine.schedule import linear_schedule
from uadbench.exporters.cache import cached_artifact
from uadbench.exporters.calibration import Calibration, Healthy, calibration_levels, calibration_set
from uadbench.exporters.onnx import ExportError, export_perceptual, export_unet
from uadbench.exporters.parity import (
    MARGINS,
    NETWORK_GATES,
    TRAJECTORY_GATES,
    network_parity,
    relative_l2,
)
from uadbench.exporters.step import export_step
from uadbench.reports.identity import Arm

INT8 = Form("int8", norms="plain")
CARD = {"sha256": "0", "noise": "gaussian"}


def slices(seed: int = 0, count: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, tiny.SIZE, tiny.SIZE, generator=draw) * 2 - 1


def healthy(name: str = "squares", seed: int = 0) -> Healthy:
    return Healthy({"data": name, "slices": 3, "split": "training"}, lambda: slices(seed))


class Exported(NamedTuple):
    path: Path
    manifest: dict[str, Any]
    model: nn.Module
    checkpoint: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The tiny U-Net, quantized."""
    folder = tmp_path_factory.mktemp("int8")
    checkpoint = tiny.make_checkpoint(folder)
    model, card = load_denoiser(checkpoint)
    path = folder / "unet.onnx"
    pairs = calibration_set(card, healthy())
    manifest = export_unet(model, card, path, INT8, size=tiny.SIZE, calibration=pairs)
    return Exported(path, manifest, model, checkpoint)


def test_the_large_convolutions_are_quantized_and_first_last_attention_and_1_by_1_are_not(
    exported: Exported,
) -> None:
    graph = onnx.load(str(exported.path)).graph
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {
        name.removeprefix("network."): tuple(weight.shape)
        for name, weight in exported.model.named_parameters()
        if weight.ndim == 4
    }
    wanted = {
        name
        for name, shape in shapes.items()
        if shape[2:] == (3, 3) and name not in ("conv_in.weight", "conv_out.weight")
    }
    found = set()
    for node in graph.node:
        if node.op_type == "Conv":
            sources = [makers.get(name) for name in node.input[:2]]
            kinds = {source.op_type == "DequantizeLinear" for source in sources if source is not None}
            if sources[1] is not None:
                assert kinds == {True}
                found.add(sources[1].input[0].removesuffix("_quantized").removeprefix("network."))
    assert found == wanted
    told = exported.manifest["quantization"]
    assert {name.removeprefix("network.") for name in told["quantized"]} == wanted
    assert {name.removeprefix("network.") for name in told["kept"]} == set(shapes) - wanted
    attention = next(node for node in graph.node if node.op_type == "Attention")
    assert any("qkv" in name for name in told["kept"])
    assert all(makers[name].op_type != "DequantizeLinear" for name in attention.input)


def test_weights_are_symmetric_int8_by_channel_and_activations_uint8(exported: Exported) -> None:
    graph = onnx.load(str(exported.path)).graph
    tensors = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            stored, scale, zero = (tensors[name] for name in node.input)
            assert not zero.any()
            assert scale.shape == stored.shape[:1]
            assert stored.dtype == (np.int8 if stored.ndim == 4 else np.int32)  # a bias is a sum of products
        if node.op_type == "QuantizeLinear":
            assert tensors[node.input[2]].dtype == np.uint8
            assert tensors[node.input[1]].ndim == 0


def test_what_is_rounded_for_a_convolution_reaches_everything_else_as_it_was(exported: Exported) -> None:
    """The residual stream goes to norms, sums and skips unrounded; only a quantized convolution's output is rounded."""
    graph = onnx.load(str(exported.path)).graph
    makers = {name: node for node in graph.node for name in node.output}
    convolutions = {name for node in graph.node if node.op_type == "Conv" for name in node.output}
    for node in graph.node:
        for name in node.input:
            source = makers.get(name)
            if source is not None and source.op_type == "DequantizeLinear" and node.op_type != "Conv":
                quantize = makers[source.input[0]]
                assert quantize.op_type == "QuantizeLinear"
                assert quantize.input[0] in convolutions  # that convolution's own output


def test_the_calibration_reaches_every_tenth_of_the_levels_and_is_densest_where_methods_begin() -> None:
    levels = np.array(calibration_levels(1000))
    assert len(levels) == 16
    assert (levels[0], levels[-1]) == (1, 1000)
    assert np.all(np.diff(levels) > 0)
    counts = np.histogram(levels, bins=[0, 100, 200, 300, 400, 600, 800, 1000])[0]
    assert counts.min() >= 1
    assert np.mean(levels <= 400) == 0.75
    assert calibration_levels(10)[-1] == 10


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_calibration_inputs_are_slices_noised_to_their_level_with_noise_of_the_networks_kind(
    noise: str,
) -> None:
    pairs = calibration_set(CARD | {"noise": noise}, healthy())
    abar, levels = linear_schedule().abar, pairs.record["levels"]
    assert pairs.inputs["timesteps"].tolist() == [level - 1 for level in levels]
    assert "cond" not in pairs.inputs
    draws = []
    for k, level in enumerate(levels):
        image = slices()[k % 3]
        drawn = (pairs.inputs["x"][k] - np.sqrt(abar[level]) * image) / np.sqrt(1 - abar[level])
        draws.append(drawn)
        rough = float((drawn[0, 1:] - drawn[0, :-1]).std() / drawn.std())
        # White noise differs by sqrt(2) of its spread from pixel to pixel; simplex noise is smooth.
        assert rough == pytest.approx(np.sqrt(2), abs=0.15) if noise == "gaussian" else rough < 0.8
    assert len({draw.numpy().tobytes() for draw in draws}) == len(levels)  # none is used twice
    assert pairs.record["noise"] == noise


def test_the_manifest_tells_the_calibration_and_hashes_of_all_that_went_in(exported: Exported) -> None:
    told = exported.manifest["quantization"]
    pairs = calibration_set(CARD, healthy())
    data = pairs.inputs["x"].numpy().tobytes() + pairs.inputs["timesteps"].numpy().tobytes()
    assert told["calibration"] == {
        "source": {"data": "squares", "slices": 3, "split": "training"},
        "noise": "gaussian",
        "levels": list(calibration_levels(1000)),
        "seed": 0,
        "pairs": 16,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert "min-max" in told["method"]
    assert told["library"].startswith("onnxruntime")
    assert len(told["fp32_sha256"]) == 64
    artifact = read_artifact(exported.path)
    assert (artifact.precision, artifact.quantized) == ("int8", len(told["quantized"]))
    assert json.loads(manifest_path(exported.path).read_text())["quantization"] == told


def test_the_same_network_and_calibration_give_the_same_bytes_without_a_word(
    exported: Exported, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, card = load_denoiser(exported.checkpoint)
    with caplog.at_level(logging.WARNING):
        pairs = calibration_set(card, healthy())
        export_unet(model, card, tmp_path / "again.onnx", INT8, size=tiny.SIZE, calibration=pairs)
    assert (tmp_path / "again.onnx").read_bytes() == exported.path.read_bytes()
    assert not caplog.records


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_back_end_computes_in_int8_within_its_gate_on_slices_that_were_not_calibrated_on(
    exported: Exported, name: str
) -> None:
    from uadbench.engine.backends.torch import TorchDenoiser

    denoiser = open_backend(name, exported.path, "int8", threads=1, batch_size=2)
    reference = TorchDenoiser(exported.model, CARD)
    result = network_parity(reference, denoiser, slices(seed=9, count=2), seeds=(0,))
    assert result["pass"]
    assert result["rel_image"] > 1e-4  # else it ran in fp32
    record = json.loads(json.dumps(denoiser.describe()))
    assert record["artifact_sha256"] == exported.manifest["sha256"]
    if name == "openvino":
        assert record["precision_hint"] == "f32"
        assert record["layers_by_precision"]["u8"] >= len(exported.manifest["quantization"]["quantized"])
    else:
        assert record["quantized_convolutions"] == len(exported.manifest["quantization"]["quantized"])
    denoiser.close()


def test_onnxruntime_and_openvino_agree_to_within_the_gate(exported: Exported) -> None:
    """And no better: a difference of 1e-7 moves a few values to the next of 256, which moves more in the next layer."""
    a, b = (
        open_backend(name, exported.path, "int8", threads=1, batch_size=2)
        for name in ("openvino", "onnxruntime")
    )
    result = network_parity(a, b, slices(seed=9, count=2), seeds=(0,))
    assert 0 < result["rel_image"] < NETWORK_GATES["int8"]


def test_onnxruntime_has_an_integer_kernel_for_every_quantized_convolution(
    exported: Exported, tmp_path: Path
) -> None:
    runtime = load_runtime()
    options = runtime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    runtime.InferenceSession(str(exported.path), options, providers=["CPUExecutionProvider"])
    ran = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    assert ran["QLinearConv"] == len(exported.manifest["quantization"]["quantized"])


def test_convolutions_that_openvino_did_not_quantize_are_an_error(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_backend, "_precisions", lambda *_: {"f32": 12})
    with pytest.raises(BackendError, match=r"to \{'f32': 12\}, not to f32 but for \d+ in 8 bits"):
        open_backend("openvino", exported.path, "int8")


def test_a_file_of_int8_is_refused_as_fp32_and_the_other_way_round(
    exported: Exported, tmp_path: Path
) -> None:
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(BackendError, match="is exported in int8, fp32 is needed"):
            open_backend(name, exported.path, "fp32")
        with pytest.raises(BackendError, match=r"is exported in fp32, int8 is needed.*--precision int8"):
            open_backend(name, tiny.make_artifact(tmp_path), "int8")


def test_int8_is_for_the_cpu() -> None:
    with pytest.raises(
        BackendError, match="onnxruntime runs int8 on cpu, not on 'cuda'; use --precision fp32"
    ):
        check_backend("onnxruntime", "int8", "cuda")
    with pytest.raises(BackendError, match="torch runs fp32 or bf16, not 'int8'"):
        check_backend("torch", "int8")


def test_the_gates_of_int8_are_no_looser_than_those_of_bf16() -> None:
    for gates in (NETWORK_GATES, TRAJECTORY_GATES, MARGINS):
        assert gates["int8"] <= gates["bf16"]


def test_a_fixed_batch_is_calibrated_in_batches_of_its_size(tmp_path: Path) -> None:
    model, pairs = KINDS["unet of x0"].make(), calibration_set(CARD, healthy())
    few = Calibration({name: value[:5] for name, value in pairs.inputs.items()}, pairs.record)
    form = Form("int8", "plain", 2, "plain")
    manifest = export_unet(model, CARD, tmp_path / "net.onnx", form, size=tiny.SIZE, calibration=few)
    assert (manifest["batch"], manifest["attention"], manifest["opset"]) == (2, "plain", 21)
    x, t = pairs.inputs["x"][:2], pairs.inputs["timesteps"][:2]
    session = load_runtime().InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x.numpy(), "timesteps": t.numpy()})
    assert relative_l2(torch.from_numpy(found), model(x, t)) < 0.1


def test_a_conditioned_network_is_calibrated_with_the_clean_slice() -> None:
    pairs = calibration_set(CARD | {"kind": "conditioned-unet"}, healthy())
    assert torch.equal(pairs.inputs["cond"][1], slices()[1])
    assert pairs.inputs["cond"].shape == pairs.inputs["x"].shape


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


def test_int8_without_images_and_of_what_is_no_denoiser_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny.make_checkpoint(tmp_path)
    model, card = load_denoiser(checkpoint)
    with pytest.raises(ExportError, match="int8 needs images to calibrate on"):
        export_unet(model, card, tmp_path / "net.onnx", INT8)
    with pytest.raises(ExportError, match="int8 needs images to calibrate on; name another --precision"):
        cached_artifact(checkpoint, tmp_path / "cache", INT8)
    with pytest.raises(ExportError, match="a whole step is not exported in int8"):
        export_step(model, card, tmp_path / "step.onnx", [(2, 1)], INT8)
    opened = open_squeeze("brain-squeeze")
    with pytest.raises(ExportError, match="the perceptual net is not exported in int8"):
        export_perceptual(opened.net, {"sha256": "0"}, tmp_path, "p", INT8)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Calibration]:
    """Replaces the export by a few bytes; what each was calibrated on."""
    calls: list[Calibration] = []

    def export(model: Any, card: dict[str, Any], path: Path, form: Form, calibration: Calibration) -> None:
        from uadbench.engine.backends.artifacts import write_artifact

        calls.append(calibration)
        write_artifact(path, b"onnx", tiny.manifest(card["sha256"], None) | {"precision": "int8"})

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", export)
    return calls


def test_the_cache_keeps_int8_by_what_it_was_calibrated_on_and_loads_no_slice_for_what_it_has(
    tmp_path: Path, exports: list[Calibration]
) -> None:
    checkpoint, cache, said = tiny.make_checkpoint(tmp_path), tmp_path / "cache", []
    first = cached_artifact(checkpoint, cache, INT8, healthy(), said.append)
    assert said == [
        "exporting unet-gaussian in int8, calibrated on 3 training slices of squares at 16 levels from 1 to 1000"
    ]

    def fail() -> Tensor:
        raise AssertionError("loaded")

    assert cached_artifact(checkpoint, cache, INT8, Healthy(healthy().record, fail), said.append) == first
    assert cached_artifact(checkpoint, cache, INT8, healthy("circles")) != first
    save_checkpoint(checkpoint, tiny.make_unet(), {"noise": "simplex"})
    assert cached_artifact(checkpoint, cache, INT8, healthy()) != first
    assert (len(exports), len(said)) == (3, 1)


def test_an_arm_of_int8_is_exported_on_demand_with_training_slices_of_the_phantom_for_both_back_ends(
    tmp_path: Path, exports: list[Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(networks, "open_backend", lambda name, source, *rest: opened.append(source))
    checkpoint, said = tiny.make_checkpoint(tmp_path), []
    for name in ("openvino", "onnxruntime"):
        networks.open_denoiser(Arm(name, "int8"), checkpoint, cache=tmp_path / "cache", say=said.append)
    (pairs,) = exports
    assert opened[0] == opened[1]
    assert pairs.record["source"]["data"] == "phantom"
    assert pairs.record["source"]["split"] == "training"
    assert pairs.inputs["x"].shape == (16, 1, 128, 128)
    assert len(said) == 1


def test_no_calibration_slice_is_a_test_case() -> None:
    from uadbench.datasets import DATASETS

    dataset = DATASETS["phantom"]()
    test = {dataset.load(case).image.tobytes() for case in dataset.split("test")[:6]}
    images = (training_slices(count=4).load() + 1) / 2
    assert images.min() >= 0
    assert not test & {image.numpy().tobytes() for image in images}


def test_a_conditioned_networks_encoder_keeps_its_first_convolution_in_fp32(tmp_path: Path) -> None:
    from uadbench.exporters.int8 import float_convolutions

    torch.manual_seed(0)
    config = ConditionedUNetConfig(
        channels=(16,), attention=(False,), head_channels=16, groups=8, embedding=16, encoder=(8, 8), code=12
    )
    model = ConditionedUNet(config).eval().requires_grad_(False)
    path = tmp_path / "net.onnx"
    export_unet(model, CARD | {"kind": "conditioned-unet"}, path, Form(norms="plain"), size=16)
    proto = onnx.load(str(path))
    kept = float_convolutions(proto)
    fed = {node.input[1]: node.name in kept for node in proto.graph.node if node.op_type == "Conv"}
    encoder = [name for name in fed if "encoder" in name]
    assert [fed[name] for name in encoder] == [True] + [False] * (len(encoder) - 1)
