"""Networks to ONNX through torch's dynamo exporter: one file, checked, the same bytes whenever the input is the same.

Opset 23 has the Attention operator, into which scaled_dot_product_attention goes as one node. Everything is exported
in fp32; lower precision is chosen by the back end that runs the file, and recorded there.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uadbench.engine.backends.artifacts import write_artifact
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.networks import NETWORKS
from uadbench.engine.perceptual.distance import PerceptualDistance

__all__ = ["OPSET", "OPSETS", "SIZE", "ExportError", "export_perceptual", "export_unet"]

OPSET = 23
OPSETS = (18, 23)  # what the exporter of torch 2.13 writes, first and last
SIZE = 128  # side of the images, pixels
PACKAGES = ("torch", "onnx", "onnxscript")


class ExportError(BackendError):
    """A network cannot be exported; the message says why and names the remedy."""


def export_unet(
    model: nn.Module,
    card: Mapping[str, Any],
    path: Path,
    batch: int | None = None,
    opset: int = OPSET,
    size: int = SIZE,
) -> dict[str, Any]:
    """Write a network that predicts eps to ``path`` (NAME.onnx), its manifest to NAME.onnx.json; returns the manifest.

    Inputs x float32 [B, 1, size, size] in [-1, 1], timesteps int64 [B], counted from 0, and cond, like x, where the
    network is conditioned; output eps, like x.

    card : the checkpoint's model card
    batch : the fixed batch size; None leaves it open
    Raises ExportError.
    """
    count = _example_batch(batch)
    image, names = torch.zeros(count, 1, size, size), ["x", "timesteps"]
    example: tuple[torch.Tensor, ...] = (image, torch.zeros(count, dtype=torch.int64))
    if NETWORKS[card.get("kind", "unet")].conditioned:
        # A tensor of its own: one that is given twice is exported as one input.
        example, names = (*example, torch.zeros_like(image)), [*names, "cond"]
    dynamic = None if batch is not None else tuple({0: _batch_axis()} for _ in example)
    record = {
        "kind": "unet",
        "network": card.get("network", {}),
        "source": {"sha256": card["sha256"], "noise": card.get("noise")},
    }
    return _export(model, example, path, names, ["eps"], dynamic, batch, opset, record)


def export_perceptual(
    net: PerceptualDistance,
    source: Mapping[str, Any],
    folder: Path,
    name: str,
    batch: int | None = None,
    opset: int = OPSET,
    size: int = SIZE,
) -> dict[str, dict[str, Any]]:
    """Write the perceptual net as two files, since the input's features are computed once and used often.

    NAME-features.onnx : x [B, 1, size, size] in [-1, 1] -> feature0 .. feature6
    NAME-distance.onnx : feature0 .. feature6 and x_rec [B, 1, size, size] -> distance [B, 1, size, size] >= 0

    source : what the weights are, with their "sha256"
    Returns {file name: manifest}. Raises ExportError.
    """
    image = torch.zeros(_example_batch(batch), 1, size, size)
    with torch.no_grad():
        features = net.features(image)
    names = [f"feature{k}" for k in range(len(features))]
    axis = None if batch is not None else {0: _batch_axis()}
    written = {}
    for part, module, example, inputs, outputs, dynamic in (
        ("features", net.features, (image,), ["x"], names, axis and (axis,)),
        (
            "distance",
            net,
            (features, image),
            [*names, "x_rec"],
            ["distance"],
            axis and ((axis,) * len(names), axis),
        ),
    ):
        path = folder / f"{name}-{part}.onnx"
        record = {"kind": f"perceptual-{part}", "source": dict(source)}
        written[path.name] = _export(module, example, path, inputs, outputs, dynamic, batch, opset, record)
    return written


def _export(
    model: nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: Any,
    batch: int | None,
    opset: int,
    record: Mapping[str, Any],
) -> dict[str, Any]:
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ExportError(f"opset is {opset}; torch's exporter writes {OPSETS[0]} to {OPSETS[1]}")
    proto = _trace(model, example, inputs, outputs, dynamic, opset)
    _check(proto, opset)
    shapes = [_shape(value) for value in (*proto.graph.input, *proto.graph.output)]
    wanted = "batch" if batch is None else batch
    if any(shape["shape"][0] != wanted for shape in shapes):
        raise ExportError(f"the exporter fixed the batch size against the request: {shapes}")
    manifest = {
        **record,
        "opset": opset,
        "precision": "fp32",
        "batch": "dynamic" if batch is None else batch,
        "inputs": shapes[: len(inputs)],
        "outputs": shapes[len(inputs) :],
        "operators": _operators(proto),
        "versions": {package: metadata.version(package) for package in PACKAGES},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_artifact(path, proto.SerializeToString(deterministic=True), manifest)


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
            raise ExportError(f"torch cannot export this network: {_first_line(error)}") from error
    if program is None:
        raise ExportError("torch's exporter returned nothing")
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
        raise ExportError(f"the exported network is not valid ONNX: {_first_line(error)}") from error


def _example_batch(batch: int | None) -> int:
    """torch.export takes an axis of 1 for a constant, so an open batch is traced with 2."""
    if batch is not None and batch < 1:
        raise ExportError(f"batch is {batch}; allowed is a number from 1 on, or None for any")
    return 2 if batch is None else batch


def _batch_axis() -> Any:
    return torch.export.Dim("batch", min=1, max=4096)


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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
