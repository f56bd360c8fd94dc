"""ONNX Runtime's TensorRT provider, faked: it loads what lies in its folder, so only what is sealed comes there."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_network as tiny
from support.fake_device import FACTS, CpuDevice
from support.fake_onnxruntime import TENSORRT, FakeOnnxRuntime
from support.fake_tensorrt import FakeTensorRt
from support.tiny_engines import make_engine_source, make_network, relabelled_source

from uadbench.engine.backends import BACKENDS, BackendError, check_backend, open_backend
from uadbench.engine.backends import onnxruntime_tensorrt as backend
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.cuda_device import Facts
from uadbench.engine.backends.onnxruntime_engines import ENGINES, RECORD, TIMES, ProviderEngines, contents
from uadbench.engine.backends.onnxruntime_gpu import GpuSessionDenoiser
from uadbench.engine.networks.checkpoint import load_denoiser
from uadbench.engine.sealed import read_entry, seal
from uadbench.exporters.parity import relative_l2

NAME, TRT = "onnxruntime-tensorrt", "10.16.1.11"


def open_it(
    folder: Path,
    ort: FakeOnnxRuntime | None = None,
    precision: str = "fp32",
    facts: Facts = FACTS,
    trt: str = TRT,
    **more: Any,
) -> GpuSessionDenoiser:
    ort, gpu = ort or FakeOnnxRuntime(), CpuDevice(facts=facts)
    ort.preload_dlls()
    source = make_engine_source(folder) if precision == "fp32" else relabelled_source(folder, precision)
    artifact = read_artifact(source)
    module = FakeTensorRt(trt)
    return ProviderEngines(ort, module, artifact, precision, gpu, 2, folder / "engines", **more).open()


def built(ort: FakeOnnxRuntime) -> list[str]:
    return [call for call in ort.calls if call.startswith(("build", "load"))]


def entry_of(folder: Path) -> Path:
    (found,) = (folder / "engines").glob(f"*/{ENGINES}")
    return found.parent


def test_a_session_computes_what_the_network_computes_for_every_batch_up_to_its_own(tmp_path: Path) -> None:
    model = load_denoiser(make_network(tmp_path))[0]
    denoiser = open_it(tmp_path)
    for size in (2, 1):
        x_t, t = tiny.inputs(size, seed=size)
        assert relative_l2(denoiser.denoise(x_t, t), model(x_t, t - 1)) < 1e-5


def test_an_engine_is_built_once_and_loaded_from_a_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    ort, told = FakeOnnxRuntime(), []
    for _ in range(2):
        denoiser = open_it(tmp_path, ort, say=told.append)
        assert denoiser.describe()["engine"] == "the kept one"
    assert built(ort) == ["build", "load", "load"]
    assert told == [
        "building an engine by ONNX Runtime's TensorRT provider, fp32, for NVIDIA Test 1: once, it is then kept"
    ]
    store = tmp_path / "engines"
    assert not list(store.rglob("*.engine")), "nothing lies open for the provider to load"
    assert not [path for path in store.iterdir() if path.name.startswith(".partial")]
    if os.name == "posix":
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (store, *store.rglob("*"))}
        assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items()), modes


def altered(entry: Path) -> None:
    data = (entry / ENGINES).read_bytes()
    (entry / ENGINES).write_bytes(data.replace(b"ENGINE ", b"EVIL!! "))


def altered_and_sealed_by_a_stranger(entry: Path) -> None:
    altered(entry)
    parts = {part: (entry / part).read_bytes() for part in (ENGINES, RECORD)}
    (entry / "seal").write_text(seal(b"guess" * 8, entry.name, parts))


@pytest.mark.parametrize(
    "damage",
    [
        altered,
        altered_and_sealed_by_a_stranger,
        pytest.param(lambda entry: (entry / RECORD).write_text("{}"), id="record"),
        pytest.param(lambda entry: (entry / "seal").unlink(), id="no seal"),
        pytest.param(lambda entry: (entry / ENGINES).chmod(0o666), id="open to others"),
    ],
)
def test_an_engine_that_is_not_as_this_user_left_it_is_built_again_before_a_session_sees_it(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    open_it(tmp_path)
    damage(entry_of(tmp_path))
    ort = FakeOnnxRuntime()
    open_it(tmp_path, ort)  # the fake refuses to load anything that it has not written itself
    assert [call.split()[0] for call in built(ort)] == ["build", "load"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"precision": "fp16"}, id="file"),
        pytest.param({"trt": "10.17.0"}, id="TensorRT"),
        pytest.param({"ort": FakeOnnxRuntime(version="1.31.2")}, id="ONNX Runtime"),
        pytest.param({"facts": Facts("NVIDIA Test 2", (8, 9), "580.65.06", "13.0", 8 << 30)}, id="GPU"),
        pytest.param({"facts": Facts("NVIDIA Test 1", (8, 9), "581.00", "13.0", 8 << 30)}, id="driver"),
        pytest.param({"facts": Facts("NVIDIA Test 1", (8, 9), "580.65.06", "13.0", 4 << 30)}, id="memory"),
    ],
)
def test_whatever_decides_an_engine_has_an_engine_of_its_own(tmp_path: Path, change: dict[str, Any]) -> None:
    open_it(tmp_path)
    ort = change.get("ort") or FakeOnnxRuntime()
    open_it(tmp_path, **{"ort": ort} | change)
    assert [call.split()[0] for call in built(ort)] == ["build", "load"]
    assert len(list((tmp_path / "engines").glob(f"*/{ENGINES}"))) == 2


def test_the_times_of_kernels_serve_the_next_build_and_stand_under_the_seal_too(tmp_path: Path) -> None:
    open_it(tmp_path)
    ort = FakeOnnxRuntime()
    open_it(tmp_path, ort, "fp16")
    assert built(ort) == ["build with times", "load"]
    (times,) = (tmp_path / "engines").glob("times-*")
    kept = read_entry(times, (TIMES,))
    assert kept is not None
    assert list(contents(kept[TIMES]).values()) == [b"times"]
    (times / TIMES).write_bytes(b"of a stranger")
    ort = FakeOnnxRuntime()
    open_it(tmp_path, ort, "bf16")
    assert built(ort) == ["build", "load"]


def test_an_engine_that_the_provider_does_not_take_is_built_once_more(tmp_path: Path) -> None:
    open_it(tmp_path)
    ort = FakeOnnxRuntime(("stale",))
    assert open_it(tmp_path, ort).describe()["engine"] == "the kept one"
    assert [call.split()[0] for call in built(ort)] == ["build", "load"]
    ort, told = FakeOnnxRuntime(("other name",)), []
    assert (
        open_it(tmp_path, ort, say=told.append).describe()["engine"]
        == "built anew, as the kept one was not taken"
    )
    assert "did not take the engine that is kept for it and built another" in told[-1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "build",
            f"cannot open the network on {TENSORRT}: TensorRT EP failed to create engine from network.; use",
        ),
        ("no engine", "kept no engine of what it ran; use --backends tensorrt"),
        ("cpu nodes", "assigned to the default CPU EP"),
        ("placement", f"would run 2 Shape, 1 Resize on CPUExecutionProvider, not on {TENSORRT}"),
        ("provider", f"could not start {TENSORRT}"),
        ("run", f"cannot run the network on {TENSORRT}"),
    ],
)
def test_whatever_fails_is_one_line_and_nothing_is_kept(tmp_path: Path, fault: str, message: str) -> None:
    with pytest.raises(BackendError, match=message) as error:
        open_it(tmp_path, FakeOnnxRuntime((fault,)))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "engines").rglob(ENGINES))


def test_no_precision_is_asked_for_so_that_the_files_own_holds(tmp_path: Path) -> None:
    ort = FakeOnnxRuntime()
    record = json.loads(json.dumps(open_it(tmp_path, ort, "fp16").describe()))
    options = record["provider_options"]
    assert {options[f"trt_{kind}_enable"] for kind in ("fp16", "bf16", "int8")} == {"False"}
    assert options["trt_cuda_graph_enable"] == "True"
    assert options["trt_max_workspace_size"] == str(FACTS.memory // 2)
    assert ort.sessions[-1].choices["user_compute_stream"] == str(CpuDevice.handle)
    assert (record["tensorrt"], record["provider"], record["cuda_graph"]) == (TRT, TENSORRT, "yes")
    assert record["nodes_by_provider"] == {TENSORRT: 3}
    assert record["build_seconds"] >= 0


def test_the_switch_against_tf32_is_part_of_an_engines_key_and_of_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    assert open_it(tmp_path).describe()["tf32"] == "where the file leaves products in fp32"
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    ort = FakeOnnxRuntime()
    assert open_it(tmp_path, ort).describe()["tf32"] is False
    assert [call.split()[0] for call in built(ort)] == ["build", "load"]


def test_what_is_missing_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = r"pip install 'uadbench\[onnxruntime-tensorrt\]'"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendError, match=rf"onnxruntime cannot be imported .*{remedy}"):
        check_backend(NAME, "fp16", "cuda")
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeOnnxRuntime())
    for version, reason in (
        ("10.13.3", "is too old, 10.14 is needed"),
        ("11.4.0", "needs tensorrt 10, not 11.4.0"),
    ):
        monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt(version))
        with pytest.raises(BackendError, match=f"{reason}; .*{remedy}"):
            check_backend(NAME, "fp16", "cuda")
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt(TRT))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    check_backend(NAME, "fp16", "cuda")
    with pytest.raises(BackendError, match=r"would compute fp32 in TF32.* set NVIDIA_TF32_OVERRIDE=0 in the"):
        check_backend(NAME, "fp32", "cuda")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    check_backend(NAME, "fp32", "cuda")
    with pytest.raises(BackendError, match=f"{NAME} runs on cuda, not on 'cpu'"):
        check_backend(NAME, "fp16", "cpu")


def test_the_provider_must_be_in_the_package_that_is_installed() -> None:
    with pytest.raises(
        BackendError, match=rf"this onnxruntime has no {TENSORRT}; uninstall onnxruntime, then"
    ):
        check_backend(NAME, "fp16", "cuda")


def test_the_back_end_is_opened_by_its_name_and_says_when_it_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, told = relabelled_source(tmp_path, "fp16"), []  # before torch is told of a GPU that is not there
    monkeypatch.setitem(sys.modules, "onnxruntime", FakeOnnxRuntime())
    monkeypatch.setitem(sys.modules, "tensorrt", FakeTensorRt(TRT))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(backend, "CudaDevice", lambda name: CpuDevice())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert BACKENDS[NAME].slow
    denoiser = open_backend(NAME, source, "fp16", "cuda", batch_size=2, say=told.append)
    assert denoiser.name == NAME
    assert denoiser.denoise(*tiny.inputs(2)).shape == (2, 1, 32, 32)
    assert len(told) == 1
    with pytest.raises(BackendError, match="is exported in fp16, bf16 is needed"):
        open_backend(NAME, source, "bf16", "cuda", batch_size=2)
