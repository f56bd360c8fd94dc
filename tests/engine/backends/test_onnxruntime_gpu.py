"""ONNX Runtime on a GPU that is faked: bound memory, one graph a call, no fallback that is not an error."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from support import tiny_network as tiny
from support.fake_device import FACTS, CpuDevice
from support.fake_onnxruntime import CUDA, FakeOnnxRuntime
from support.tiny_engines import make_engine_source, make_network, relabelled_source

from uadbench.engine.backends import BACKENDS, BackendError, check_backend, open_backend
from uadbench.engine.backends import onnxruntime as backend
from uadbench.engine.backends import onnxruntime_library as library
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime_gpu import GpuSessionDenoiser, cuda_session
from uadbench.engine.networks.checkpoint import load_denoiser
from uadbench.exporters.parity import relative_l2


def open_it(folder: Path, ort: FakeOnnxRuntime | None = None, precision: str = "fp32") -> GpuSessionDenoiser:
    ort, gpu = ort or FakeOnnxRuntime(), CpuDevice()
    source = make_engine_source(folder) if precision == "fp32" else relabelled_source(folder, precision)
    artifact = read_artifact(source)
    start = cuda_session(ort, artifact.data, precision, gpu)
    return GpuSessionDenoiser("onnxruntime", CUDA, ort, artifact, precision, gpu, 2, start)


def test_a_session_computes_what_the_network_computes_for_every_batch_up_to_its_own(tmp_path: Path) -> None:
    model = load_denoiser(make_network(tmp_path))[0]
    denoiser = open_it(tmp_path)
    for size in (2, 1, 2):
        x_t, t = tiny.inputs(size, seed=size)
        assert relative_l2(denoiser.denoise(x_t, t), model(x_t, t - 1)) < 1e-5
    with pytest.raises(BackendError, match="batches of up to 2, not 3; open it for a larger one"):
        denoiser.denoise(*tiny.inputs(3))
    denoiser.close()


def test_memory_is_bound_once_and_one_run_comes_before_the_first_call(tmp_path: Path) -> None:
    ort = FakeOnnxRuntime()
    denoiser = open_it(tmp_path, ort)
    assert ort.calls == ["bind x", "bind timesteps", "bind eps", "run"]
    x_t, t = tiny.inputs(1)
    first = denoiser.denoise(x_t, t)
    kept = first.clone()
    assert not torch.equal(denoiser.denoise(-x_t, t), kept)
    assert torch.equal(first, kept), "the next call writes to the same memory"
    assert ort.calls[4:] == ["run", "run"]
    assert denoiser._gpu.queues == 3, "the work goes to the stream that the session was given"


@pytest.mark.parametrize(("precision", "nhwc"), [("fp32", "0"), ("fp16", "1")])
def test_a_session_is_given_the_stream_a_graph_no_tf32_and_the_layout_of_tensor_cores_below_fp32(
    tmp_path: Path, precision: str, nhwc: str
) -> None:
    ort = FakeOnnxRuntime()
    record = json.loads(json.dumps(open_it(tmp_path, ort, precision).describe()))
    wanted = {"use_tf32": "0", "prefer_nhwc": nhwc, "enable_cuda_graph": "1", "device_id": "0"}
    assert wanted.items() <= record["provider_options"].items()
    assert ort.sessions[0].choices["user_compute_stream"] == str(CpuDevice.handle)
    assert "stream" not in str(record["provider_options"]), "an address says nothing in a record"
    assert (record["cuda_graph"], record["batch"]) == ("yes", 2)
    assert record["nodes_by_provider"] == {CUDA: 3}
    assert (record["gpu"], record["driver"]) == (FACTS.gpu, FACTS.driver)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("graph", "no: onnxruntime cannot open .*graph capture"),
        ("record", "no: onnxruntime cannot run .*900"),
    ],
)
def test_where_no_graph_can_be_had_the_same_comes_out_and_the_record_says_so(
    tmp_path: Path, fault: str, reason: str
) -> None:
    x_t, t = tiny.inputs(2)
    ort = FakeOnnxRuntime((fault,))
    denoiser = open_it(tmp_path, ort)
    assert torch.equal(denoiser.denoise(x_t, t), open_it(tmp_path).denoise(x_t, t))
    told = denoiser.describe()
    assert re.match(reason, told["cuda_graph"])
    assert "\n" not in told["cuda_graph"]
    assert told["provider_options"]["enable_cuda_graph"] == "0"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("provider", f"could not start {CUDA} and would run on CPUExecutionProvider; install CUDA 13"),
        ("cpu nodes", "assigned to the default CPU EP, but fallback .* disabled by the user.; use another"),
        ("placement", f"would run 2 Shape, 1 Resize on CPUExecutionProvider, not on {CUDA}; use another"),
        ("run", f"cannot run the network on {CUDA}: CUDA failure 900.*; use another"),
    ],
)
def test_whatever_would_run_elsewhere_or_fails_is_one_line_with_a_remedy(
    tmp_path: Path, fault: str, message: str
) -> None:
    with pytest.raises(BackendError, match=message) as error:
        open_it(tmp_path, FakeOnnxRuntime((fault,)))
    assert "\n" not in str(error.value)


def model_of(*operators: str) -> bytes:
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("v0", f"v{len(operators)}")
    ]
    nodes = [helper.make_node(kind, [f"v{i}"], [f"v{i + 1}"]) for i, kind in enumerate(operators)]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def test_onnxruntime_itself_tells_where_its_nodes_are_and_refuses_the_cpu_where_it_is_told_to() -> None:
    """The two of its settings that the check stands on, with the package that is installed here."""
    onnxruntime = library.load_runtime()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(
        model_of("Relu", "Neg"), options, providers=["CPUExecutionProvider"]
    )
    assert library.placement(session) == {"CPUExecutionProvider": Counter({"Relu": 1, "Neg": 1})}
    options = library.session_options(onnxruntime, 1, "cuda")
    options.log_severity_level = 4
    other = next(p for p in onnxruntime.get_available_providers() if p != "CPUExecutionProvider")
    with pytest.raises(
        BackendError, match=f"cannot open the network on {other}: .*assigned to the default CPU"
    ):
        library.make_session(onnxruntime, model_of("Relu"), options, other, {})


def test_a_cpu_keeps_its_one_file_and_a_gpu_has_one_for_each_precision_and_batch() -> None:
    form = BACKENDS["onnxruntime"].form
    assert form("fp32", 4, "cpu") == Form()
    assert form("fp16", 4, "cuda") == Form("fp16", "fused", 4)


def test_the_back_end_is_opened_by_its_name_and_refuses_bf16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = relabelled_source(tmp_path, "fp16")  # before torch is told of a GPU that is not there
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeOnnxRuntime())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backend, "CudaDevice", lambda name: CpuDevice())
    with pytest.raises(
        BackendError, match=r"not 'bf16' \(its CUDA provider resizes no bf16\); use .*tensorrt"
    ):
        check_backend("onnxruntime", "bf16", "cuda")
    denoiser = open_backend("onnxruntime", source, "fp16", "cuda", batch_size=2)
    assert denoiser.denoise(*tiny.inputs(2)).shape == (2, 1, 32, 32)
    with pytest.raises(BackendError, match="is exported in fp16, fp32 is needed"):
        open_backend("onnxruntime", source, "fp32", "cuda", batch_size=2)
