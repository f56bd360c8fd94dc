"""A module as an ONNX file by torch's dynamo exporter: one file, checked, the same bytes whenever the input is."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uadbench.engine.backends.artifacts import write_artifact
from uadbench.engine.backends.errors import first_line
from uadbench.engine.backends.form import Form
from uadbench.exporters.precision import ExportError

__all__ = ["OPSETS", "PACKAGES", "example_batch", "opset_of", "write_graph"]

OPSETS = (18, 23)  # what the exporter of torch 2.13 writes, first and last
PACKAGES = ("torch", "onnx", "onnxscript")
REMEDY = "use --backends torch, which needs no export"


def write_graph(
    model: nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    form: Form,
    opset: int,
    record: Mapping[str, Any],
    after: Callable[[Any], tuple[Any, dict[str, Any]]] | None = None,
) -> dict[str, Any]:
    """Write the module to ``path`` and its manifest beside it; returns the manifest.

    example : the module's arguments, tensors or tuples of tensors, whose first axis is the batch
    record : what the manifest says besides
    after : what is done to the graph that torch wrote, and what the manifest says of that
    Raises ExportError.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ExportError(f"opset is {opset}; torch's exporter writes {OPSETS[0]} to {OPSETS[1]}")
    if form.precision == "bf16" and opset < 22:
        raise ExportError(f"opset is {opset}; convolutions in bf16 came with opset 22")
    dynamic = None if form.batch is not None else _axes(example)
    proto = _trace(model, example, inputs, outputs, dynamic, opset)
    _check(proto, opset)
    more: dict[str, Any] = {}
    if after is not None:
        proto, more = after(proto)
        _check(proto, opset)
    shapes = [_shape(value) for value in (*proto.graph.input, *proto.graph.output)]
    wanted = "batch" if form.batch is None else form.batch
    if any(shape["shape"][0] != wanted for shape in shapes):
        raise ExportError(
            f"the exporter fixed the batch size against the request: {shapes}; export for one batch size, or use "
            "--backends torch"
        )
    manifest = {
        **record,
        **more,
        "opset": opset,
        "precision": form.precision,
        "batch": "dynamic" if form.batch is None else form.batch,
        "inputs": shapes[: len(inputs)],
        "outputs": shapes[len(inputs) :],
        "operators": _operators(proto),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "exporter_sha256": exporter_sha256(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_artifact(path, proto.SerializeToString(deterministic=True), manifest)


@cache
def exporter_sha256() -> str:
    """Of this package's files: two graphs of other ones may differ for that alone."""
    found = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def opset_of(form: Form) -> int:
    """23 has the operator Attention, 22 convolutions in bf16, 21 group norms."""
    if form.attention == "fused":
        return 23
    return 22 if form.precision == "bf16" else 21


def example_batch(form: Form) -> int:
    """torch.export takes an axis of 1 for a constant, so an open batch is traced with 2."""
    return 2 if form.batch is None else form.batch


def _axes(example: Any) -> Any:
    """The batch axis of every tensor, as torch.export wants to be told."""
    if isinstance(example, Tensor):
        return {0: torch.export.Dim("batch", min=1, max=4096)}
    return tuple(_axes(part) for part in example)


def _trace(
    model: nn.Module,
    example: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Any,
    opset: int,
) -> Any:
    """The network as an ONNX ModelProto, without what says where it was made."""
    try:
        import onnx  # noqa: F401 (the exporter needs both and says so only deep inside)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"the export needs onnx and onnxscript ({error}); `pip install 'uadbench[cpu]'`"
        ) from error
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                opset_version=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise ExportError(f"torch cannot export this network: {first_line(error)}; {REMEDY}") from error
    if program is None:
        raise ExportError(f"torch's exporter returned nothing; {REMEDY}")
    proto = program.model_proto  # made anew at every access
    _forget_origin(proto)
    return proto


def _check(proto: Any, opset: int) -> None:
    """Raise ExportError unless the graph is valid and of that opset alone."""
    import onnx

    written = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    if written != {"ai.onnx": opset}:
        raise ExportError(
            f"torch wrote operator sets {written}, not opset {opset} alone; ask for another opset"
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported network is not valid ONNX: {first_line(error)}; {REMEDY}") from error


def _forget_origin(proto: Any) -> None:
    """Remove the exporter's stack traces: they hold paths of this machine and make equal networks differ."""
    graph = proto.graph
    for thing in (proto, graph):
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
    for values in (graph.node, graph.value_info, graph.input, graph.output, graph.initializer):
        for value in values:
            value.ClearField("metadata_props")
            value.ClearField("doc_string")


def _shape(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    sides = [side.dim_param or side.dim_value for side in tensor.shape.dim]
    return {"name": value.name, "dtype": dtype, "shape": sides}


def _operators(proto: Any) -> dict[str, int]:
    """Operator -> number of nodes."""
    kinds = [node.op_type for node in proto.graph.node]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on torchvision and on axis names from the user's screen."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
