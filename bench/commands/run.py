"""``bench run``: from methods and a data set to scores, a leaderboard and a page."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options
from uadbench.bench.commands.dry_run import show_session
from uadbench.bench.plan.config import ConfigError, RunConfig, load_config, make_config, parse_set
from uadbench.bench.plan.selection import read_ids
from uadbench.bench.plan.shards import read_shard

if TYPE_CHECKING:
    from uadbench.bench.run.cluster import Cluster
    from uadbench.bench.run.run import Finished
    from uadbench.bench.run.session import Session


@click.command(name="run")
@click.option(
    "--methods",
    metavar="NAMES",
    help="Comma-separated, each NAME or NAME:NOISE, or all; see `bench list`.",
)
@options.dataset
@options.data_root
@click.option("--noise", metavar="KIND", help="gaussian, simplex or default (each method's own).")
@options.backends
@click.option(
    "--precision", metavar="NAMES", help="fp32 (default), bf16, int8, int8-bf16; comma-separated for several."
)
@click.option(
    "--steps", metavar="N[,N]", help="Network calls of a chain, 1 to 1000; `paper` visits every timestep."
)
@click.option("--t-start", type=int, metavar="N", help="Start level of the chain, 1 to 1000.")
@click.option(
    "--variance", metavar="KIND", help="Of a chain's steps: fixed-small (default, as published) or exact."
)
@click.option("--limit", type=int, metavar="N", help="At most so many test cases.")
@click.option("--cases", metavar="ID[,ID]", help="These test cases alone; see `bench data preview`.")
@click.option(
    "--subjects",
    "subjects_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Test cases of these subjects alone: a text file with one id a line.",
)
@options.batch_size("Cases")
@options.seed
@click.option(
    "--perceptual",
    metavar="NAMES",
    help="brain-squeeze (default), lpips-squeeze, lpips-alex, lpips-vgg; comma-separated for several.",
)
@click.option(
    "--post",
    metavar="NAMES",
    help="Post-processing of the maps: none (default), behrendt; comma-separated for both.",
)
@click.option(
    "--shift",
    multiple=True,
    metavar="KIND=V[,V]",
    help="Run healthy test cases again with contrast, gain or gamma changed, as contrast=0.6,0.8; repeatable.",
)
@options.device
@options.threads
@click.option(
    "--streams",
    metavar="N",
    help="Batches at a time, each with its share of the threads: 1 (default), N, or auto, which measures. "
    "Above 1 throughput is recorded in place of latency.",
)
@click.option(
    "--shard",
    metavar="K/N",
    help="Compute only the K-th of N parts of the cases, as task K of an array of N; `bench merge` puts them together.",
)
@click.option(
    "--executor",
    type=click.Choice(["here", "ray"]),
    default="here",
    help="Who computes batches: this process (default), or workers on a cluster of Ray.",
)
@click.option(
    "--ray-address",
    metavar="ADDR",
    help="Of a cluster that runs; RAY_ADDRESS, else one is started on this machine.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 4096),
    metavar="N",
    help="On Ray; as many as it has room for by default.",
)
@options.output("Default: runs/DATASET-HASH.")
@options.config_file()
@options.sets
@options.resume("Finish the run that is there (default), or start it anew.")
@click.option("--dry-run", is_flag=True, help="Check everything, show what would run, and compute nothing.")
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="PROFILE",
    help="With --dry-run: estimate from times that `bench profile` measured, shared by --workers.",
)
@options.no_progress
@options.one_line_errors
def command(
    file: Path | None,
    sets: tuple[str, ...],
    output: Path | None,
    shard: str | None,
    executor: str,
    ray_address: str | None,
    workers: int | None,
    resume: bool,
    dry_run: bool,
    profile: Path | None,
    no_progress: bool,
    subjects_file: Path | None,
    **flags: Any,
) -> None:
    """Run METHODS on a data set, score them against truth and trivial floors, write a leaderboard.

    A run that was interrupted is finished by the same command. Exit codes: 0 done, 1 a case failed or a file
    cannot be written, 2 wrong usage, 130 interrupted.
    """
    _check_use(executor, ray_address, workers, dry_run, profile is not None)
    flags["shift"] = flags["shift"] or None
    flags["subjects"] = read_ids(subjects_file) if subjects_file else None
    config = make_config(load_config(file) if file else {}, flags, [parse_set(text) for text in sets])
    if config.vary:
        raise ConfigError(
            f"{', '.join(config.vary)} varied, which `bench sweep` takes and `bench run` does not"
        )
    carry_out(
        config,
        Way(output, resume, dry_run, no_progress, shard, executor, ray_address, workers, profile),
    )


@dataclass(frozen=True)
class Way:
    """How a configuration is carried out: the options of these names."""

    output: Path | None
    resume: bool
    dry_run: bool
    no_progress: bool
    shard: str | None = None
    executor: str = "here"
    ray_address: str | None = None
    workers: int | None = None
    profile: Path | None = None


def carry_out(config: RunConfig, way: Way) -> None:
    """Do what a configuration says, or show what that would be; exits with 1 where a case failed."""
    options.warn_of_plugins()
    # To follow the hint, or the manifest, is to finish the run: --overwrite would delete what is done.
    command_line = shlex.join(["bench", *(word for word in sys.argv[1:] if word != "--overwrite")])
    session = _open(config, way.output, command_line, way.shard)
    for note in session.plan.notes:
        options.say(note)
    cluster = _cluster(session, way.ray_address, way.workers) if way.executor == "ray" else None
    if way.dry_run:
        _check_output(session, not way.resume)
        show_session(session, way.profile, way.workers or 1)
        return
    finished = _execute(session, not way.resume, way.no_progress, command_line, cluster)
    _show(finished)
    if finished.failed:
        sys.exit(1)


def _open(config: RunConfig, output: Path | None, command_line: str, shard: str | None) -> Session:
    """Every check that a run makes before it writes: names, settings, data, weights, back ends."""
    part = read_shard(shard) if shard is not None else None
    from uadbench.bench.plan.plan import make_plan
    from uadbench.bench.run.session import open_session

    return open_session(replace(make_plan(config), shard=part), output, command_line)


def _check_use(executor: str, address: str | None, workers: int | None, dry_run: bool, profile: bool) -> None:
    """Refuse options that would do nothing; an estimate is of so many workers, whoever they are."""
    if executor == "here" and (address or (workers and not dry_run)):
        raise click.UsageError("--ray-address and --workers speak of Ray; give --executor ray, too")
    if profile and not dry_run:
        raise click.UsageError("--profile is for the estimate of --dry-run; give that, too")


def _cluster(session: Session, address: str | None, workers: int | None) -> Cluster:
    from uadbench.bench.run.cluster import Cluster, check_cluster

    cluster = Cluster(address or "", workers)
    check_cluster(session.plan, cluster)
    return cluster


def _check_output(session: Session, overwrite: bool) -> None:
    from uadbench.bench.run.directory import check_output
    from uadbench.reports.store import RunDirectory

    check_output(RunDirectory(session.output), session.manifest, overwrite)


def _execute(
    session: Session, overwrite: bool, no_progress: bool, command_line: str, cluster: Cluster | None
) -> Finished:
    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.run.run import execute

    hint = f"what is done is kept. To finish it: {command_line}"
    with options.resumable(hint), progress_bar(silent=no_progress) as progress:
        return execute(session, overwrite, progress, options.say, cluster)


def _show(finished: Finished) -> None:
    from rich.console import Console

    from uadbench.reports.leaderboard import rows, terminal_table

    for note in finished.notes:
        click.echo(f"warning: {note}", err=True)
    lines = _failures(finished.failed)
    for line in lines[:10]:
        click.echo(f"failed: {line}", err=True)
    if len(lines) > 10:
        click.echo(f"failed: {len(lines) - 10} more, see cells/*/cases.jsonl", err=True)
    if finished.shard:
        click.echo(f"shard {finished.shard} is done; put all together: bench merge SHARD... --output DIR")
        click.echo(finished.output)
        return
    Console().print(terminal_table(rows([finished.output])))
    for path in finished.reports:
        click.echo(path)


def _failures(failed: list[tuple[str, str, str]]) -> list[str]:
    """(cell, case id, reason) as lines: a case that failed for one reason in several cells is named once."""
    cells: dict[tuple[str, str], list[str]] = {}
    for slug, case_id, reason in failed:
        cells.setdefault((case_id, reason), []).append(slug)
    return [
        f"{slugs[0] if len(slugs) == 1 else f'{len(slugs)} cells'}, case {case_id}: {reason}"
        for (case_id, reason), slugs in cells.items()
    ]
