"""Every back end computes what torch computes, says what it really ran, and refuses what it cannot do."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_network as tiny

from uadbench.engine.backends import BACKENDS, BackendError, check_backend, onnxruntime_library, open_backend
from uadbench.engine.backends import openvino as openvino_backend
from uadbench.engine.backends.artifacts import pad
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.networks.checkpoint import load_checkpoint
from uadbench.exporters.parity import relative_l2

ARMS = [("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
GATES = {"fp32": 1e-5, "bf16": 3e-2}


def _open(name: str, precision: str, folder: Path, batch: int | None = None, **options: Any) -> Denoiser:
    try:
        check_backend(name, precision)
    except BackendError as error:
        if "bf16 instructions" in str(error):
            pytest.skip(str(error))
        raise
    layout = BACKENDS[name].form(precision, 1, "cpu").layout
    return open_backend(name, tiny.make_artifact(folder, batch, layout), precision, threads=1, **options)


@pytest.mark.parametrize(("name", "precision"), ARMS)
@pytest.mark.parametrize("batch", [1, 4])
def test_a_back_end_agrees_with_the_network_itself_at_timestep_t_minus_1(
    tmp_path: Path, name: str, precision: str, batch: int
) -> None:
    model = load_checkpoint(tiny.make_checkpoint(tmp_path))[0]
    denoiser = _open(name, precision, tmp_path, batch_size=4)
    x_t, t = tiny.inputs(batch)
    wanted = model(x_t, t - 1)
    eps = denoiser.denoise(x_t, t)
    assert eps.dtype == torch.float32
    assert eps.shape == x_t.shape
    error = relative_l2(eps, wanted)
    assert error < GATES[precision]
    if precision == "bf16":
        assert error > 1e-5  # else it ran in fp32
    denoiser.close()


def test_the_fp32_gate_finds_a_timestep_that_is_off_by_one(tmp_path: Path) -> None:
    model = load_checkpoint(tiny.make_checkpoint(tmp_path))[0]
    x_t, t = tiny.inputs(4)
    assert relative_l2(model(x_t, t), model(x_t, t - 1)) > 10 * GATES["fp32"]


@pytest.mark.parametrize(("name", "precision"), ARMS)
def test_a_network_of_a_fixed_batch_takes_smaller_ones_and_no_larger(
    tmp_path: Path, name: str, precision: str
) -> None:
    model = load_checkpoint(tiny.make_checkpoint(tmp_path))[0]
    denoiser = _open(name, precision, tmp_path, batch=3)
    for size in (3, 2, 1):
        x_t, t = tiny.inputs(size)
        eps = denoiser.denoise(x_t, t)
        assert eps.shape == x_t.shape
        assert relative_l2(eps, model(x_t, t - 1)) < GATES[precision]
    with pytest.raises(BackendError, match="takes batches of up to 3, not 4"):
        denoiser.denoise(*tiny.inputs(4))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch", [None, 2])
def test_openvino_gives_the_same_with_either_hint_whatever_the_batch(
    tmp_path: Path, precision: str, batch: int | None
) -> None:
    model = load_checkpoint(tiny.make_checkpoint(tmp_path))[0]
    usual, many = (
        _open("openvino", precision, tmp_path, batch, hint=hint) for hint in ("latency", "throughput")
    )
    for size in (1, 2, 5):
        x_t, t = tiny.inputs(size)
        found = many.denoise(x_t, t)
        assert relative_l2(found, model(x_t, t - 1)) < GATES[precision]
        parts = [usual.denoise(x_t[k : k + 2], t[k : k + 2]) for k in range(0, size, 2)]
        assert relative_l2(found, torch.cat(parts)) < GATES[precision]
    assert torch.equal(found, many.denoise(x_t, t))  # in whatever order its parts are done
    assert (usual.describe()["performance_hint"], usual.describe()["streams"]) == ("latency", 1)
    assert many.describe()["performance_hint"] == "throughput"
    assert many.describe()["compiled_batches"] == [batch or 1]
    many.close()


def test_openvino_is_told_the_hint_and_in_throughput_makes_its_own_streams(tmp_path: Path) -> None:
    denoiser = _open("openvino", "fp32", tmp_path, hint="throughput")
    assert isinstance(denoiser, openvino_backend.OpenVinoDenoiser)
    assert denoiser._config()["PERFORMANCE_HINT"] == "THROUGHPUT"
    assert "NUM_STREAMS" not in denoiser._config()


def test_a_hint_goes_to_the_back_ends_that_take_one_and_another_word_is_refused(tmp_path: Path) -> None:
    assert _open("onnxruntime", "fp32", tmp_path, hint="throughput").describe()["threads"] == 1
    with pytest.raises(BackendError, match="unknown hint 'fast'; choose latency or throughput"):
        _open("openvino", "fp32", tmp_path, hint="fast")


def test_padding_repeats_the_last_image_and_leaves_what_fits() -> None:
    x_t, t = tiny.inputs(2)
    x, level = pad(x_t, 4), pad(t, 4)
    assert torch.equal(x, torch.cat([x_t, x_t[1:], x_t[1:]]))
    assert level.tolist() == [1, 1000, 1000, 1000]
    assert pad(x_t, 2) is x_t
    assert pad(x_t, None) is x_t


@pytest.mark.parametrize(("name", "precision"), ARMS)
def test_an_answer_is_not_overwritten_by_the_next_and_does_not_hang_on_the_last(
    tmp_path: Path, name: str, precision: str
) -> None:
    denoiser = _open(name, precision, tmp_path)
    x_t, t = tiny.inputs(1)
    first = denoiser.denoise(x_t, t)
    kept = first.clone()
    other = denoiser.denoise(-x_t, t)
    assert torch.equal(first, kept)
    assert not torch.equal(other, kept)
    assert torch.equal(denoiser.denoise(x_t, t), kept)


@pytest.mark.parametrize(("name", "precision"), ARMS)
def test_inputs_in_any_memory_layout_give_the_same(tmp_path: Path, name: str, precision: str) -> None:
    denoiser = _open(name, precision, tmp_path)
    x_t, t = tiny.inputs(2)
    strided = torch.stack([x_t, x_t], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert torch.equal(denoiser.denoise(strided, t), denoiser.denoise(x_t, t))


@pytest.mark.parametrize(("name", "precision"), ARMS)
def test_the_record_says_what_really_ran(tmp_path: Path, name: str, precision: str) -> None:
    denoiser = _open(name, precision, tmp_path)
    record = json.loads(json.dumps(denoiser.describe()))
    assert (denoiser.name, denoiser.precision, denoiser.device) == (name, precision, "cpu")
    assert record["threads"] == 1
    assert record["checkpoint_sha256"] == load_checkpoint(tiny.make_checkpoint(tmp_path))[1]["sha256"]
    assert record[name] == importlib.import_module(name).__version__ or name == "openvino"
    if name == "onnxruntime":
        assert record["providers"] == ["CPUExecutionProvider"]
    else:
        layers = record["layers_by_precision"]
        assert max(layers, key=layers.__getitem__) == {"fp32": "f32", "bf16": "bf16"}[precision]
        assert precision == "bf16" or set(layers) == {"f32"}


@pytest.mark.parametrize(("name", "precision"), ARMS)
def test_opening_and_running_leaves_the_arithmetic_of_this_thread_alone(
    tmp_path: Path, name: str, precision: str
) -> None:
    """ONNX Runtime's set_denormal_as_zero would switch torch's and NumPy's arithmetic too."""
    small = torch.tensor([1e-38])
    before = float(small * 0.01)
    denoiser = _open(name, precision, tmp_path)
    denoiser.denoise(*tiny.inputs(1))
    assert float(small * 0.01) == before


@pytest.mark.parametrize(("name", "precision"), ARMS)
def test_a_call_that_does_not_fit_the_network_is_explained(tmp_path: Path, name: str, precision: str) -> None:
    denoiser = _open(name, precision, tmp_path)
    x_t, t = tiny.inputs(2)
    with pytest.raises(BackendError, match=r"takes images \[B, 1, 32, 32\], not \[2, 1, 16, 32\]"):
        denoiser.denoise(x_t[:, :, :16], t)
    with pytest.raises(BackendError, match="2 images need as many levels"):
        denoiser.denoise(x_t, t[:1])
    with pytest.raises(BackendError, match="unconditional"):
        denoiser.denoise(x_t, t, x_t)


@pytest.mark.parametrize(
    ("name", "precision", "device", "message"),
    [
        pytest.param("onnxruntime", "bf16", "cpu", "back end openvino or torch for bf16", id="ORT bf16"),
        pytest.param(
            "onnxruntime", "fp32", "tpu", "unknown device 'tpu'; choose cpu or cuda", id="ORT device"
        ),
        pytest.param("torch", "fp32", "gpu", "unknown device 'gpu'; choose cpu or cuda", id="torch gpu"),
        pytest.param("torch", "fp32", "mps", "unknown device 'mps'", id="torch mps"),
        pytest.param("torch", "fp32", "cuda:x", "unknown device 'cuda:x'", id="torch device number"),
        pytest.param("openvino", "fp32", "GPU", "unknown device 'GPU'", id="OpenVINO GPU"),
        pytest.param(
            "openvino", "fp16", "cpu", "fp32, bf16, int8, int8-bf16, not 'fp16'", id="OpenVINO fp16"
        ),
        pytest.param("openvino", "fp32", "cuda", "runs on cpu, not on 'cuda'", id="OpenVINO device"),
        pytest.param("torch", "fp16", "cpu", "torch on cpu runs fp32, bf16, not", id="torch fp16"),
        pytest.param(
            "nonesuch", "fp32", "cpu", "choose from torch, torch-compile, torch-cudagraph, onnx", id="unknown"
        ),
    ],
)
def test_what_a_back_end_cannot_do_is_an_error_and_never_another_back_end(
    tmp_path: Path, name: str, precision: str, device: str, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        check_backend(name, precision, device)
    source = tiny.make_checkpoint(tmp_path) if name == "torch" else tiny.make_artifact(tmp_path)
    with pytest.raises(BackendError, match=message):
        open_backend(name, source, precision, device)


@pytest.mark.parametrize("count", [1, 2])
def test_a_cuda_device_beyond_those_there_is_refused(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    check_backend("torch", device=f"cuda:{count - 1}")
    check_backend("torch", device="cuda")
    with pytest.raises(BackendError, match=rf"no device 'cuda:{count}'; torch sees {count} CUDA device"):
        check_backend("torch", device=f"cuda:{count}")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_missing_package_is_named_with_the_extra_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=rf"{name} cannot be imported .*pip install 'uadbench\[cpu\]'"):
        open_backend(name, tiny.make_artifact(tmp_path))


def test_onnxruntime_on_the_gpu_without_its_provider_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = onnxruntime_library.load_runtime()
    monkeypatch.setattr(runtime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError, match=r"has no CUDAExecutionProvider; .*uadbench\[gpu\]"):
        open_backend("onnxruntime", tiny.make_artifact(tmp_path), device="cuda")


def test_the_two_onnxruntime_packages_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_library.metadata, "version", lambda package: "1.31.1")
    with pytest.raises(BackendError, match="both installed and overwrite each other"):
        check_backend("onnxruntime")


@pytest.mark.parametrize("found", [{"bf16": 12}, {"bf16": 1, "f32": 11}, {"f32": 11, "u8": 1}, {}])
def test_convolutions_in_another_precision_than_asked_for_or_in_none_that_is_told_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, int]
) -> None:
    monkeypatch.setattr(openvino_backend, "_precisions", lambda *_: found)
    with pytest.raises(BackendError, match=rf"to {re.escape(str(found))}, not to f32"):
        _open("openvino", "fp32", tmp_path)


def test_openvino_compiles_once_for_each_batch_size(tmp_path: Path) -> None:
    denoiser = _open("openvino", "fp32", tmp_path, batch_size=4)
    for size in (4, 2, 4, 2):
        denoiser.denoise(*tiny.inputs(size))
    assert denoiser.describe()["compiled_batches"] == [2, 4]


def test_every_back_end_is_checked_here() -> None:
    on_gpu = {name for name, backend in BACKENDS.items() if "cpu" not in backend.precisions}
    # test_tensorrt_run.py, test_onnxruntime_tensorrt.py, test_torch_cudagraph.py
    assert on_gpu == {"tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt", "torch-cudagraph"}
    # test_torch_compile.py
    assert set(BACKENDS) - on_gpu == {"torch", "torch-compile", *(name for name, _ in ARMS)}
