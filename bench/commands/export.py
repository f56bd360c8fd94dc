"""``bench export``: write the networks to ONNX, for other back ends and other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

# Relative L2 against torch fp32: for the U-Net as for every fp32 back end; the perceptual net scales features to
# unit length, which makes rounding of near-zero features visible (5e-6 measured).
TOLERANCES = {"unet": 1e-5, "perceptual-features": 1e-4, "perceptual-distance": 1e-4}


class BatchSize(click.ParamType):
    """ "dynamic" or a number from 1 on."""

    name = "N|dynamic"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value in (None, "dynamic"):
            return None
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number from 1 on nor 'dynamic'", param, ctx)
        return int(value)


@click.command(name="export")
@click.option("--noise", type=click.Choice(["gaussian", "simplex"]), default="gaussian", show_default=True)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The U-Net, NAME.safetensors; the shipped one for the noise by default.",
)
@click.option("--perceptual", default="brain-squeeze", show_default=True, help="Perceptual net, by name.")
@click.option("--perceptual-weights", type=click.Path(path_type=Path), help="Its features' file.")
@click.option("--only", type=click.Choice(["unet", "perceptual"]), help="Just one of the two.")
@click.option(
    "--batch-size", type=BatchSize(), default="dynamic", show_default=True, help="A fixed one, or any."
)
@click.option("--opset", type=click.IntRange(18, 23), default=23, show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("exports"),
    show_default=True,
    help="Folder for NAME.onnx and NAME.onnx.json; files of the same name are replaced.",
)
def command(
    noise: str,
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
    Exit codes: 0, 1 when a written network does not compute what torch computes, 2 when one cannot be written.
    """
    from uadbench.engine.backends import BackendError
    from uadbench.engine.networks.checkpoint import CheckpointError
    from uadbench.engine.perceptual.weights import PerceptualError

    suffix = "" if batch_size is None else f"-batch{batch_size}"
    errors: dict[Path, float] = {}
    try:
        if only != "perceptual":
            errors |= _unet(noise, checkpoint, output, suffix, batch_size, opset)
        if only != "unet":
            errors |= _perceptual(perceptual, perceptual_weights, output, suffix, batch_size, opset)
    except (BackendError, CheckpointError, PerceptualError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"error: {error.filename or output}: cannot be written ({error.strerror})", err=True)
        sys.exit(2)
    wrong = [path for path, excess in errors.items() if not excess <= 1]
    for path in wrong:
        click.echo(f"error: {path} differs from torch by more than rounding; do not use it", err=True)
    sys.exit(1 if wrong else 0)


def _unet(
    noise: str, checkpoint: Path | None, output: Path, suffix: str, batch: int | None, opset: int
) -> dict[Path, float]:
    import torch

    from uadbench.engine.networks.checkpoint import load_checkpoint, shipped
    from uadbench.exporters.onnx import SIZE, export_unet

    source = checkpoint or shipped(noise)
    model, card = load_checkpoint(source)
    path = output / f"{source.stem}{suffix}.onnx"
    manifest = export_unet(model, card, path, batch, opset)
    x, timesteps = _example(batch, SIZE), torch.full((batch or 2,), 249, dtype=torch.int64)
    with torch.inference_mode():
        wanted = (model(x, timesteps),)
    return {path: _check(path, manifest, (x, timesteps), wanted)}


def _perceptual(
    name: str, weights: Path | None, output: Path, suffix: str, batch: int | None, opset: int
) -> dict[Path, float]:
    import torch

    from uadbench.engine.perceptual.distance import open_perceptual
    from uadbench.exporters.onnx import SIZE, export_perceptual

    opened = open_perceptual(name, weights)
    source = {"name": opened.name, "sha256": opened.sha256}
    written = export_perceptual(opened.net, source, output, f"{name}{suffix}", batch, opset)
    x = _example(batch, SIZE).clamp(-1, 1)
    with torch.inference_mode():
        features = opened.net.features(x)
        distance = opened.net(features, x.flip(-1))
    pairs = (((x,), features), ((*features, x.flip(-1)), (distance,)))
    return {
        output / file: _check(output / file, manifest, inputs, wanted)
        for (file, manifest), (inputs, wanted) in zip(written.items(), pairs, strict=True)
    }


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
