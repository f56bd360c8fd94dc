"""The exported U-Net as a TensorRT engine: kept buffers, a stream of its own, one CUDA graph a call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact, feed
from uadbench.engine.backends.cuda_device import CudaDevice, record
from uadbench.engine.backends.engine_cache import Engine, cached_engine, engine_store
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.kept import load
from uadbench.engine.backends.tensorrt_build import Recipe
from uadbench.engine.backends.tensorrt_layers import contradiction, count_types
from uadbench.engine.backends.tensorrt_library import Library, failure, make_log

__all__ = ["TensorRtDenoiser"]

OUTPUT = "eps"


class TensorRtDenoiser:
    """One exported U-Net on one GPU, for batches of up to one size; smaller ones are padded.

    trt : the module, see ``tensorrt_library.load``
    artifact : exported in ``precision``, for fp32 with plain attention
    batch_size : where the artifact leaves it open
    cache : folder of engines, the user's cache where None
    say : is told before an engine is built

    Raises BackendError wherever the library fails, or built another precision than asked for.
    """

    def __init__(
        self,
        library: Library,
        trt: Any,
        artifact: Artifact,
        precision: str,
        device: CudaDevice,
        batch_size: int = 1,
        cache: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        exported = artifact.manifest.get("precision", "fp32")
        if exported != precision:
            raise BackendError(
                f"{artifact.path}: is exported in {exported}, {precision} is needed; export it in {precision}"
            )
        self.name, self.device, self.precision = library.name, str(device.device), precision
        self._library, self._trt, self._artifact, self._gpu = library, trt, artifact, device
        self._log, self._batch = make_log(trt), artifact.batch or batch_size
        self._facts = device.facts()
        self._shapes = {i["name"]: (self._batch, *i["shape"][1:]) for i in artifact.manifest["inputs"]}
        with device.selected():
            self._runtime, self._loaded, self._entry = self._load(cache, say)
            self._check_tensors()
            self._layers = self._inspect()
            self._context = self._start()
            self._launch, self._graph = self._record()

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``; the answer is on the GPU."""
        count = x_t.shape[0]
        if count > self._batch:
            raise BackendError(
                f"this engine takes batches of up to {self._batch}, not {count}; open it for a larger one"
            )
        inputs = feed(self._artifact, x_t, t, cond)
        with self._gpu.queued():
            load(self._buffers, inputs)
            self._launch()
        # Copied, because the next call writes to the same memory.
        return self._buffers[OUTPUT][:count].clone()

    def synchronize(self) -> None:
        """Wait for what is queued on the GPU."""
        self._gpu.synchronize()

    def close(self) -> None:
        """Drop graph, context, engine and buffers, in this order."""
        self._gpu.synchronize()
        del self._launch, self._context, self._loaded, self._runtime
        self._buffers.clear()

    def describe(self) -> dict[str, Any]:
        """What was really built and for what, whether calls are launched as a CUDA graph, versions and hashes."""
        manifest, record, facts = self._artifact.manifest, self._entry.record, self._facts
        return {
            "provider": f"{self._library.title} engine",
            self._library.module: str(self._trt.__version__),
            "gpu": facts.gpu,
            "compute_capability": "{}.{}".format(*facts.capability),
            "driver": facts.driver,
            "cuda": facts.cuda,
            "layers_by_precision": self._layers or {"not told": self._loaded.num_layers},
            "convolutions": dict(record["convolutions"]),
            "cuda_graph": self._graph,
            "tf32": False,
            "workspace_mib": record["key"]["recipe"]["workspace"] >> 20,
            "optimization_level": record["key"]["recipe"]["optimization_level"],
            "build_seconds": record["build_seconds"],
            "batch": self._batch,
            "opset": manifest["opset"],
            "artifact_sha256": manifest["sha256"],
            "checkpoint_sha256": manifest["source"]["sha256"],
        }

    def _load(self, cache: Path | None, say: Callable[[str], None] | None) -> tuple[Any, Any, Engine]:
        """(runtime, engine, its cache entry); an entry that the library does not take is built once more."""
        recipe = Recipe(self.precision, self._shapes, self._facts.capability, self._facts.memory // 2)
        shared = self._trt, self._library, self._artifact.data, recipe, self._facts, engine_store(cache), say
        entry = cached_engine(*shared)
        try:
            runtime = self._trt.Runtime(self._log.logger)
        except TypeError as error:
            raise failure(self._library, "cannot start its runtime", self._log) from error
        engine = runtime.deserialize_cuda_engine(entry.plan)
        if engine is None and not entry.fresh:
            self._log.take()
            entry = cached_engine(*shared, anew=True)
            engine = runtime.deserialize_cuda_engine(entry.plan)
        if engine is None:
            raise failure(self._library, "cannot load the engine that it built", self._log)
        return runtime, engine, entry

    def _check_tensors(self) -> None:
        names = {self._loaded.get_tensor_name(i) for i in range(self._loaded.num_io_tensors)}
        if names != {*self._shapes, OUTPUT}:
            raise BackendError(
                f"{self._library.title} built an engine of tensors {sorted(names)}, not of "
                f"{sorted({*self._shapes, OUTPUT})}; export the network again"
            )

    def _inspect(self) -> dict[str, int]:
        """The engine's layers by precision, which must not contradict what was asked for."""
        inspector = self._loaded.create_engine_inspector()
        text = (
            ""
            if inspector is None
            else inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        )
        counts = count_types(text or "")
        wrong = contradiction(counts, self.precision)
        if wrong is not None:
            raise BackendError(
                f"{self._library.title} built an engine with {wrong} where {self.precision} was asked for; "
                "use another --precision or --backends"
            )
        return counts

    def _start(self) -> Any:
        """An execution context that reads and writes buffers of torch."""
        context = self._loaded.create_execution_context()
        if context is None:
            raise failure(self._library, "cannot make an execution context", self._log)
        dtypes = {i["name"]: getattr(torch, i["dtype"]) for i in self._artifact.manifest["inputs"]}
        self._buffers = {name: self._gpu.zeros(shape, dtypes[name]) for name, shape in self._shapes.items()}
        self._buffers[OUTPUT] = self._gpu.zeros(self._shapes["x"], torch.float32)
        for name, shape in self._shapes.items():
            if not context.set_input_shape(name, shape):
                raise failure(self._library, f"takes no {name} of shape {list(shape)}", self._log)
        for name, buffer in self._buffers.items():
            if not context.set_tensor_address(name, buffer.data_ptr()):
                raise failure(self._library, f"takes no memory for {name}", self._log)
        return context

    def _record(self) -> tuple[Callable[[], None], str]:
        """(what queues one call, whether it is a CUDA graph); without one the same kernels are launched one by one."""

        def refusal() -> str:
            capturable = getattr(self._context, "is_stream_capturable", None)  # of TensorRT for RTX
            return (
                ""
                if capturable is None or capturable(self._gpu.handle)
                else "the library cannot record this engine"
            )

        launch, told = record(self._gpu, self._execute, refusal=refusal)
        if told != "yes":
            self._log.take()
        return launch, told

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._gpu.handle):
            raise failure(self._library, "cannot run the engine", self._log)
