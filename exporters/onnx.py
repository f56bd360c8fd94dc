"""Networks to ONNX: denoisers and the perceptual net, each in any ``Form``; ``step`` has whole steps of a chain."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uadbench.engine.backends.form import Form
from uadbench.engine.networks import NETWORKS
from uadbench.engine.perceptual.distance import PerceptualDistance
from uadbench.exporters.calibration import Calibration
from uadbench.exporters.graph import OPSETS, example_batch, opset_of, write_graph
from uadbench.exporters.int8 import quantize
from uadbench.exporters.precision import ExportError, in_form, lowered

__all__ = [
    "SIZE",
    "ExportError",
    "denoiser_inputs",
    "denoiser_opset",
    "export_perceptual",
    "export_unet",
    "lowered_stages",
    "origin",
    "refuse_int8",
]

SIZE = 128  # side of the images, pixels


def export_unet(
    model: nn.Module,
    card: Mapping[str, Any],
    path: Path,
    form: Form | None = None,
    opset: int | None = None,
    size: int = SIZE,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Write a network that predicts eps to ``path`` (NAME.onnx), its manifest to NAME.onnx.json; returns the manifest.

    Inputs x float32 [B, 1, size, size] in [-1, 1], timesteps int64 [B], counted from 0, and cond, like x, where the
    network is conditioned; output eps, like x.

    card : the checkpoint's model card
    form : ``Form()`` where None
    opset : None = that of the form, see ``graph.opset_of``
    calibration : for int8
    Raises ExportError.
    """
    form = form or Form()
    after = _quantizer(form, calibration)
    example = denoiser_inputs(card, form, size)
    record = {"kind": "unet", **origin(card), "attention": form.attention, "image_layout": form.layout}
    return write_graph(
        in_form(model, form),
        tuple(example.values()),
        path,
        list(example),
        ["eps"],
        form,
        denoiser_opset(form, opset),
        record,
        after,
    )


def _quantizer(
    form: Form, calibration: Calibration | None
) -> Callable[[Any], tuple[Any, dict[str, Any]]] | None:
    """What makes int8 of the fp32 graph; None in other precisions."""
    if form.precision != "int8":
        return None
    if calibration is None:
        raise ExportError("int8 needs images to calibrate on; give a calibration, or export in fp32")

    def after(proto: Any) -> tuple[Any, dict[str, Any]]:
        proto, told = quantize(proto, form, calibration)
        return proto, {"quantization": told}

    return after


def denoiser_inputs(card: Mapping[str, Any], form: Form, size: int) -> dict[str, torch.Tensor]:
    """What a denoiser is traced with, by the names of its inputs."""
    count = example_batch(form)
    image = torch.zeros(count, 1, size, size)
    inputs = {"x": image, "timesteps": torch.zeros(count, dtype=torch.int64)}
    if NETWORKS[card.get("kind", "unet")].conditioned:
        # A tensor of its own: one that is given twice is exported as one input.
        inputs["cond"] = torch.zeros_like(image)
    return inputs


def origin(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of where the weights come from."""
    return {
        "network": card.get("network", {}),
        "source": {
            "sha256": card["sha256"],
            **{name: card.get(name) for name in ("noise", "prediction", "schedule")},
        },
    }


def refuse_int8(form: Form, what: str) -> None:
    """ExportError where that is to be exported in int8, which only denoisers are."""
    if form.precision == "int8":
        raise ExportError(
            f"{what} is not exported in int8, only a denoiser is; export it in another precision"
        )


def denoiser_opset(form: Form, opset: int | None) -> int:
    """That of the form where None; ExportError where it is too old for fused attention."""
    own = opset_of(form)
    if form.attention == "fused" and opset is not None and OPSETS[0] <= opset < own:
        raise ExportError(
            f"opset is {opset}; fused attention is an operator of opset {own}, so ask for plain attention"
        )
    return own if opset is None else opset


def export_perceptual(
    net: PerceptualDistance,
    source: Mapping[str, Any],
    folder: Path,
    name: str,
    form: Form | None = None,
    opset: int | None = None,
    size: int = SIZE,
) -> dict[str, dict[str, Any]]:
    """Write the perceptual net as two files, since the input's features are computed once and used often.

    NAME-features.onnx : x [B, 1, size, size] in [-1, 1] -> feature0 .. feature6
    NAME-distance.onnx : feature0 .. feature6 and x_rec [B, 1, size, size] -> distance [B, 1, size, size] >= 0

    source : what the weights are, with their "sha256"
    form : ``Form()`` where None. Below fp32 the convolutions alone are of its precision: a feature's length is a sum of
        squares that fp16 does not hold. There is no attention in it
    Returns {file name: manifest}. Raises ExportError.
    """
    form = form or Form()
    refuse_int8(form, "the perceptual net")
    net = lowered_stages(net, form.precision)
    image = torch.zeros(example_batch(form), 1, size, size)
    with torch.no_grad():
        features = net.features(image)
    names = [f"feature{k}" for k in range(len(features))]
    parts: tuple[tuple[str, nn.Module, tuple[Any, ...], list[str], list[str]], ...] = (
        ("features", net.features, (image,), ["x"], names),
        ("distance", net, (features, image), [*names, "x_rec"], ["distance"]),
    )
    written = {}
    for part, module, example, inputs, outputs in parts:
        path = folder / f"{name}-{part}.onnx"
        record = {"kind": f"perceptual-{part}", "source": dict(source)}
        given = opset_of(form) if opset is None else opset
        written[path.name] = write_graph(module, example, path, inputs, outputs, form, given, record)
    return written


def lowered_stages(net: PerceptualDistance, precision: str) -> PerceptualDistance:
    """The net with its convolutions in a precision, a copy; itself in fp32."""
    if precision == "fp32":
        return net
    net = copy.deepcopy(net)
    net.features.stages = _Float(lowered(net.features.stages, precision))  # type: ignore[assignment]
    return net.eval().requires_grad_(False)


class _Float(nn.Module):
    """A module that returns several tensors, all as float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(value.float() for value in self.module(x))
