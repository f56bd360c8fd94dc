"""``bench train``: train a denoiser on healthy slices."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

    from uadbench.engine.training import Pool

PHANTOM_SLICES = 600
PHANTOM_POPULATION = 7


@click.command(name="train")
@click.option("--noise", type=click.Choice(["gaussian", "simplex"]), default="gaussian", show_default=True)
@click.option(
    "--data", default="phantom", show_default=True, help="Comma-separated data sets, e.g. phantom,ixi-stroke."
)
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder that holds the real data sets.")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder for state, checkpoint, grids."
)
@click.option("--steps", type=click.IntRange(1), default=4000, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), default=2e-4, show_default=True)
@click.option("--precision", type=click.Choice(["bf16", "fp32"]), default="bf16", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all by default.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--validate-every", type=click.IntRange(1), default=500, show_default=True)
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def command(
    noise: str,
    data: str,
    data_root: Path | None,
    output: Path,
    steps: int,
    batch_size: int,
    learning_rate: float,
    precision: str,
    threads: int | None,
    seed: int,
    validate_every: int,
    no_progress: bool,
) -> None:
    """Train the compact U-Net on the healthy training slices of the named data sets.

    Writes OUTPUT/unet-NOISE.safetensors with a model card, a log of losses and sample grids. Run the same command
    again after an interruption: training goes on from the last saved state, to the same result.
    """
    import torch

    from uadbench.datasets.case import CaseError
    from uadbench.engine import training
    from uadbench.engine.networks.checkpoint import CheckpointError

    if threads:
        torch.set_num_threads(threads)
    config = training.TrainingConfig(
        noise=noise,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=min(100, steps),
        precision=precision,
        seed=seed,
    )
    output.mkdir(parents=True, exist_ok=True)
    try:
        pools, validation, sources = _load(data.split(","), data_root)
        _run(config, pools, validation, sources, output, validate_every, no_progress)
    except (CaseError, CheckpointError, FloatingPointError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("interrupted; the same command goes on from the last saved state", err=True)
        sys.exit(130)


def _load(names: list[str], root: Path | None) -> tuple[tuple[Pool, ...], np.ndarray, list[dict[str, Any]]]:
    """Training pools, healthy validation slices [N, H, W], and what they came from."""
    import numpy as np

    from uadbench.datasets import DATASETS
    from uadbench.datasets.phantom import generate
    from uadbench.engine.training import Pool

    pools: list[Pool] = []
    validation: list[np.ndarray] = []
    sources: list[dict[str, Any]] = []
    for name in names:
        if name not in DATASETS:
            raise ValueError(f"unknown data set {name!r}; choose from {', '.join(DATASETS)}")
        if name == "phantom":
            # A population of its own: none of these is a case of the phantom data set.
            images = [generate(PHANTOM_POPULATION, f"train-{i:04d}", None)[0] for i in range(PHANTOM_SLICES)]
            held_out = [generate(PHANTOM_POPULATION, f"held-out-{i:04d}", None)[0] for i in range(12)]
            about = {"title": "generated slices", "population": PHANTOM_POPULATION}
        else:
            dataset = DATASETS[name](root, 0, None)
            images = [dataset.load(case).image for case in dataset.split("train") if not case.lesion]
            held_out = [dataset.load(case).image for case in dataset.split("val") if not case.lesion][:12]
            about = {"title": dataset.title, "licence": dataset.licence, "citation": dataset.citation}
        pools.append(Pool(name, np.stack(images), 0.2 if name == "phantom" else 0.4))
        validation += held_out
        digest = hashlib.sha256(pools[-1].images.tobytes()).hexdigest()
        sources.append(
            {"name": name, "slices": len(images), "weight": pools[-1].weight, "sha256": digest, **about}
        )
    return tuple(pools), np.stack(validation), sources


def _run(
    config: Any,
    pools: tuple[Pool, ...],
    validation: np.ndarray,
    sources: list[dict[str, Any]],
    output: Path,
    validate_every: int,
    no_progress: bool,
) -> None:
    from dataclasses import asdict
    from importlib.metadata import version

    import torch
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from uadbench.engine.networks.checkpoint import save_checkpoint
    from uadbench.engine.training import reconstructions, train, validation_loss

    console = Console(stderr=True)
    fingerprint = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()
    log, losses = output / f"log-{config.noise}.jsonl", {}
    bar = Progress(
        TextColumn("train {task.fields[noise]}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
        disable=no_progress or not console.is_terminal,
    )
    with bar:
        task = bar.add_task("train", total=config.steps, noise=config.noise, loss=float("nan"))
        for progress, averaged in train(pools, config, output / f"state-{config.noise}.pt", fingerprint):
            bar.update(task, completed=progress.step, loss=progress.loss)
            if progress.step % validate_every == 0 or progress.step == config.steps:
                model = averaged()
                losses = dict(validation_loss(model, validation, config.noise, precision=config.precision))
                record = {
                    "step": progress.step,
                    "loss": progress.loss,
                    "seconds": progress.seconds,
                    "validation": losses,
                }
                with log.open("a") as stream:
                    stream.write(json.dumps(record) + "\n")
                shown = validation[:: max(1, len(validation) // 8)][:8]
                _grid(
                    output / f"grid-{config.noise}-{progress.step:06d}.png",
                    shown,
                    reconstructions(model, shown, config.noise),
                )
                console.log(f"step {progress.step}: loss {progress.loss:.4f}, validation {losses}")
        card = {
            "name": f"unet-{config.noise}",
            "noise": config.noise,
            "prediction": "epsilon",
            "steps": config.steps,
            "parameters": sum(weight.numel() for weight in averaged().parameters()),
            "schedule": {"kind": "linear", "length": 1000, "start": 1e-4, "end": 0.02},
            "training": asdict(config),
            "data": sources,
            "data_fingerprint": fingerprint,
            "loss": progress.loss,
            "validation_loss": losses,
            "seconds": round(progress.seconds),
            "threads": torch.get_num_threads(),
            "versions": {"uadbench": version("uadbench"), "torch": torch.__version__},
            "command": _command_line(config, sources),
        }
        save_checkpoint(output / f"unet-{config.noise}.safetensors", averaged(), card)
    click.echo(output / f"unet-{config.noise}.safetensors")


def _command_line(config: Any, sources: list[dict[str, Any]]) -> str:
    """The command that repeats this training, without the folders of this machine."""
    data = ",".join(source["name"] for source in sources)
    return (
        f"bench train --noise {config.noise} --data {data} --steps {config.steps} --batch-size {config.batch_size}"
        f" --learning-rate {config.learning_rate:g} --precision {config.precision} --seed {config.seed}"
    )


def _grid(path: Path, images: np.ndarray, rows: np.ndarray) -> None:
    """Inputs on top, then the one-call estimates of the clean image at rising levels."""
    import numpy as np
    from PIL import Image

    tiles = np.concatenate([images[None], rows]).clip(0, 1)
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles], axis=0)
    Image.fromarray((sheet * 255).round().astype(np.uint8)).save(path)
