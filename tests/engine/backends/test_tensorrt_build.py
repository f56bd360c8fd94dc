"""TensorRT for RTX really reads our exports and builds engines of them; that needs neither GPU nor driver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.fake_tensorrt import FakeTensorRt
from support.rtx import trt
from support.tiny_engines import engine_source, recipe_of

from uadbench.engine.backends import BackendError
from uadbench.engine.backends import tensorrt_build as module
from uadbench.engine.backends.tensorrt_build import Recipe, build
from uadbench.engine.backends.tensorrt_library import RTX, TENSORRT, failure, make_log


def test_an_exported_network_becomes_an_engine_that_the_library_knows_for_its_own(tmp_path: Path) -> None:
    artifact = engine_source(tmp_path)
    built = build(trt, RTX, artifact.data, recipe_of(artifact))
    assert built.convolutions == {"fp32": artifact.manifest["operators"]["Conv"]}
    runtime = trt.Runtime(make_log(trt).logger)
    # A plan tells what it is in its first bytes: the library knows its own version, and refuses garbage as such.
    _, diagnosis = runtime.get_engine_validity(built.plan[: runtime.engine_header_size])
    _, garbage = runtime.get_engine_validity(bytes(runtime.engine_header_size))
    assert diagnosis != garbage
    assert len(built.plan) > 100_000


def test_the_builder_is_told_no_tf32_detailed_layers_one_profile_and_one_gpu(tmp_path: Path) -> None:
    artifact, log = engine_source(tmp_path), make_log(trt)
    builder = trt.Builder(log.logger)
    assert builder.create_builder_config().get_flag(trt.BuilderFlag.TF32), "it is on unless cleared"
    config = module._configure(trt, RTX, builder, recipe_of(artifact), log)
    assert not config.get_flag(trt.BuilderFlag.TF32)
    assert config.flags == 0
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 1 << 30
    assert config.num_optimization_profiles == 1
    assert config.num_compute_capabilities == 1
    assert config.get_compute_capability(0) == trt.ComputeCapability.SM89


def refused(data: bytes, asked: Recipe, match: str) -> None:
    with pytest.raises(BackendError, match=match) as error:
        build(trt, RTX, data, asked)
    assert "\n" not in str(error.value)


def test_what_cannot_be_built_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    artifact = engine_source(tmp_path)
    refused(b"garbage", recipe_of(artifact), r"cannot read the exported network: .*Failed to parse the ONNX")
    refused(
        artifact.data, recipe_of(artifact, "fp16"), r"convolutions are \{'fp32': \d+\}, fp16 was asked for"
    )
    mixed = recipe_of(artifact, "fp16", mixed=True)  # fp32 may be there, but not alone
    refused(artifact.data, mixed, r"convolutions are \{'fp32': \d+\}, fp16 was asked for")
    refused(
        artifact.data,
        recipe_of(artifact, capability=(9, 0)),
        r"runs on compute capability 7\.5, .*12\.1, this GPU has 9\.0; use --backends tensorrt$",
    )


@pytest.mark.slow
def test_fp32_with_the_attention_operator_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Why engines in fp32 are given attention written out."""
    artifact = engine_source(tmp_path, fused=True)
    assert artifact.manifest["operators"]["Attention"]
    refused(artifact.data, recipe_of(artifact), r"cannot build a fp32 engine: .*needs plain attention here")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a driver here")
def test_without_a_driver_an_engine_is_not_loaded_and_the_driver_is_named() -> None:
    log = make_log(trt)
    builder = trt.Builder(log.logger)
    network = builder.create_network(1)
    entry = network.add_input("x", trt.DataType.FLOAT, (1, 4))
    network.mark_output(network.add_activation(entry, trt.ActivationType.RELU).get_output(0))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    assert trt.Runtime(log.logger).deserialize_cuda_engine(bytes(plan)) is None
    error = failure(RTX, "cannot load the engine that it built", log)
    assert "CUDA driver version is insufficient" in str(error)
    assert str(error).endswith("; install or update the NVIDIA driver")


@pytest.mark.filterwarnings("ignore:.*no-ops in TensorRT-RTX")
def test_times_of_kernels_of_another_library_are_not_taken() -> None:
    log = make_log(trt)
    config = trt.Builder(log.logger).create_builder_config()
    kept = module._timing_cache(replace(RTX, timing=True), config, b"of something else", log)
    assert kept is not None
    assert len(bytes(config.get_timing_cache().serialize())) > 0
    assert module._timing_cache(RTX, config, b"", log) is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("start", "cannot start its builder: CUDA initialization failure with error: 35"),
        ("create_network", "cannot make a network: no network; "),
        ("network's constructor", "cannot make a network: no network's constructor; "),
        ("OnnxParser", "cannot start its parser: no OnnxParser; "),
        ("create_builder_config", "cannot make a builder's configuration: no config; "),
        ("profile", "cannot make a profile of shapes: no profile; "),
        ("set_shape", r"takes no shape \[2, 1, 32, 32\] for x: the shapes are inconsistent; "),
        ("add_optimization_profile", "takes no profile of "),
        ("new_timing_cache", "cannot make a store of times: no cache; "),
        ("set_timing_cache", "does not take an empty store of times: not set; "),
        ("build", "cannot build a fp32 engine: Error Code 2: OutOfMemory"),
        ("get_timing_cache", "does not give the times of kernels back: no times; "),
        ("serialize", "cannot write the times of kernels: no bytes; "),
    ],
)
def test_every_way_to_fail_is_one_clear_line(tmp_path: Path, fault: str, message: str) -> None:
    """None, False, a null pointer or a ValueError: whatever a call fails by. The old times are of something else."""
    artifact, fake = engine_source(tmp_path), FakeTensorRt(faults=(fault,))
    with pytest.raises(BackendError, match=f"^TensorRT {message}") as error:
        build(fake, TENSORRT, artifact.data, recipe_of(artifact), b"of something else")
    assert "\n" not in str(error.value)
