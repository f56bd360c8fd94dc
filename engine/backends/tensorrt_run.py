"""The exported U-Net as a TensorRT engine: kept buffers, a stream of its own, one CUDA graph a call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact, check_precision, read_artifact
from uadbench.engine.backends.cuda_device import CudaDevice, record
from uadbench.engine.backends.engine_cache import Engine, cached_engine, engine_store
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.static_buffers import OUTPUT, StaticBuffers
from uadbench.engine.backends.tensorrt_build import Recipe
from uadbench.engine.backends.tensorrt_layers import contradiction, count_types
from uadbench.engine.backends.tensorrt_library import Library, failure, load, make_log

__all__ = ["TensorRtDenoiser", "open_engine"]


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
        check_precision(artifact, precision)
        self.name, self.device, self.precision = library.name, str(device.device), precision
        self._library, self._trt, self._artifact, self._gpu = library, trt, artifact, device
        self._log, self._facts = make_log(trt), device.facts()
        with device.selected():
            self._buffers = StaticBuffers(artifact, batch_size, device)
            self._runtime, self._loaded, self._entry = self._load(cache, say)
            self._check_tensors()
            self._layers = self._inspect()
            self._context = self._start()
            self._launch, self._graph = self._record()

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``; the answer is on the GPU."""
        return self._buffers.call(self._launch, x_t, t, cond)

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
            "batch": self._buffers.batch,
            "opset": manifest["opset"],
            "artifact_sha256": manifest["sha256"],
            "checkpoint_sha256": manifest["source"]["sha256"],
        }

    def _load(self, cache: Path | None, say: Callable[[str], None] | None) -> tuple[Any, Any, Engine]:
        """(runtime, engine, its cache entry); an entry that the library does not take is built once more."""
        recipe = Recipe(self.precision, self._buffers.shapes, self._facts.capability, self._facts.memory // 2)
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
        if names != {*self._buffers.shapes, OUTPUT}:
            raise BackendError(
                f"{self._library.title} built an engine of tensors {sorted(names)}, not of "
                f"{sorted({*self._buffers.shapes, OUTPUT})}; export the network again"
            )

    def _inspect(self) -> dict[str, int]:
        """The engine's layers by precision, which must not contradict what was asked for."""
        inspector = self._loaded.create_engine_inspector()
        if inspector is None:
            raise failure(self._library, "cannot inspect the engine", self._log)
        text = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        if not text:
            raise failure(self._library, "tells nothing of the engine's layers", self._log)
        counts = count_types(text)
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
        for name, shape in self._buffers.shapes.items():
            if not context.set_input_shape(name, shape):
                raise failure(self._library, f"takes no {name} of shape {list(shape)}", self._log)
        for name, buffer in self._buffers.tensors.items():
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


def open_engine(
    library: Library,
    source: Path,
    precision: str,
    device: str,
    threads: int | None,
    batch_size: int,
    say: Callable[[str], None] | None = None,
) -> TensorRtDenoiser:
    """See ``backends.open_backend``; the first time an engine is built, which takes from seconds to many minutes."""
    trt, artifact = load(library), read_artifact(source)
    return TensorRtDenoiser(library, trt, artifact, precision, CudaDevice(device), batch_size, say=say)
