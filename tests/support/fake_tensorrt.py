"""TensorRT's Python API without a GPU: same names, same ways to fail, and an engine that computes with ONNX Runtime.

Like the library it raises nothing: it returns None, False, -1 or raises a TypeError about a null pointer, and logs why.
Its engines read and write the memory behind the addresses they were given, nothing else.
"""

from __future__ import annotations

import ctypes
import json
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from support.fake_tensorrt_names import DataType, ILogger, LayerType, Severity

MAGIC = b"PLAN\n"


class FakeTensorRt:
    """The module.

    faults : names of calls that fail
    calls : what was called, in order
    layers : the inspector's text, where it is not made from the network
    """

    ILogger = ILogger
    LayerType = LayerType
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    BuilderFlag = SimpleNamespace(TF32="tf32")
    LayerInformationFormat = SimpleNamespace(JSON="json")
    ComputeCapability = Enum("ComputeCapability", ["CURRENT", "NONE", "SM75", "SM89", "SM120"])

    def __init__(self, version: str = "11.4.0.106", faults: tuple[str, ...] = ()) -> None:
        self.__version__ = version
        self.faults, self.calls, self.layers = set(faults), [], None
        self.recording = False  # a graph is being recorded: what is queued does not run

    def fails(self, call: str, log: ILogger, reason: str) -> bool:
        self.calls.append(call)
        if call in self.faults:
            log.log(Severity.ERROR, reason)
            return True
        return False

    def Builder(self, log: ILogger) -> Builder:
        return Builder(self, _logger(self, log))

    def Runtime(self, log: ILogger) -> Runtime:
        return Runtime(self, _logger(self, log))

    def OnnxParser(self, network: Network, log: ILogger) -> Parser:
        _constructed(self, log, "OnnxParser")
        return Parser(self, network, log)


def _logger(trt: FakeTensorRt, log: ILogger) -> ILogger:
    """As with pybind: an object that is not initialised, or a failing constructor, is a TypeError."""
    log.log(Severity.INFO, "not kept")
    if trt.fails(
        "start", log, "CUDA initialization failure with error: 35. Please check your CUDA installation"
    ):
        raise TypeError("pybind11::init(): factory function returned nullptr")
    return log


def _constructed(trt: FakeTensorRt, log: ILogger, name: str) -> None:
    """As with pybind: a constructor that returns a null pointer is a TypeError."""
    if trt.fails(name, log, f"no {name}"):
        raise TypeError("pybind11::init(): factory function returned nullptr")


class Builder:
    def __init__(self, trt: FakeTensorRt, log: ILogger) -> None:
        self._trt, self._log = trt, log

    def create_network(self, flags: int) -> Network | None:
        assert flags == 1 << 1, "the network is to be strongly typed"
        _constructed(self._trt, self._log, "network's constructor")
        return None if self._trt.fails("create_network", self._log, "no network") else Network()

    def create_builder_config(self) -> Config | None:
        failed = self._trt.fails("create_builder_config", self._log, "no config")
        return None if failed else Config(self._trt, self._log)

    def create_optimization_profile(self) -> Profile | None:
        return None if self._trt.fails("profile", self._log, "no profile") else Profile(self._trt)

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        if self._trt.fails(
            "build", self._log, "Error Code 2: OutOfMemory (Requested size was 4299604032 bytes.)"
        ):
            return None
        attends = any(node.op_type == "Attention" for node in network.model.graph.node)
        if attends and "FLOAT" in network.types:
            self._log.log(Severity.ERROR, "Attention operation was not supported by a dedicated kernel.")
            return None
        assert "tf32" in config.cleared
        assert config.profiling_verbosity == "detailed"
        head = {"shapes": config.profiles[0].shapes, "types": network.types, "timing": config.timing.hex()}
        return MAGIC + json.dumps(head).encode() + b"\n" + network.model.SerializeToString()


class Network:
    def __init__(self) -> None:
        self.model, self.types = onnx.ModelProto(), []

    @property
    def num_layers(self) -> int:
        return len(self.types) + 1

    def get_layer(self, index: int) -> SimpleNamespace:
        """The convolutions, and one layer of another kind before them."""
        kind = LayerType.CONVOLUTION if index else LayerType.OTHER
        dtype = DataType[self.types[index - 1]] if index else DataType.FLOAT
        return SimpleNamespace(type=kind, get_output=lambda _: SimpleNamespace(dtype=dtype))


class Profile:
    def __init__(self, trt: FakeTensorRt) -> None:
        self._trt = trt
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_shape(self, name: str, least: Any, usual: Any, largest: Any) -> None:
        assert least == usual == largest
        if "set_shape" in self._trt.faults:
            raise ValueError("the shapes are inconsistent")
        self.shapes[name] = least


class Config:
    """Holds what it is given."""

    def __init__(self, trt: FakeTensorRt, log: ILogger) -> None:
        self._trt, self._log = trt, log
        self.cleared, self.profiles, self.capability = set(), [], None
        self.timing, self.profiling_verbosity = b"", None

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        assert pool == "workspace"
        assert size > 0

    def clear_flag(self, flag: str) -> None:
        self.cleared.add(flag)

    def set_compute_capability(self, capability: Any, index: int) -> bool:
        self.capability = capability
        return "set_compute_capability" not in self._trt.faults

    def add_optimization_profile(self, profile: Profile) -> int:
        if "add_optimization_profile" in self._trt.faults:
            return -1
        self.profiles.append(profile)
        return 0

    def create_timing_cache(self, data: bytes) -> bytes | None:
        if not data and self._trt.fails("new_timing_cache", self._log, "no cache"):
            return None
        return None if data and "create_timing_cache" in self._trt.faults else data

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if not cache and self._trt.fails("set_timing_cache", self._log, "not set"):
            return False
        self.timing = cache
        return not cache or cache.startswith(b"times")

    def get_timing_cache(self) -> SimpleNamespace | None:
        if self._trt.fails("get_timing_cache", self._log, "no times"):
            return None
        return SimpleNamespace(serialize=self._serialize)

    def _serialize(self) -> bytes | None:
        if self._trt.fails("serialize", self._log, "no bytes"):
            return None
        return self.timing if self.timing.startswith(b"times") else b"times"


class Parser:
    def __init__(self, trt: FakeTensorRt, network: Network, log: ILogger) -> None:
        self._trt, self._network, self._log, self._errors = trt, network, log, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> str:
        return self._errors[index]

    def parse(self, data: bytes) -> bool:
        if self._trt.fails("parse", self._log, "no"):
            self._errors = [f"In node {i} (importNode): UNSUPPORTED_NODE: Einsum" for i in range(5)]
            return False
        model = onnx.load_model_from_string(data)
        kinds = {
            tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type)
            for tensor in model.graph.initializer
        }
        names = {"FLOAT": "FLOAT", "FLOAT16": "HALF", "BFLOAT16": "BF16"}
        weights = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
        self._network.model, self._network.types = model, [names[kinds[weight]] for weight in weights]
        return True


class Runtime:
    def __init__(self, trt: FakeTensorRt, log: ILogger) -> None:
        self._trt, self._log = trt, log

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        assert plan.startswith(MAGIC), "an engine that was altered came to be loaded"
        if self._trt.fails(
            "deserialize", self._log, "Error Code 1: Serialization (Version tag does not match)"
        ):
            return None
        return Engine(self._trt, self._log, plan)


class Engine:
    def __init__(self, trt: FakeTensorRt, log: ILogger, plan: bytes) -> None:
        head, self._onnx = plan.removeprefix(MAGIC).split(b"\n", 1)
        self._trt, self._log, self._head = trt, log, json.loads(head)
        self._names = [*self._head["shapes"], "eps" if "tensors" not in trt.faults else "x_rec"]
        self.num_io_tensors, self.num_layers = len(self._names), len(self._head["types"])

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def create_engine_inspector(self) -> SimpleNamespace | None:
        if "create_engine_inspector" in self._trt.faults:
            return None
        text = self._trt.layers
        if text is None:
            told = {"FLOAT": "Row major linear FP32 format", "HALF": "Half", "BF16": "BFloat16"}
            outputs = [[{"Name": "y", "Format/Datatype": told[kind]}] for kind in self._head["types"]]
            text = json.dumps({"Layers": [{"Name": "conv", "Outputs": value} for value in outputs]})
        return SimpleNamespace(get_engine_information=lambda format: text)

    def create_execution_context(self) -> Context | None:
        if self._trt.fails("create_execution_context", self._log, "Error Code 2: OutOfMemory (no context)"):
            return None
        return Context(self._trt, self._log, self._onnx, self._head["shapes"])


class Context:
    """Computes with ONNX Runtime, from and to the addresses."""

    def __init__(self, trt: FakeTensorRt, log: ILogger, data: bytes, shapes: dict[str, list[int]]) -> None:
        self._trt, self._log, self._shapes = trt, log, shapes
        self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self._addresses: dict[str, int] = {}
        if trt.__version__.startswith("1."):  # TensorRT for RTX alone has it
            self.is_stream_capturable = lambda handle: "is_stream_capturable" not in trt.faults

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        failed = self._trt.fails("set_input_shape", self._log, "out of the profile")
        return not failed and list(shape) == self._shapes[name]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return not self._trt.fails("set_tensor_address", self._log, "misaligned")

    def execute_async_v3(self, handle: int) -> bool:
        if self._trt.fails("execute", self._log, "Error Code 1: Cuda Runtime (an illegal memory access)"):
            return False
        if self._trt.recording:
            self._trt.calls.append("recorded")
            return True
        inputs = {entry.name: self._at(entry.name, entry.type) for entry in self._session.get_inputs()}
        (eps,) = self._session.run(["eps"], inputs)
        ctypes.memmove(self._addresses["eps"], eps.ctypes.data, eps.nbytes)
        return True

    def _at(self, name: str, kind: str) -> np.ndarray:
        dtype = np.dtype({"tensor(float)": np.float32, "tensor(int64)": np.int64}[kind])
        shape = self._shapes[name]
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype=dtype).reshape(shape).copy()
