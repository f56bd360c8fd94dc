"""onnxruntime-gpu without a GPU: its names and ways to fail; sessions compute on the CPU, from and to bound addresses.

What it cannot do here raises as ONNX Runtime does; what it gives to another provider it tells when asked. TensorRT's
provider writes an engine and times to the folders that it is given, and loads whatever engine lies there.
"""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"
MAGIC = b"ENGINE "


class Fail(Exception):
    """As in ONNX Runtime, of no base class of its own."""


class FakeOnnxRuntime:
    """The module.

    faults : what goes wrong, see ``Session``
    sessions : that were made, in order
    calls : "build", "load", "run" and "bind NAME", in order
    """

    SessionOptions = onnxruntime.SessionOptions
    RunOptions = onnxruntime.RunOptions
    ExecutionMode = onnxruntime.ExecutionMode
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel

    def __init__(self, faults: tuple[str, ...] = (), version: str = "1.31.1") -> None:
        self.__version__, self.faults = version, set(faults)
        self.sessions: list[Session] = []
        self.calls: list[str] = []
        self.preloaded = False

    def get_available_providers(self) -> list[str]:
        return [TENSORRT, CUDA, "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        self.preloaded = True

    def InferenceSession(
        self, data: bytes, options: Any, providers: list[tuple[str, dict[str, str]]], enable_fallback: int
    ) -> Session:
        assert enable_fallback == 0, "it would go on with the CPU and only print so"
        assert self.preloaded, "the CUDA libraries are not on the loader's path"
        for key in ("session.disable_cpu_ep_fallback", "session.record_ep_graph_assignment_info"):
            assert options.get_session_config_entry(key) == "1"
        session = Session(self, data, *providers[0])
        self.sessions.append(session)
        return session


class Session:
    """Faults: "provider" (does not start), "cpu nodes" and "placement" (refused, or told), "graph" (refused), "record"
    (the graph fails while it is recorded), "run" (always), "no engine" and "other name" (see ``_engine``), "stale" (an
    engine that is there is not taken), "build"."""

    def __init__(self, module: FakeOnnxRuntime, data: bytes, name: str, choices: dict[str, str]) -> None:
        assert all(isinstance(value, str) for value in choices.values()), "options are strings"
        self.module, self.name, self.choices, self.data = module, name, choices, data
        self.graph = choices.get("enable_cuda_graph") == "1" or choices.get("trt_cuda_graph_enable") == "True"
        faults = module.faults
        if "cpu nodes" in faults:
            raise Fail(
                "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to the "
                "default CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
            )
        if "graph" in faults and self.graph:
            raise Fail("This session cannot use the graph capture feature as requested by the user")
        if name == TENSORRT:
            self._engine()
        self._session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def _engine(self) -> None:
        """As the provider does it: what lies in the folder is loaded, else an engine is built and written there."""
        folder, times = (Path(self.choices[f"trt_{kind}_cache_path"]) for kind in ("engine", "timing"))
        assert (folder.stat().st_mode & 0o777, times.stat().st_mode & 0o777) == (0o700, 0o700)
        mine = MAGIC + hashlib.sha256(self.data).hexdigest().encode()
        found = [path.read_bytes() for path in folder.glob("*.engine")]
        assert all(content == mine for content in found), "an engine that was altered came to be loaded"
        if found and "stale" in self.module.faults:
            self.module.faults.remove("stale")
            raise Fail("TensorRT EP could not deserialize engine from cache")
        if found and "other name" not in self.module.faults:
            self.module.calls.append("load")
            return
        if "build" in self.module.faults:
            raise Fail("TensorRT EP failed to create engine from network.\nand more")
        known = [path.read_bytes() for path in times.iterdir()]
        self.module.calls.append("build with times" if known else "build")
        if "no engine" not in self.module.faults:
            (folder / f"TRTKernel_{'1' if found else '0'}_sm89.engine").write_bytes(mine)
        (times / "TensorrtExecutionProvider_cache_sm89.timing").write_bytes(b"times")

    def get_providers(self) -> list[str]:
        return (
            ["CPUExecutionProvider"]
            if "provider" in self.module.faults
            else [self.name, "CPUExecutionProvider"]
        )

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {self.name: {**self.choices, "has_user_compute_stream": "1"}, "CPUExecutionProvider": {}}

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        parts = [(self.name, ["Conv", "Conv", "Attention"])]
        if "placement" in self.module.faults:
            parts.append(("CPUExecutionProvider", ["Shape", "Shape", "Resize"]))
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda k=kinds: [SimpleNamespace(op_type=x) for x in k])
            for name, kinds in parts
        ]

    def io_binding(self) -> Binding:
        return Binding(self.module)

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        self.module.calls.append("run")
        if "run" in self.module.faults or ("record" in self.module.faults and self.graph):
            raise Fail("CUDA failure 900: operation not permitted when stream is capturing\nand more")
        inputs = {name: value.read() for name, value in binding.inputs.items()}
        (eps,) = self._session.run(["eps"], inputs)
        ctypes.memmove(binding.outputs["eps"].address, eps.ctypes.data, eps.nbytes)


class Memory(SimpleNamespace):
    def read(self) -> np.ndarray:
        size = int(np.prod(self.shape)) * self.dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self.address)
        return np.frombuffer(memory, dtype=self.dtype).reshape(self.shape).copy()


class Binding:
    def __init__(self, module: FakeOnnxRuntime) -> None:
        self.inputs: dict[str, Memory] = {}
        self.outputs: dict[str, Memory] = {}
        self._module = module

    def bind_input(self, name: str, device: str, index: int, dtype: Any, shape: Any, address: int) -> None:
        assert (device, index) == ("cuda", 0)
        self._module.calls.append(f"bind {name}")
        self.inputs[name] = Memory(dtype=np.dtype(dtype), shape=shape, address=address)

    def bind_output(self, name: str, device: str, index: int, dtype: Any, shape: Any, address: int) -> None:
        assert (device, index) == ("cuda", 0)
        self._module.calls.append(f"bind {name}")
        self.outputs[name] = Memory(dtype=np.dtype(dtype), shape=shape, address=address)
