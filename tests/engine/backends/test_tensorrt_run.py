"""The whole way of a TensorRT engine, with a library that is faked (support/fake_tensorrt.py) and fails anywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_network as tiny
from support.fake_device import FACTS, CpuDevice
from support.fake_tensorrt import FakeTensorRt
from support.tiny_engines import engine_source, make_engine_source, make_network

from uadbench.engine.backends import BACKENDS, BackendError, check_backend, open_backend
from uadbench.engine.backends import tensorrt_run as module
from uadbench.engine.backends.tensorrt_library import RTX, TENSORRT, Library, load
from uadbench.engine.backends.tensorrt_run import TensorRtDenoiser
from uadbench.engine.networks.checkpoint import load_denoiser
from uadbench.exporters.parity import relative_l2

BOTH = [pytest.param(TENSORRT, "11.4.0.106", id="tensorrt"), pytest.param(RTX, "1.7.1.116", id="rtx")]


def open_it(
    folder: Path,
    trt: FakeTensorRt | None = None,
    library: Library = TENSORRT,
    device: CpuDevice | None = None,
    precision: str = "fp32",
    **more: Any,
) -> TensorRtDenoiser:
    trt = trt or FakeTensorRt()
    artifact = engine_source(folder, "fp32", **more)
    device = device or CpuDevice(trt)
    return TensorRtDenoiser(library, trt, artifact, precision, device, 1, folder / "engines")


@pytest.mark.parametrize(("library", "version"), BOTH)
def test_an_engine_computes_what_the_network_computes_for_every_batch_up_to_its_own(
    tmp_path: Path, library: Library, version: str
) -> None:
    model = load_denoiser(make_network(tmp_path))[0]
    denoiser = open_it(tmp_path, FakeTensorRt(version), library)
    for size in (2, 1, 2):
        x_t, t = tiny.inputs(size, seed=size)
        eps = denoiser.denoise(x_t, t)
        assert eps.shape == x_t.shape
        assert relative_l2(eps, model(x_t, t - 1)) < 1e-5
    with pytest.raises(BackendError, match="batches of up to 2, not 3; open it for a larger one"):
        denoiser.denoise(*tiny.inputs(3))
    denoiser.close()


def test_after_one_call_a_graph_is_recorded_and_every_call_launches_it(tmp_path: Path) -> None:
    trt = FakeTensorRt()
    device = CpuDevice(trt)
    denoiser = open_it(tmp_path, trt, device=device)
    assert trt.calls[-4:] == ["set_tensor_address", "execute", "execute", "recorded"]
    assert denoiser.describe()["cuda_graph"] == "yes"
    for count in (1, 2):
        denoiser.denoise(*tiny.inputs(1))
        assert device.launched == count


@pytest.mark.parametrize("case", ["fails", "not capturable"])
def test_where_no_graph_can_be_recorded_the_same_comes_out_and_the_record_says_so(
    tmp_path: Path, case: str
) -> None:
    x_t, t = tiny.inputs(2)
    wanted = open_it(tmp_path).denoise(x_t, t)
    if case == "fails":
        trt, library = FakeTensorRt(), TENSORRT
        device, reason = CpuDevice(trt, fails=True), "no: CUDA error: operation not permitted"
    else:
        trt, library = FakeTensorRt("1.7.1.116", ("is_stream_capturable",)), RTX
        device, reason = CpuDevice(trt), "no: the library cannot record this engine"
    denoiser = open_it(tmp_path, trt, library, device)
    assert torch.equal(denoiser.denoise(x_t, t), wanted)
    assert denoiser.describe()["cuda_graph"].startswith(reason)
    assert "\n" not in denoiser.describe()["cuda_graph"]
    assert device.launched == 0


def test_an_answer_is_not_overwritten_by_the_next_and_does_not_hang_on_the_last(tmp_path: Path) -> None:
    denoiser = open_it(tmp_path)
    x_t, t = tiny.inputs(1)
    first = denoiser.denoise(x_t, t)
    kept = first.clone()
    assert not torch.equal(denoiser.denoise(-x_t, t), kept)
    assert torch.equal(first, kept)
    assert torch.equal(denoiser.denoise(x_t, t), kept)


@pytest.mark.slow
def test_a_conditioned_network_is_shown_the_clean_image(tmp_path: Path) -> None:
    model = load_denoiser(make_network(tmp_path, conditioned=True))[0]
    denoiser = open_it(tmp_path, conditioned=True)
    (x_t, t), cond = tiny.inputs(1), tiny.inputs(1, seed=1)[0]
    assert relative_l2(denoiser.denoise(x_t, t, cond), model(x_t, t - 1, cond)) < 1e-5
    with pytest.raises(BackendError, match="conditioned on the clean image; give cond"):
        denoiser.denoise(x_t, t)


def test_the_record_says_what_was_built_and_for_what(tmp_path: Path) -> None:
    record = json.loads(json.dumps(open_it(tmp_path).describe()))
    convolutions = engine_source(tmp_path).manifest["operators"]["Conv"]
    assert record["layers_by_precision"] == {"fp32": convolutions} == record["convolutions"]
    assert record["tensorrt"] == "11.4.0.106"
    assert (record["gpu"], record["driver"], record["compute_capability"]) == (FACTS.gpu, FACTS.driver, "8.9")
    assert record["workspace_mib"] == 4096
    assert record["tf32"] is False
    assert record["checkpoint_sha256"] == load_denoiser(make_network(tmp_path))[1]["sha256"]
    silent = FakeTensorRt()
    silent.layers = '{"Layers": ["conv"]}'
    assert open_it(tmp_path, silent).describe()["layers_by_precision"] == {"not told": convolutions}


@pytest.mark.parametrize(
    ("fault", "library", "message"),
    [
        (
            "start",
            TENSORRT,
            "TensorRT cannot start its builder: CUDA init.*; install or update the NVIDIA driver",
        ),
        ("create_engine_inspector", TENSORRT, "TensorRT cannot inspect the engine: it gives no reason; use"),
        ("create_network", TENSORRT, "TensorRT cannot make a network: no network; use --backends torch"),
        ("create_builder_config", TENSORRT, "cannot make a builder's configuration: no config"),
        (
            "parse",
            TENSORRT,
            r"cannot read the exported network: In node 0.*In node 2.*Einsum and 2 more; use",
        ),
        ("set_compute_capability", RTX, r"TensorRT for RTX takes no compute capability \(8, 9\)"),
        ("add_optimization_profile", TENSORRT, r"takes no profile of \{'x': \(2, 1, 32, 32\)"),
        ("build", TENSORRT, "cannot build a fp32 engine: .*OutOfMemory.*; use a smaller --batch-size"),
        ("deserialize", TENSORRT, "cannot load the engine that it built: .*; remove the user's cache folder"),
        ("tensors", TENSORRT, r"engine of tensors \['timesteps', 'x', 'x_rec'\]"),
        (
            "create_execution_context",
            TENSORRT,
            "cannot make an execution context: .*no context.*--batch-size",
        ),
        ("set_input_shape", TENSORRT, r"takes no x of shape \[2, 1, 32, 32\]: out of the profile"),
        ("set_tensor_address", TENSORRT, "takes no memory for x: misaligned"),
        ("execute", TENSORRT, "cannot run the engine: .*illegal memory access"),
    ],
)
def test_every_way_in_which_the_library_fails_is_one_line_with_the_reason_and_a_remedy(
    tmp_path: Path, fault: str, library: Library, message: str
) -> None:
    trt = FakeTensorRt("1.7.1.116" if library is RTX else "10.13.0.35", (fault,))
    with pytest.raises(BackendError, match=message) as error:
        open_it(tmp_path, trt, library)
    assert "\n" not in str(error.value)
    assert ";" in str(error.value)


def test_an_inspector_that_says_nothing_is_told_too(tmp_path: Path) -> None:
    trt = FakeTensorRt()
    trt.layers = ""
    with pytest.raises(
        BackendError, match="TensorRT tells nothing of the engine's layers: it gives no reason; use"
    ):
        open_it(tmp_path, trt)


def test_a_runtime_that_does_not_start_is_told_too(tmp_path: Path) -> None:
    open_it(tmp_path)
    with pytest.raises(BackendError, match="TensorRT cannot start its runtime: CUDA initialization failure"):
        open_it(tmp_path, FakeTensorRt(faults=("start",)))  # the engine is there, so no builder is needed


def test_a_call_that_fails_later_is_told_too(tmp_path: Path) -> None:
    trt = FakeTensorRt()
    denoiser = open_it(tmp_path, trt)
    trt.faults.add("execute")
    with pytest.raises(BackendError, match="cannot run the engine"):
        denoiser.denoise(*tiny.inputs(1))


def test_an_engine_in_another_precision_than_asked_for_is_refused(tmp_path: Path) -> None:
    """A builder whose flag for half precision no longer exists gives fp32 and says nothing."""
    trt = FakeTensorRt()
    trt.layers = json.dumps({"Layers": [{"Outputs": [{"Format/Datatype": "Half"}]}]})
    with pytest.raises(BackendError, match="engine with 1 layers in fp16 where fp32 was asked for"):
        open_it(tmp_path, trt)
    with pytest.raises(BackendError, match="is exported in fp32, fp16 is needed"):
        open_it(tmp_path, precision="fp16")


def test_a_gpu_that_rtx_has_no_engines_for_is_named(tmp_path: Path) -> None:
    trt = FakeTensorRt("1.7.1.116")
    hopper = CpuDevice(trt, facts=type(FACTS)("NVIDIA H200", (9, 0), "1", "13.0", 1 << 37))
    with pytest.raises(
        BackendError, match=r"runs on compute capability 7\.5, 8\.9, 12\.0, this GPU has 9\.0"
    ):
        open_it(tmp_path, trt, RTX, hopper)


@pytest.mark.parametrize(("library", "version"), BOTH)
def test_a_missing_or_old_package_is_named_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch, library: Library, version: str
) -> None:
    remedy = rf"pip install 'uadbench\[{library.extra}\]'"
    monkeypatch.setitem(sys.modules, library.module, None)
    with pytest.raises(BackendError, match=rf"{library.module} cannot be imported .*{remedy}"):
        check_backend(library.name, "fp16", "cuda")
    monkeypatch.setitem(sys.modules, library.module, FakeTensorRt("0.9.1"))
    with pytest.raises(BackendError, match=rf"{library.module} 0\.9\.1 is too old, .* is needed; .*{remedy}"):
        check_backend(library.name, "fp16", "cuda")
    monkeypatch.setitem(sys.modules, library.module, FakeTensorRt(version))
    assert load(library).__version__ == version


def test_libraries_that_are_missing_beside_the_bindings_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bindings come from the usual index, the native libraries from NVIDIA's own."""
    (tmp_path / "tensorrt.py").write_text(
        "raise ImportError('libnvonnxparser.so.11: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(BackendError, match=r"libnvonnxparser\.so\.11.*NVIDIA's own package index"):
        load(TENSORRT)


@pytest.mark.parametrize(("library", "version"), BOTH)
def test_what_is_asked_of_the_wrong_device_or_precision_is_refused_before_anything_is_exported(
    monkeypatch: pytest.MonkeyPatch, library: Library, version: str
) -> None:
    monkeypatch.setitem(sys.modules, library.module, FakeTensorRt(version))
    with pytest.raises(BackendError, match=f"{library.name} runs on cuda, not on 'cpu'; use --device cuda"):
        check_backend(library.name, "fp32", "cpu")
    with pytest.raises(BackendError, match=f"{library.name} runs fp32, fp16, bf16, not 'int8'"):
        check_backend(library.name, "int8", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match=f"torch sees no CUDA device, and {library.name} needs one"):
        check_backend(library.name, "fp32", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 9))
    check_backend(library.name, "bf16", "cuda")
    with pytest.raises(BackendError, match="there is no device 'cuda:1'; torch sees 1 CUDA device"):
        check_backend(library.name, "bf16", "cuda:1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    if library is RTX:
        with pytest.raises(BackendError, match=r"this GPU has 9\.0; use --backends tensorrt"):
            check_backend(library.name, "fp32", "cuda")
    else:
        check_backend(library.name, "fp32", "cuda")


@pytest.mark.parametrize(("library", "version"), BOTH)
def test_a_back_end_is_opened_by_its_name_and_says_when_it_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Library, version: str
) -> None:
    trt = FakeTensorRt(version)
    source, told = (
        make_engine_source(tmp_path),
        [],
    )  # torch exports nothing where it is told of a GPU that is not there
    monkeypatch.setitem(sys.modules, library.module, trt)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (8, 9))
    monkeypatch.setattr(module, "CudaDevice", lambda name: CpuDevice(trt))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert BACKENDS[library.name].slow
    for _ in range(2):
        denoiser = open_backend(library.name, source, "fp32", "cuda", batch_size=2, say=told.append)
        assert denoiser.name == library.name
        assert denoiser.denoise(*tiny.inputs(2)).shape == (2, 1, 32, 32)
    assert told == [f"building a {library.title} engine, fp32, for NVIDIA Test 1: once, it is then kept"]
    assert trt.calls.count("build") == 1
    (store,) = (tmp_path / "cache").rglob("engines")
    assert store.stat().st_mode & 0o777 == 0o700
