"""``bench train``: train a network on healthy slices."""

from __future__ import annotations

import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options
from uadbench.bench.commands.options import FiniteRange

if TYPE_CHECKING:
    from uadbench.bench.run.training import Training
    from uadbench.engine.training.contract import Objective
    from uadbench.engine.training.place import Place

# Of engine.training.losses, which takes torch to import.
OBJECTIVES = ("noise", "patch", "conditioned", "masked", "coarse", "code", "cold", "flow", "restoration")


@click.command(name="train")
@options.noise_trained_with()
@click.option(
    "--objective",
    type=click.Choice(OBJECTIVES),
    default="noise",
    show_default=True,
    help="What is taught, noise: the noise (DDPM, AnoDDPM, THOR, AutoDDPM, One step); patch: one noised patch (pDDPM); "
    "conditioned: the image, guided by an encoder of it (cDDPM); masked: hidden patches (the start of that encoder); "
    "coarse: coarse noise (DAE); code: a short code (VAE); synthetic anomalies, cold: of a known strength (DISYRE), "
    "flow: along a straight path (REFLECT), restoration: and where they are (Mend).",
)
@click.option(
    "--data",
    default="phantom",
    show_default=True,
    metavar="NAME[=WEIGHT],...",
    help="Data sets, and how often each is drawn from relative to the others, e.g. phantom=1,ixi-stroke=2.",
)
@options.data_root
@options.output("Folder for state, checkpoint, logs, grids.", required=True)
@click.option(
    "--preset",
    type=click.Choice(["small", "paper"]),
    default="small",
    show_default=True,
    help="Shape of the network: 4 M parameters, or the papers' 18.5 M (needs uadbench[paper]).",
)
@click.option(
    "--initial",
    multiple=True,
    metavar="FILE|shipped",
    help="Checkpoint to start from, random weights by default. Repeatable where a network is made of several: "
    "conditioned takes a denoiser and a masked encoder.",
)
@click.option("--steps", type=click.IntRange(1, 10_000_000), default=15000, show_default=True)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=8,
    show_default=True,
    help="Of all processes together.",
)
@click.option(
    "--accumulate",
    type=click.IntRange(1, 4096),
    default=1,
    show_default=True,
    help="Batches a step: one update of the weights by the mean gradient of so many, where one of all does not fit.",
)
@click.option("--learning-rate", type=FiniteRange(0, min_open=True), default=3e-4, show_default=True)
@click.option("--ema", type=FiniteRange(0, 1, max_open=True), default=0.9995, show_default=True)
@click.option(
    "--weighting",
    type=click.Choice(["plain", "min-snr-5", "p2"]),
    default="min-snr-5",
    show_default=True,
    help="What an error weighs by its level.",
)
@click.option("--t-from", type=click.IntRange(1, 1000), help="98 % of levels are drawn from here on.")
@click.option(
    "--t-focus",
    type=click.IntRange(1, 1000),
    help="98 % of levels are drawn up to here; by default just above what the methods use, 360 or 260 for DDPM.",
)
@click.option(
    "--warped",
    type=FiniteRange(0, 1),
    default=0.5,
    show_default=True,
    help="Share of the images that are rotated, shifted and zoomed; the others are only flipped.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="cuda, and several processes of either, need uadbench[train].",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Mixed where it is not fp32. bf16 is faster on some processors and slower on others; fp16 needs cuda.",
)
@options.threads
@options.training_seed
@click.option("--validate-every", type=click.IntRange(1), default=500, show_default=True)
@options.no_progress
@options.one_line_errors
def command(
    validate_every: int, no_progress: bool, threads: int | None, device: str, precision: str, **given: Any
) -> None:
    """Train a network on the healthy training slices of the named data sets.

    Writes OUTPUT/NETWORK-NOISE.safetensors with a model card, logs of errors and sample grids at every validation. Run
    the same command again after an interruption: training goes on from the last saved state, to the same result.
    """
    import filelock
    import torch

    from uadbench.bench.plan.config import ConfigError
    from uadbench.bench.run.interrupt import Interrupted, stop_on_signal
    from uadbench.bench.run.machine import available_cores
    from uadbench.engine.training import losses
    from uadbench.engine.training.place import open_place

    output: Path = given["output"]
    place = open_place(device, precision, losses.OBJECTIVES[given["objective"]].partial)
    torch.set_num_threads(threads or available_cores())  # Accelerate may have set others
    try:
        with stop_on_signal() as stop:
            training = _training(place=place, **given)  # makes every check, before anything is written
            if place.is_main:
                output.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(output / f".lock-{training.label}", timeout=0)
            with lock if place.is_main else nullcontext():
                _show(training, validate_every, no_progress, stop)
    except filelock.Timeout as error:
        raise ConfigError(
            f"{output}: another process trains there; wait, or give another --output"
        ) from error
    except Interrupted:
        if place.is_main:
            click.echo("interrupted; the same command goes on from here", err=True)
        sys.exit(130)
    place.close()


def _training(
    noise: str,
    objective: str,
    data: str,
    data_root: Path | None,
    output: Path,
    initial: tuple[str, ...],
    t_from: int | None,
    t_focus: int | None,
    warped: float,
    preset: str,
    place: Place,
    **given: Any,
) -> Training:
    from uadbench.bench.plan.config import ConfigError
    from uadbench.bench.run.training import Training, check_initial
    from uadbench.bench.run.training_sources import load_lesions, load_sources
    from uadbench.engine.networks.checkpoint import shipped
    from uadbench.engine.training.augment import Augmentation
    from uadbench.engine.training.config import TrainingConfig

    weights, taught = _weights(data), _objective(objective, preset)
    first, last = taught.levels(noise)
    first, last = t_from or first, t_focus or last
    if first > last:
        raise ConfigError(f"--t-from is {first}, above --t-focus, {last}; give a lower one")
    if given["batch_size"] % place.processes:
        raise ConfigError(
            f"--batch-size {given['batch_size']} cannot be shared by {place.processes} processes; give a multiple"
        )
    start = tuple(shipped(f"unet-{noise}") if text == "shipped" else Path(text) for text in initial)
    config = TrainingConfig(
        noise=noise,
        warmup=min(200, given["steps"]),
        t_from=first,
        t_focus=last,
        augmentation=Augmentation(warped=warped),
        initial=check_initial(start, taught, preset),
        objective=objective,
        **given,
    )
    sources, lesions = load_sources(weights, data_root), load_lesions(weights, data_root)
    return Training(config, sources, output, start, place, _command_line(), preset, lesions)


def _objective(name: str, preset: str) -> Objective:
    """What is taught; ConfigError where an option says nothing to it, or it has no network of this shape."""
    from uadbench.bench.plan.config import ConfigError
    from uadbench.engine.training.losses import OBJECTIVES

    taught = OBJECTIVES[name]
    unheeded = () if taught.noisy else ("noise", "t_from", "t_focus")
    options.refuse_unheeded(unheeded, f"--objective {name} draws no noise")
    options.refuse_unheeded(
        () if taught.weighted else ("weighting",), f"--objective {name} weighs all errors alike"
    )
    if preset not in taught.presets:
        raise ConfigError(f"--objective {name} has the presets {', '.join(taught.presets)}, not {preset!r}")
    return taught


def _command_line() -> str:
    """The command as typed, less the folders of this machine, which mean nothing elsewhere."""
    words, hidden = [], False
    for word in sys.argv[1:]:
        if not hidden and word not in ("--data-root", "--output", "--no-progress"):
            words.append(word)
        hidden = word in ("--data-root", "--output")
    return shlex.join(["bench", *words])


def _weights(text: str) -> dict[str, float]:
    """ "a=2,b" -> {"a": 2.0, "b": 1.0}."""
    from uadbench.bench.plan.config import ConfigError

    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = part.strip().partition("=")
        try:
            weight = float(number) if equals else 1.0
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise ConfigError(f"--data {part.strip()!r}: the weight must be a number above 0")
        if name in found:
            raise ConfigError(f"--data names {name!r} twice")
        found[name] = weight
    return found


def _show(training: Training, validate_every: int, no_progress: bool, stop: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from uadbench.bench.run.training import run_training

    def tell(line: str) -> None:
        click.echo(line, err=True)

    is_main, console = training.place.is_main, Console(stderr=True)
    bar = Progress(
        TextColumn("train {task.fields[label]}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
        disable=no_progress or not console.is_terminal or not is_main,
    )
    steps = training.config.steps
    with bar:
        task = bar.add_task("train", total=steps, label=training.label, loss=float("nan"))
        for progress, record in run_training(training, validate_every, stop, tell):
            bar.update(task, completed=progress.step, loss=progress.loss)
            if record:
                tell(_line(record, steps))
    if is_main:
        click.echo(training.checkpoint)


def _line(record: dict[str, Any], steps: int) -> str:
    """One validation in words; errors of the clean image's estimate x 10 000 at each level."""
    errors = "; ".join(
        f"{source} " + " ".join(f"{1e4 * value:.1f}" for value in levels.values())
        for source, levels in record["clean_error"].items()
    )
    levels = ", ".join(next(iter(record["clean_error"].values())))
    dice = "; ".join(
        f"{source} {100 * value:.1f}"
        for source, found in record["one_call_dice"].items()
        for value in found.values()
    )
    return (
        f"step {record['step']} of {steps}, loss {record['loss']:.4f}, "
        f"error of x0 (1e-4) at t = {levels}: {errors}" + (f"; one-call Dice (%): {dice}" if dice else "")
    )
