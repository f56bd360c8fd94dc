"""``bench train-perceptual``: train the features and heads of ``brain-squeeze``."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from torch import Tensor

    from uadbench.bench.run.training_sources import Sources
    from uadbench.engine.training.perceptual import PerceptualTraining


@click.command(name="train-perceptual")
@click.option(
    "--data",
    default="ixi-stroke,soop-flair",
    show_default=True,
    help="Comma-separated data sets to learn from.",
)
@options.data_root
@options.output(
    "Weights to write; their card goes beside them.",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="NAME.safetensors",
)
@click.option(
    "--steps", type=click.IntRange(1, 10_000_000), default=700, show_default=True, help="For the features."
)
@click.option(
    "--head-steps", type=click.IntRange(1, 10_000_000), default=150, show_default=True, help="For the heads."
)
@click.option("--batch-size", type=click.IntRange(1, 4096), default=24, show_default=True)
@click.option(
    "--level",
    type=options.FiniteRange(0, min_open=True),
    default=0.5,
    show_default=True,
    help="95th percentile of the map over tissue, for foreign tissue pasted in.",
)
@options.training_seed
@options.one_line_errors
def command(data: str, data_root: Path | None, output: Path, **given: Any) -> None:
    """Train brain-squeeze on healthy slices, without any label: SqueezeNet features, then heads.

    Features learn which differences between two views of a slice mean nothing; heads learn to tell foreign tissue that
    was pasted in. No lesion is simulated. Run the same command again after an interruption: training goes on from the
    last saved state, beside OUTPUT, to the same result.
    """
    from uadbench.bench.plan.config import ConfigError
    from uadbench.bench.run.training_sources import load_sources
    from uadbench.engine.training.perceptual import PerceptualTraining

    if output.suffix != ".safetensors":
        raise ConfigError(f"--output {output.name} must end in .safetensors")
    config, state = PerceptualTraining(**given), output.with_suffix(".state.pt")
    sources = load_sources(dict.fromkeys((name.strip() for name in data.split(",")), 1.0), data_root)
    output.parent.mkdir(parents=True, exist_ok=True)
    tensors, record = _train(sources, config, output, state)
    typed = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in given.items())
    command_line = f"bench train-perceptual --data {data} {typed}"
    _write(output, tensors, {"data": list(sources.records), **record, "command": command_line})
    state.unlink(missing_ok=True)  # once the weights are there
    click.echo(output)


def _train(
    sources: Sources, config: PerceptualTraining, output: Path, state: Path
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(the net's weights, what the card says of the training); one process at a time, taken up from ``state``."""
    import filelock
    import numpy as np

    from uadbench.bench.plan.config import ConfigError
    from uadbench.bench.run.interrupt import Interrupted, stop_on_signal
    from uadbench.engine.training.perceptual import train_distance
    from uadbench.reports.atomic import PARTIAL

    slices = np.stack([pool.resize(image) for pool in sources.pools for image in pool.images])
    lock = output.with_name(f".{output.stem}.lock")
    try:
        with stop_on_signal() as stop, filelock.FileLock(lock, timeout=0):
            # what a killed process left half written
            for partial in output.parent.glob(f".{output.stem}.*.tmp"):
                if PARTIAL.fullmatch(partial.name):
                    partial.unlink(missing_ok=True)
            return train_distance(slices.astype(np.float32), config, _show, state, stop)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    except filelock.Timeout as error:
        raise ConfigError(f"{output}: another process trains it; wait, or give another --output") from error
    except Interrupted:
        click.echo("interrupted; the same command goes on from here", err=True)
        sys.exit(130)


def _write(output: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """The weights and their card. about : what the card says of the training"""
    import torch
    from safetensors.torch import save

    from uadbench.engine.perceptual.weights import content_hash
    from uadbench.reports.atomic import write_bytes

    weights = save(tensors)
    card = {
        "name": "brain-squeeze",
        **about,
        "versions": {"uadbench": version("uadbench"), "torch": torch.__version__},
        "precision": "float16",
        "licence": "Apache-2.0",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "content_sha256": content_hash(tensors),
    }
    write_bytes(output, weights)
    write_bytes(output.with_suffix(".json"), (json.dumps(card, indent=1, sort_keys=True) + "\n").encode())


def _show(entry: dict[str, Any]) -> None:
    click.echo(f"step {entry['step']}, losses of the stages {entry['stages']}", err=True)
