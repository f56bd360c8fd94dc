"""An exported fp32 graph with its large convolutions in 8 bits: static quantization to QDQ by ONNX Runtime's own tool.

Weights are symmetric int8 by output channel, activations asymmetric uint8 by tensor (what SiLU leaves is almost all
positive), ranges the least and the largest value of the calibration. All else stays fp32: the first and the last
convolution; convolutions of 1 x 1, which carry the residual stream past the norms and are little work but half of
the error; attention, norms, and the linear layers that tell the level.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from uadbench.engine.backends.artifacts import pad
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime import check, installed_packages, load_runtime
from uadbench.exporters.calibration import Calibration
from uadbench.exporters.precision import ExportError

__all__ = ["METHOD", "float_convolutions", "quantize"]

METHOD = "static QDQ; weights int8, symmetric, by channel; activations uint8, asymmetric, by tensor, min-max"
SOFTMAXES = ("Attention", "Softmax")
LINEAR = ("MatMul", "Gemm")  # where an input is a weight: attention's projections, for one


def quantize(proto: Any, form: Form, calibration: Calibration) -> tuple[Any, dict[str, Any]]:
    """(the graph with pairs of QuantizeLinear and DequantizeLinear, what its manifest says of that).

    proto : an fp32 ModelProto; its inputs have the names of ``calibration.inputs``
    The same graph and calibration give the same bytes on one machine; on another a range may differ in its last bit.
    Raises ExportError.
    """
    try:
        check()
    except BackendError as error:
        raise ExportError(f"int8 is quantized by ONNX Runtime: {error}") from error
    convolutions = [node.name for node in proto.graph.node if node.op_type == "Conv"]
    kept = float_convolutions(proto)
    chosen = [name for name in convolutions if name not in kept]
    if not chosen:
        raise ExportError(
            f"none of the network's {len(convolutions)} convolutions can be quantized: each is the first, the last, "
            "1 x 1 or attention's; export it in fp32"
        )
    quantized = _quantized(proto, chosen, form.batch, calibration.inputs)
    weights = {node.name: node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    return quantized, {
        "method": METHOD,
        "library": " ".join((*installed_packages(), load_runtime().__version__)),
        "quantized": [weights[name] for name in chosen],
        "kept": [weights[name] for name in convolutions if name in kept],
        "fp32_sha256": hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest(),
        "calibration": dict(calibration.record),
    }


def float_convolutions(proto: Any) -> set[str]:
    """Names of the convolutions that stay fp32: first, last, 1 x 1, and attention's projections."""
    graph = proto.graph
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    sides = {value.name: value.dims[2:] for value in graph.initializer}

    def passable(node: Any) -> bool:
        return node.op_type not in LINEAR or not any(name in sides for name in node.input)

    def before(name: str) -> Iterable[Any]:
        return filter(passable, [makers[name]] if name in makers else [])

    def after(name: str) -> Iterable[Any]:
        return filter(passable, users.get(name, []))

    small = {
        node.name
        for node in graph.node
        if node.op_type == "Conv" and all(side == 1 for side in sides.get(node.input[1], ()))
    }
    softmaxes = [node for node in graph.node if node.op_type in SOFTMAXES]
    return (
        small
        | _nearest(_images(graph.input), after, lambda node: node.output)
        | _nearest(_images(graph.output), before, lambda node: node.input)
        | _nearest([name for node in softmaxes for name in node.input], before, lambda node: node.input)
        | _nearest([name for node in softmaxes for name in node.output], after, lambda node: node.output)
    )


def _images(values: Iterable[Any]) -> list[str]:
    """Names of the tensors [B, C, H, W]; the levels are none, whose embedding reaches every block."""
    return [value.name for value in values if len(value.type.tensor_type.shape.dim) == 4]


def _nearest(
    names: Iterable[str],
    neighbours: Callable[[str], Iterable[Any]],
    beyond: Callable[[Any], Iterable[str]],
) -> set[str]:
    """The convolutions that are reached from these tensors without passing another."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        for node in neighbours(waiting.pop()):
            if node.name in seen:
                continue
            seen.add(node.name)
            if node.op_type == "Conv":
                found.add(node.name)
            else:
                waiting += beyond(node)
    return found


def _quantized(proto: Any, chosen: list[str], batch: int | None, inputs: Mapping[str, Tensor]) -> Any:
    """The graph with these convolutions quantized: input, weights and output, as ONNX Runtime's integer kernel is."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    options = {"ActivationSymmetric": False, "WeightSymmetric": True}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(proto.SerializeToString(deterministic=True))
        quantize_static(
            source,
            target,
            _reader(inputs, batch),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=chosen,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
        found = onnx.load_model_from_string(target.read_bytes())
    _spare(found, set(chosen))
    used = {node.domain or "ai.onnx" for node in found.graph.node}
    for entry in [entry for entry in found.opset_import if (entry.domain or "ai.onnx") not in used]:
        found.opset_import.remove(entry)  # its tool names its own operators whether it uses them or not
    return found


def _spare(proto: Any, chosen: set[str]) -> None:
    """Let what is rounded for a quantized convolution reach all others as it was: norms, sums, the skips of the U."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        if node.name in chosen:
            continue
        for place, name in enumerate(node.input):
            maker = makers.get(name)
            rounded = makers.get(maker.input[0]) if maker and maker.op_type == "DequantizeLinear" else None
            if rounded is None or rounded.op_type != "QuantizeLinear":
                continue
            source = makers.get(rounded.input[0])
            if source is None or source.name not in chosen:  # else it is the convolution's own output
                node.input[place] = rounded.input[0]


def _reader(inputs: Mapping[str, Tensor], batch: int | None) -> Any:
    """The pairs as ONNX Runtime's tool asks for them: one at a time, or as many as the graph is fixed to."""
    from onnxruntime.quantization import CalibrationDataReader

    size, count = batch or 1, len(next(iter(inputs.values())))
    batches = [
        {name: pad(value[start : start + size], batch).numpy() for name, value in inputs.items()}
        for start in range(0, count, size)
    ]

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tool's advice, to fuse what torch's exporter has fused, from the user's screen."""

    def wanted(record: logging.LogRecord) -> bool:
        return "pre-processing" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)
