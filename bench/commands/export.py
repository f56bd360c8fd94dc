"""``bench export``: write the networks to ONNX, for other back ends and other programs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from torch import Tensor

    from uadbench.engine.backends.artifacts import Form

# Relative L2 against torch fp32: for the U-Net as for every fp32 back end; the perceptual net scales features to
# unit length, which makes rounding of near-zero features visible (5e-6 measured).
TOLERANCES = {"unet": 1e-5, "perceptual-features": 1e-4, "perceptual-distance": 1e-4}


class BatchSize(click.ParamType):
    """ "dynamic" or a number from 1 to 4096."""

    name = "N|dynamic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value in (None, "dynamic"):
            return None
        if not re.fullmatch(r"[0-9]{1,4}", str(value)) or not 1 <= int(value) <= 4096:
            self.fail(f"{str(value)[:80]!r} is neither a number from 1 to 4096 nor 'dynamic'", param, ctx)
        return int(value)


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
    "--batch-size", type=BatchSize(), default="dynamic", show_default=True, help="A fixed one, or any."
)
@click.option("--opset", type=click.IntRange(18, 23), default=23, show_default=True)
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
    batch_size: int | None,
    opset: int,
    output: Path,
) -> None:
    """Write the U-Net and the perceptual net to ONNX, each a single file with a manifest beside it.

    Every file is checked against the ONNX standard, then run in ONNX Runtime and held against torch. `bench run`
    needs none of this: it exports by itself what its back ends need.
    Exit codes: 0, 1 when a written network does not compute what torch computes or a file cannot be written, 2 when a
    network cannot be exported.
    """
    suffix = "" if batch_size is None else f"-batch{batch_size}"
    errors: dict[Path, float] = {}
    if only != "perceptual":
        errors |= _network(network, checkpoint, output, suffix, batch_size, opset)
    if only != "unet":
        errors |= _perceptual(perceptual, perceptual_weights, output, suffix, batch_size, opset)
    wrong = [path for path, excess in errors.items() if not excess <= 1]
    for path in wrong:
        click.echo(f"error: {path} differs from torch by more than rounding; do not use it", err=True)
    sys.exit(1 if wrong else 0)


def _network(
    name: str, checkpoint: Path | None, output: Path, suffix: str, batch: int | None, opset: int
) -> dict[Path, float]:
    import torch

    from uadbench.bench.plan.weights import find_network
    from uadbench.engine.networks.checkpoint import load_denoiser
    from uadbench.exporters.onnx import SIZE, export_unet

    source = find_network(name, {name: str(checkpoint)} if checkpoint else {}).path
    model, card = load_denoiser(source)
    path = output / f"{source.stem}{suffix}.onnx"
    manifest = export_unet(model, card, path, _form(batch, opset), opset)
    x, timesteps = _example(batch, SIZE), torch.full((batch or 2,), 249, dtype=torch.int64)
    with torch.inference_mode():
        wanted = (model(x, timesteps),)
    return {path: _check(path, manifest, (x, timesteps), wanted)}


def _perceptual(
    name: str, weights: Path | None, output: Path, suffix: str, batch: int | None, opset: int
) -> dict[Path, float]:
    import torch

    from uadbench.engine.perceptual.distance import open_squeeze
    from uadbench.exporters.onnx import SIZE, export_perceptual

    opened = open_squeeze(name, weights)
    source = {"name": opened.name, "sha256": opened.sha256}
    written = export_perceptual(opened.net, source, output, f"{name}{suffix}", _form(batch, opset), opset)
    x = _example(batch, SIZE).clamp(-1, 1)
    with torch.inference_mode():
        features = opened.net.features(x)
        distance = opened.net(features, x.flip(-1))
    pairs = (((x,), features), ((*features, x.flip(-1)), (distance,)))
    return {
        output / file: _check(output / file, manifest, inputs, wanted)
        for (file, manifest), (inputs, wanted) in zip(written.items(), pairs, strict=True)
    }


def _form(batch: int | None, opset: int) -> Form:
    from uadbench.engine.backends.artifacts import Form

    return Form(attention="fused" if opset >= 23 else "plain", batch=batch)


def _example(batch: int | None, size: int) -> Tensor:
    import torch

    return torch.randn(batch or 2, 1, size, size, generator=torch.Generator().manual_seed(0))


def _check(
    path: Path, manifest: dict[str, Any], inputs: tuple[Tensor, ...], wanted: tuple[Tensor, ...]
) -> float:
    """Run the written file in ONNX Runtime; prints a line; returns the error over what is tolerated."""
    import torch

    from uadbench.engine.backends.artifacts import read_artifact
    from uadbench.engine.backends.onnxruntime import check, load_runtime
    from uadbench.exporters.parity import relative_l2

    check()
    data = read_artifact(path, manifest["kind"]).data
    session = load_runtime().InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [entry["name"] for entry in manifest["inputs"]]
    found = session.run(None, {n: value.numpy() for n, value in zip(names, inputs, strict=True)})
    worst = max(relative_l2(torch.from_numpy(a), b) for a, b in zip(found, wanted, strict=True))
    click.echo(
        f"{path}  {manifest['bytes'] / 2**20:.1f} MiB  opset {manifest['opset']}  batch {manifest['batch']}  "
        f"sha256 {manifest['sha256'][:12]}  relative L2 against torch {worst:.1e}"
    )
    return worst / TOLERANCES[manifest["kind"]]
