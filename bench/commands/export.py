"""``bench export``: write the networks to ONNX, for other back ends and other programs."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from uadbench.engine.backends.form import Form
    from uadbench.exporters.calibration import Calibration

BATCH_OF_ANY = 2  # what a network with an open batch size is tried with


class BatchSize(click.ParamType):
    """ "dynamic" or a number from 1 to 4096."""

    name = "N|dynamic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value in (None, "dynamic"):
            return None
        if not re.fullmatch(r"[0-9]{1,4}", str(value)) or not 1 <= int(value) <= 4096:
            self.fail(f"{str(value)[:80]!r} is neither a number from 1 to 4096 nor 'dynamic'", param, ctx)
        return int(value)


class ChainType(click.ParamType):
    """ "T" or "T:N": a chain from level T, through all levels or with N calls."""

    name = "T[:N]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int | None]:
        found = re.fullmatch(r"([0-9]{1,6})(?::([0-9]{1,6}))?", str(value))
        if not found:
            self.fail(f"{str(value)[:80]!r} is not T or T:N, as 350 or 350:25", param, ctx)
        return int(found[1]), int(found[2]) if found[2] else None


@dataclass(frozen=True)
class Request:
    """What is asked for, beside the networks: folder, end of the files' names, form, opset (None: the form's own)."""

    output: Path
    suffix: str
    form: Form
    opset: int | None


@click.command(name="export")
@click.option(
    "--network", metavar="NAME", default="unet-gaussian", show_default=True, help="The network, by name."
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Its file, NAME.safetensors; the shipped one of that name by default.",
)
@click.option("--perceptual", default="brain-squeeze", show_default=True, help="Perceptual net, by name.")
@click.option("--perceptual-weights", type=click.Path(path_type=Path), help="Its features' file.")
@click.option("--only", type=click.Choice(["unet", "perceptual"]), help="Just one of the two.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of convolutions, linear layers and attention's products; norms, softmax, inputs and outputs stay fp32. int8, "
    "for the U-Net alone, is of its large convolutions, and calibrated on slices that the phantom trains on.",
)
@click.option(
    "--attention",
    type=click.Choice(["fused", "plain"]),
    help="One operator (opset 23), the default, or MatMul, Softmax, MatMul for older consumers.",
)
@click.option(
    "--layout",
    type=click.Choice(["channels-first", "channels-last"]),
    help="As torch has it, the default, or written for what keeps channels last, as OpenVINO does (int8's default).",
)
@click.option(
    "--batch",
    "--batch-size",
    "batch_size",
    type=BatchSize(),
    default="dynamic",
    show_default=True,
    help="A fixed one, or any.",
)
@click.option(
    "--step",
    "chain",
    type=ChainType(),
    help="Also a whole step of the chain from level T, through all levels or in N calls.",
)
@click.option(
    "--opset",
    type=click.IntRange(18, 23),
    help="23 with fused attention, 21 with plain (22 in bf16) by default; below 23 attention is plain.",
)
@options.output(
    "Folder for NAME.onnx and NAME.onnx.json; files of the same name are replaced.",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exports"),
    show_default=True,
)
@options.one_line_errors
def command(
    network: str,
    checkpoint: Path | None,
    perceptual: str,
    perceptual_weights: Path | None,
    only: str | None,
    precision: str,
    attention: str | None,
    layout: str | None,
    batch_size: int | None,
    chain: tuple[int, int | None] | None,
    opset: int | None,
    output: Path,
) -> None:
    """Write the U-Net and the perceptual net to ONNX, each a single file with a manifest beside it.

    Every file is checked against the ONNX standard, then run in ONNX Runtime (bf16: in torch) and held against torch
    fp32. `bench run` needs none of this: it exports by itself what its back ends need.
    Exit codes: 0, 1 when a written network does not compute what torch computes or a file cannot be written, 2 when a
    network cannot be exported.
    """
    from uadbench.engine.backends.form import Form

    if precision == "int8" and (only != "unet" or chain):
        raise click.UsageError("int8 is for the U-Net alone: give --only unet, and no --step")
    chosen = attention or ("fused" if opset in (None, 23) else "plain")
    usual = "channels-last" if precision == "int8" else "channels-first"
    layout = layout or usual
    request = _request(output, Form(precision, chosen, batch_size, layout), usual, opset)
    errors: dict[Path, float] = {}
    if only != "perceptual":
        errors |= _network(network, checkpoint, request, chain)
    if only != "unet":
        # It is written in one layout: its convolutions are all that it has.
        alike = _request(output, Form(precision, chosen, batch_size, usual), usual, opset)
        errors |= _perceptual(perceptual, perceptual_weights, alike)
    wrong = [path for path, excess in errors.items() if not excess <= 1]
    for path in wrong:
        click.echo(f"error: {path} differs from torch by more than rounding; do not use it", err=True)
    sys.exit(1 if wrong else 0)


def _request(output: Path, form: Form, usual: str, opset: int | None) -> Request:
    """What differs from a file as it usually is stands in its name. usual : layout."""
    differs = (
        form.precision if form.precision != "fp32" else "",
        form.attention if form.attention != "fused" else "",
        form.layout if form.layout != usual else "",
        f"batch{form.batch}" if form.batch else "",
    )
    return Request(output, "".join(f"-{word}" for word in differs if word), form, opset)


def _network(
    name: str, checkpoint: Path | None, request: Request, chain: tuple[int, int | None] | None
) -> dict[Path, float]:
    from uadbench.bench.compare.exported import hold_network
    from uadbench.bench.run.calibration import slices_to_try
    from uadbench.engine.networks.checkpoint import load_denoiser, shipped
    from uadbench.exporters.onnx import export_unet
    from uadbench.exporters.precision import in_form

    source = checkpoint or shipped(name, "--checkpoint FILE")
    model, card = load_denoiser(source)
    form, pairs = request.form, _pairs(card, chain)  # before anything is written
    path = request.output / f"{source.stem}{request.suffix}.onnx"
    calibration = _calibration(card) if form.precision == "int8" else None
    _announce(path.name, form)
    manifest = export_unet(model, card, path, form, request.opset, calibration=calibration)
    images = slices_to_try(form.batch or BATCH_OF_ANY)
    errors = {path: hold_network(path, manifest, card, images, model, in_form(model, form))}
    return errors | (_step(model, card, pairs, source.stem, request) if pairs else {})


def _pairs(card: dict[str, Any], chain: tuple[int, int | None] | None) -> list[tuple[int, int]]:
    """The chain's pairs of levels, none where none is asked for; a usage error where the network has no such chain."""
    from uadbench.engine.networks.adapters import restores
    from uadbench.engine.networks.checkpoint import schedule_of

    if chain is None:
        return []
    if restores(card):
        reason = "this network undoes anomalies and predicts no noise, so it has no steps; leave it out"
        raise click.BadParameter(reason, param_hint="'--step'")
    try:
        return schedule_of(card).pairs(*chain)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--step'") from error


def _calibration(card: dict[str, Any]) -> Calibration:
    from uadbench.bench.run.calibration import training_slices
    from uadbench.exporters.calibration import calibration_set, told

    slices = training_slices()
    click.echo(f"calibrating on {told(card, slices)}", err=True)
    return calibration_set(card, slices)


def _step(
    model: nn.Module, card: dict[str, Any], pairs: list[tuple[int, int]], name: str, request: Request
) -> dict[Path, float]:
    """One step of the chain; tried at the first, the middle and the last."""
    import torch

    from uadbench.bench.compare.exported import hold_against
    from uadbench.engine.fused_step import FusedStep
    from uadbench.engine.networks.checkpoint import schedule_of
    from uadbench.exporters.onnx import SIZE, denoiser_inputs
    from uadbench.exporters.precision import in_form
    from uadbench.exporters.step import export_step

    form, schedule = request.form, schedule_of(card)
    path = request.output / f"{name}-step{pairs[0][0]}-{len(pairs)}{request.suffix}.onnx"
    tried = sorted({0, len(pairs) // 2, len(pairs) - 1})
    _announce(path.name, form, f" at steps {', '.join(map(str, tried))}")
    manifest = export_step(model, card, path, pairs, form, request.opset)
    full, lower = (FusedStep(network, schedule, pairs) for network in (model, in_form(model, form)))
    x, z, cond = (_noise(form.batch, SIZE, seed) for seed in range(3))
    shown = (cond,) if "cond" in denoiser_inputs(card, form, SIZE) else ()
    excess = [
        hold_against(path, manifest, (x, torch.full((len(x),), step), z, *shown), full, lower)
        for step in tried
    ]
    return {path: max(excess)}


def _perceptual(name: str, weights: Path | None, request: Request) -> dict[Path, float]:
    import torch

    from uadbench.bench.compare.exported import hold_against
    from uadbench.engine.perceptual.distance import open_squeeze
    from uadbench.exporters.onnx import SIZE, export_perceptual, lowered_stages

    opened = open_squeeze(name, weights)
    source = {"name": opened.name, "sha256": opened.sha256}
    form, output = request.form, request.output
    _announce(f"{name}{request.suffix}", form)
    written = export_perceptual(opened.net, source, output, f"{name}{request.suffix}", form, request.opset)
    x = _noise(form.batch, SIZE).clamp(-1, 1)
    net, lower = opened.net, lowered_stages(opened.net, form.precision)
    with torch.inference_mode():
        features = net.features(x)
    (first, a), (second, b) = written.items()
    return {
        output / first: hold_against(output / first, a, (x,), net.features, lower.features),
        output / second: hold_against(
            output / second,
            b,
            (*features, x.flip(-1)),
            lambda *given: net(given[:-1], given[-1]),
            lambda *given: lower(given[:-1], given[-1]),
        ),
    }


def _announce(name: str, form: Form, where: str = "") -> None:
    """What comes next. A call in half precision takes torch a minute and more on a CPU that has none."""
    in_runtime = "in ONNX Runtime" if form.precision != "bf16" else ""
    in_torch = (
        f"in torch {form.precision}, minutes on some CPUs" if form.precision in ("fp16", "bf16") else ""
    )
    ways = " and ".join(way for way in (in_runtime, in_torch) if way)
    click.echo(f"exporting {name}, then holding it against torch fp32{where}: {ways}", err=True)


def _noise(batch: int | None, size: int, seed: int = 0) -> Tensor:
    import torch

    count = batch or BATCH_OF_ANY
    return torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(seed))
