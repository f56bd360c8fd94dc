"""``bench predict``: anomaly maps, reconstructions and masks of anybody's images, without truth."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options
from uadbench.bench.plan.config import RunConfig, load_config, make_config, parse_set

if TYPE_CHECKING:
    from uadbench.bench.predict.predict import Predicted, Request


@click.command(name="predict")
@click.option("--method", required=True, metavar="NAME", help="NAME or NAME:NOISE; see `bench list`.")
@click.option(
    "--input",
    "given",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="A .nii, .nii.gz, .png or .npy, or a folder of them, folders in it too.",
)
@options.output("Where to write; folders of the input are kept.", required=True)
@click.option(
    "--pattern",
    metavar="GLOB",
    help="Of a folder, only files whose name or path matches, as '*_FLAIR.nii.gz'.",
)
@click.option(
    "--slices",
    default="mid",
    metavar="WHICH",
    help="Of volumes: mid (default), all, or numbers from 0 at the lowest, as 60-90,95.",
)
@click.option(
    "--threshold", type=options.FiniteRange(min=0), metavar="T", help="Write masks: where the map exceeds T."
)
@click.option(
    "--threshold-from",
    "run",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Write masks at a run's threshold, and take what else its validation data decided.",
)
@click.option(
    "--lesion-sign",
    type=click.Choice(["1", "-1"]),
    help="1 lesions bright, -1 dark (default, or the run's); for methods that are told.",
)
@options.map_white
@click.option("--checkpoint", metavar="FILE", help="The method's network, where not the shipped one.")
@click.option("--backend", "backends", metavar="NAME", help="NAME or NAME:PRECISION; torch is the default.")
@click.option(
    "--steps", metavar="N", help="Network calls of a chain, 1 to 1000; `paper` visits every timestep."
)
@click.option("--post", metavar="NAME", help="Post-processing of the maps: none (default), behrendt.")
@click.option("--perceptual", metavar="NAME", help="The perceptual net; brain-squeeze is the default.")
@options.batch_size("Slices")
@click.option("--seed", type=int, metavar="N", help="Of the noise; 0 is the default.")
@options.device
@options.threads
@options.config_file()
@options.sets
@options.resume("Predict what is missing (default), or replace what is there.")
@options.no_progress
@options.one_line_errors
def command(
    given: Path,
    output: Path,
    pattern: str | None,
    slices: str,
    threshold: float | None,
    run: Path | None,
    lesion_sign: str | None,
    white: float | None,
    checkpoint: str | None,
    file: Path | None,
    sets: tuple[str, ...],
    resume: bool,
    no_progress: bool,
    **flags: Any,
) -> None:
    """Write NAME_anomaly, NAME_reconstruction and, with a threshold, NAME_mask for each image NAME.

    On the image's own grid: a NIfTI with its shape and affine, a PNG for a PNG, .npy for .npy. What is there with the
    same settings is not computed again. Exit codes: 0 done, 1 a file failed, 2 wrong usage, 130 interrupted.
    """
    from uadbench.bench.predict.predict import Request
    from uadbench.bench.predict.setup import make_setup
    from uadbench.bench.predict.sources import check_slices

    check_slices(slices)
    flags["methods"] = flags.pop("method")
    config = _config(file, flags, sets, checkpoint)
    options.warn_of_plugins()
    setup = make_setup(config, threshold, run, int(lesion_sign) if lesion_sign else None)
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    request = Request(
        given,
        output,
        setup,
        slices,
        pattern,
        white,
        command=shlex.join(["bench", *words]),
    )
    _show(_execute(request, not resume, no_progress))


def _config(
    file: Path | None, flags: dict[str, Any], sets: tuple[str, ...], checkpoint: str | None
) -> RunConfig:
    given = load_config(file) if file else {}
    pairs = [parse_set(text) for text in sets]
    config = make_config(given, flags, pairs)
    if checkpoint is None:
        return config
    from uadbench.bench.predict.setup import network_of

    return make_config(given, flags, [*pairs, (f"checkpoints.{network_of(config)}", checkpoint)])


def _execute(request: Request, overwrite: bool, no_progress: bool) -> Predicted:
    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.predict.predict import execute

    hint = f"files that are done are kept. To go on: {request.command}"
    with options.resumable(hint), progress_bar(silent=no_progress) as progress:
        return execute(request, overwrite, progress, options.say)


def _show(predicted: Predicted) -> None:
    if predicted.there:
        options.say(f"{predicted.there} of {len(predicted.files)} files were there already")
    failed = predicted.failed
    for entry in failed[:10]:
        click.echo(f"failed: {entry['input']}: {entry['reason']}", err=True)
    if len(failed) > 10:
        click.echo(f"failed: {len(failed) - 10} more, see predictions.json", err=True)
    for entry in predicted.files:
        for one in entry["outputs"].values():
            click.echo(predicted.output / one["file"])
    click.echo(predicted.output / "predictions.json")
    if failed:
        sys.exit(1)
