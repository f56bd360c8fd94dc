"""``bench import-weights``: a checkpoint of ours from the weights that THOR's and AutoDDPM's authors publish."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from uadbench.engine.networks.import_weights import Match

SHOWN = 40  # names of a list
CAVEATS = (
    "Imported, not trained here. THOR's public trainer shows the network images in [-1, 1], as this project does, and "
    "compares (prediction + 1) / 2 with the noise, but samples with the prediction as it is.",
    "AutoDDPM's public trainer shows it images in [0, 1] and compares the prediction itself; here such a network meets "
    "images in [-1, 1].",
    "Nothing is corrected unless `rescaled` is true; `noise_response` says which of the two the weights look like.",
)


@click.command(name="import-weights")
@click.argument("file", type=click.Path(path_type=Path))
@options.output(
    "Checkpoint to write; its card goes beside it.",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="NAME.safetensors",
)
@options.noise_trained_with("That the network was trained with; the file does not say.")
@click.option("--half/--float", default=False, help="Store in half precision, or as published (default).")
@click.option(
    "--rescale", is_flag=True, help="Return (prediction + 1) / 2, for weights trained on that (see below)."
)
@options.one_line_errors
def command(file: Path, output: Path, noise: str, half: bool, rescale: bool) -> None:
    """Import a published .pt file of THOR or AutoDDPM; says which weights matched.

    Nothing in FILE is executed: one that needs code is refused. All weights of the paper's network must be there, with
    none left over, or nothing is written and the exit code is 2.

    THOR's public trainer compares (prediction + 1) / 2 with the noise, while its sampling uses the prediction as it is.
    Weights trained so answer pure noise by 2 x noise - 1, which is printed and stands in the card; --rescale makes them
    predict the noise. Nothing is corrected without it. AutoDDPM's public trainer shows the network images in [0, 1];
    here they are in [-1, 1].
    """
    from uadbench.bench.plan.config import ConfigError
    from uadbench.engine.networks.import_weights import PUBLISHED, WeightsError, match, read_published

    if output.suffix != ".safetensors":
        raise ConfigError(f"--output {output.name} must end in .safetensors")
    found = match(read_published(file), PUBLISHED)
    _show(found)
    if not found.whole:
        raise WeightsError(
            f"{file}: {len(found.missing)} weights are missing and {len(found.left_over)} left over; "
            "nothing is written"
        )
    _write(file, output, found, noise, half, rescale)
    click.echo(output)


def _show(found: Match) -> None:
    """What matched, on stderr; the other lists name by name."""
    total = len(found.weights) + len(found.missing)
    click.echo(f"matched {len(found.weights)} of {total} weights of {type(found.config).__name__}", err=True)
    for title, names in (
        ("missing", found.missing),
        ("left over", found.left_over),
        ("saved, but not used by the authors' forward pass", found.unused),
    ):
        for name in names[:SHOWN]:
            click.echo(f"  {title}: {name}", err=True)
        if len(names) > SHOWN:
            click.echo(f"  {title}: and {len(names) - SHOWN} more", err=True)


def _write(file: Path, output: Path, found: Match, noise: str, half: bool, rescale: bool) -> None:
    """The checkpoint with its card; says on stderr what the network answers to noise alone."""
    import hashlib
    from importlib.metadata import version

    from uadbench.engine.networks.checkpoint import save_checkpoint
    from uadbench.engine.networks.diffusion_unet import DiffusionUNet
    from uadbench.engine.networks.import_weights import noise_response, rescaled

    network = DiffusionUNet(found.config)
    network.load_state_dict(rescaled(found.weights) if rescale else found.weights)
    slope, offset = noise_response(network.eval(), noise)
    click.echo(
        f"pure noise is answered by {slope:.2f} x noise {offset:+.2f}: "
        "1 and 0 where the noise is predicted, 2 and -1 where --rescale is needed",
        err=True,
    )
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    card: dict[str, Any] = {
        "name": output.stem,
        "noise": noise,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "source": {"file": file.name, "sha256": digest},
        "rescaled": rescale,
        "noise_response": {"slope": round(slope, 4), "offset": round(offset, 4)},
        "unused": list(found.unused),
        "caveats": list(CAVEATS),
        "versions": {name: version(name) for name in ("uadbench", "torch", "monai")},
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(output, network, card, half)
