"""OpenVINO: the exported U-Net on the CPU in a precision and with a performance hint that are always explicit."""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.backends.artifacts import Artifact, check_precision, feed, read_artifact
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.form import IN_8_BITS

__all__ = ["PRECISIONS", "OpenVinoDenoiser", "check", "load_runtime", "open_denoiser"]

# What an int8 file leaves in floating point is fp32 in int8, bf16 in int8-bf16, which adds a third to the error, and is
# slower where a processor has no fast bf16.
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32", "int8-bf16": "bf16"}
INTEGERS = ("i8", "u8")
CONVOLUTIONS = ("Convolution", "Deconvolution")
PRECISIONS = tuple(HINTS)
# Constants and what only moves or renames data say nothing about the arithmetic.
SILENT = ("Const", "Input", "Output", "Reshape", "Reorder", "Convert")


class OpenVinoDenoiser:
    """One exported U-Net, compiled for each batch size that comes: fixed shapes run about 4 % faster here.

    threads : of its own pool; None takes torch's number, so that back ends are compared alike
    batch_size : compiled for at once, others when first asked for
    hint : "latency" is one stream with all threads, which computes the whole batch. "throughput" lets OpenVINO make
        streams that share the threads, each of which takes one image of the batch at a time

    Raises BackendError when the package is missing or the CPU cannot compute in the precision asked for.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        artifact: Artifact,
        precision: str = "fp32",
        device: str = "cpu",
        threads: int | None = None,
        batch_size: int = 1,
        hint: str = "latency",
    ) -> None:
        check(precision, device)
        # To bf16 it lowers by its own hint.
        check_precision(artifact, "int8" if precision in IN_8_BITS else "fp32")
        openvino = load_runtime()
        self.precision, self._hint = precision, hint
        self._artifact, self._openvino = artifact, openvino
        self._threads = threads or torch.get_num_threads()
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(artifact.data)
        except RuntimeError as error:
            line = str(error).strip().splitlines()[-1]
            raise BackendError(
                f"openvino cannot read {artifact.path.name}: {line}; export it again, or use --backends torch"
            ) from error
        # OpenVINO drops inputs that nothing depends on, such as the VAE's timesteps, and refuses them after.
        self._taken = {name for port in self._model.inputs for name in port.names}
        self._compiled: dict[int, Any] = {}
        self._requests: dict[int, Any] = {}
        self._request(self._size(batch_size))

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """See ``interfaces.Denoiser``."""
        if self._hint == "throughput":
            return self._in_streams(x_t, t, cond)
        inputs, count = self._feed(x_t, t, cond), x_t.shape[0]
        request = self._request(len(inputs["x"]))
        # Inputs are copied into the request's own memory: to be handed other memory costs it time.
        request.infer(inputs, share_outputs=True)
        # Copied, because the request writes its next answer to the same memory.
        return torch.from_numpy(request.get_output_tensor().data[:count].copy())

    def _in_streams(self, x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        """Parts of one image, or of a fixed batch, by as many requests as OpenVINO thinks best."""
        size = self._size(1)
        queue, found = self._request(size), {}

        def keep(request: Any, start: int) -> None:
            found[start] = torch.from_numpy(request.get_output_tensor().data.copy())

        queue.set_callback(keep)
        for start in range(0, len(x_t), size):
            part = (None if value is None else value[start : start + size] for value in (x_t, t, cond))
            queue.start_async(self._feed(*part), start)  # type: ignore[arg-type]
        queue.wait_all()
        return torch.cat([found[start] for start in sorted(found)])[: len(x_t)]

    def _feed(self, x_t: Tensor, t: Tensor, cond: Tensor | None) -> dict[str, Any]:
        inputs = feed(self._artifact, x_t, t, cond)
        return {name: value.numpy() for name, value in inputs.items() if name in self._taken}

    def synchronize(self) -> None:
        """Nothing is queued: a call returns when it is done."""

    def close(self) -> None:
        """Drop the compiled networks and their threads."""
        self._requests.clear()
        self._compiled.clear()
        del self._model, self._core

    def describe(self) -> dict[str, Any]:
        """Device, the precision that was really compiled, threads, versions and hashes."""
        manifest = self._artifact.manifest
        compiled = next(iter(self._compiled.values()))
        return {
            "provider": f"OpenVINO {', '.join(compiled.get_property('EXECUTION_DEVICES'))}",
            "openvino": self._openvino.__version__,
            "device_name": self._core.get_property("CPU", "FULL_DEVICE_NAME"),
            "threads": compiled.get_property("INFERENCE_NUM_THREADS"),
            "streams": compiled.get_property("NUM_STREAMS"),
            "performance_hint": self._hint,
            "pinning": compiled.get_property("ENABLE_CPU_PINNING"),
            "precision_hint": HINTS[self.precision],
            "layers_by_precision": _precisions(compiled, SILENT),
            "compiled_batches": sorted(self._compiled),
            "opset": manifest["opset"],
            "batch": manifest["batch"],
            "artifact_sha256": manifest["sha256"],
            "checkpoint_sha256": manifest["source"]["sha256"],
        }

    def _size(self, batch: int) -> int:
        """What it is compiled for, to take batches of that size."""
        return self._artifact.batch or (1 if self._hint == "throughput" else batch)

    def _request(self, batch: int) -> Any:
        """What computes a batch of that size: a request, or in streams a queue of them."""
        if batch not in self._requests:
            model = self._model.clone()
            inputs = (one for one in self._artifact.manifest["inputs"] if one["name"] in self._taken)
            try:
                model.reshape({one["name"]: [batch, *one["shape"][1:]] for one in inputs})
                compiled = self._core.compile_model(model, "CPU", self._config())
            except RuntimeError as error:
                line, path = str(error).strip().splitlines()[-1], self._artifact.path.name
                raise BackendError(
                    f"openvino cannot compile {path} for batches of {batch}: {line}; use another --precision, or "
                    "--backends torch"
                ) from error
            self._check_precision(compiled)
            self._compiled[batch] = compiled
            in_streams = self._hint == "throughput"
            self._requests[batch] = (
                self._openvino.AsyncInferQueue(compiled) if in_streams else compiled.create_infer_request()
            )
        return self._requests[batch]

    def _config(self) -> dict[str, Any]:
        return {
            # Without the hint it would use bf16 wherever the CPU has it.
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "PERFORMANCE_HINT": self._hint.upper(),
            **({"NUM_STREAMS": 1} if self._hint == "latency" else {}),
            "INFERENCE_NUM_THREADS": self._threads,
            # Pinned threads would fight with torch's, which run on the same cores between two calls.
            "ENABLE_CPU_PINNING": False,
        }

    def _check_precision(self, compiled: Any) -> None:
        """The convolutions, nine tenths of the work, must run as asked for."""
        wanted, quantized = HINTS[self.precision], self._artifact.quantized
        found = _precisions(compiled, (), CONVOLUTIONS)
        integers = sum(found.get(name, 0) for name in INTEGERS)
        if {*found} - {*INTEGERS} != {wanted} or integers != quantized:  # none found says nothing
            raise BackendError(
                f"openvino compiled the convolutions to {found}, not to {wanted}"
                + (f" but for {quantized} in 8 bits" if quantized else "")
                + "; use another --precision on this CPU"
            )


def open_denoiser(
    source: Path, precision: str, device: str, threads: int | None, batch_size: int, hint: str = "latency"
) -> OpenVinoDenoiser:
    """See ``backends.open_backend``."""
    return OpenVinoDenoiser(read_artifact(source), precision, device, threads, batch_size, hint)


def load_runtime() -> Any:
    """The module ``openvino``, imported with its telemetry off; raises ImportError.

    On import it writes an id into the user's home and reports to its makers, unless the package openvino_telemetry is
    missing, when it takes an empty stand-in of its own. Medical work wants neither; who has said yes or no by
    ``opt_in_out`` keeps that setting.
    """
    if "openvino" in sys.modules or "openvino_telemetry" in sys.modules or _consent_file().is_file():
        return importlib.import_module("openvino")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # to the import system: not installed
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules["openvino_telemetry"]


def _consent_file() -> Path:
    """Where ``opt_in_out`` keeps a user's yes or no; without one openvino_telemetry takes it for a yes."""
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", "")) / "Intel Corporation" / "openvino_telemetry"
    return Path(os.path.expanduser("~")) / "intel" / "openvino_telemetry"


def check(precision: str = "fp32", device: str = "cpu") -> None:
    """Raise BackendError, naming the remedy, unless this precision and device can be had here."""
    if precision not in PRECISIONS:
        raise BackendError(f"openvino runs {', '.join(PRECISIONS)}, not {precision!r}")
    if device != "cpu":
        raise BackendError(f"the back end openvino runs on cpu, not on {device!r}; give --device cpu")
    try:
        openvino = load_runtime()
    except ImportError as error:
        raise BackendError(f"openvino cannot be imported ({error}); `pip install 'uadbench[cpu]'`") from error
    if HINTS[precision] == "bf16":
        capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if "BF16" not in capabilities:
            raise BackendError(
                "openvino finds no bf16 instructions on this CPU; use --precision fp32 or int8"
            )


def _precisions(
    compiled: Any, leave_out: tuple[str, ...], only: tuple[str, ...] | None = None
) -> dict[str, int]:
    """Number of executed layers by run-time precision, e.g. {"bf16": 160, "f32": 3}."""
    counts: Counter[str] = Counter()
    for layer in compiled.get_runtime_model().get_ordered_ops():
        info = layer.get_rt_info()
        kind = info["layerType"].value
        if kind not in leave_out and (only is None or kind in only) and "runtimePrecision" in info:
            counts[info["runtimePrecision"].value] += 1
    return dict(sorted(counts.items()))
