"""``bench run``: from methods and a data set to scores, a leaderboard and a page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options
from uadbench.bench.plan.config import RunConfig, load_config, make_config, parse_set
from uadbench.bench.plan.selection import read_ids

if TYPE_CHECKING:
    from uadbench.bench.run.run import Finished
    from uadbench.bench.run.session import Session

# Rough, for the estimates of --dry-run only: the compact network's cost, what a CPU core makes of it, and what is
# left of the two float32 arrays a case and cell (anomaly map, reconstruction) after compression.
GFLOP_A_CALL = 6.0
GFLOPS_A_CORE = 40.0
COMPRESSED = 0.6


@click.command(name="run")
@click.option(
    "--methods",
    metavar="NAMES",
    help="Comma-separated, each NAME or NAME:NOISE, or all; see `bench list`.",
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="phantom (default), or another; see `bench list`.",
)
@options.data_root
@click.option("--noise", metavar="KIND", help="gaussian, simplex or default (each method's own).")
@click.option(
    "--backends", metavar="NAMES", help="Comma-separated, each NAME or NAME:PRECISION; torch is the default."
)
@click.option("--precision", metavar="NAMES", help="fp32 (default), bf16, int8; comma-separated for several.")
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
@click.option("--batch-size", type=int, metavar="N", help="Cases in one network call; 4 is the default.")
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
@options.output("Default: runs/DATASET-HASH.")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Settings; flags win."
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting, or METHOD.FIELD=VALUE.")
@click.option(
    "--resume/--overwrite", default=True, help="Finish the run that is there (default), or start it anew."
)
@click.option("--dry-run", is_flag=True, help="Check everything, show what would run, and compute nothing.")
@options.no_progress
@options.one_line_errors
def command(
    file: Path | None,
    sets: tuple[str, ...],
    output: Path | None,
    resume: bool,
    dry_run: bool,
    no_progress: bool,
    subjects_file: Path | None,
    **flags: Any,
) -> None:
    """Run METHODS on a data set, score them against truth and five trivial floors, write a leaderboard.

    A run that was interrupted is finished by the same command. Exit codes: 0 done, 1 a case failed or a file
    cannot be written, 2 wrong usage, 130 interrupted.
    """
    flags["shift"] = flags["shift"] or None
    flags["subjects"] = read_ids(subjects_file) if subjects_file else None
    config = make_config(load_config(file) if file else {}, flags, [parse_set(text) for text in sets])
    options.warn_of_plugins()
    # To follow the hint, or the manifest, is to finish the run: --overwrite would delete what is done.
    command_line = shlex.join(["bench", *(word for word in sys.argv[1:] if word != "--overwrite")])
    session = _open(config, output, command_line)
    for note in session.plan.notes:
        _say(note)
    if dry_run:
        _check_output(session, not resume)
        _show_session(session)
        return
    finished = _execute(session, not resume, no_progress, command_line)
    _show(finished)
    if finished.failed:
        sys.exit(1)


def _open(config: RunConfig, output: Path | None, command_line: str) -> Session:
    """Every check that a run makes before it writes: names, settings, data, weights, back ends."""
    from uadbench.bench.plan.plan import make_plan
    from uadbench.bench.run.session import open_session

    return open_session(make_plan(config), output, command_line)


def _check_output(session: Session, overwrite: bool) -> None:
    from uadbench.bench.run.directory import check_output
    from uadbench.reports.store import RunDirectory

    check_output(RunDirectory(session.output), session.manifest, overwrite)


def _execute(session: Session, overwrite: bool, no_progress: bool, command_line: str) -> Finished:
    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.run.interrupt import Interrupted, ignore_signals
    from uadbench.bench.run.run import execute

    hint = f"what is done is kept. To finish it: {command_line}"
    try:
        with progress_bar(silent=no_progress) as progress:
            return execute(session, overwrite, progress, _say)
    except Interrupted:
        ignore_signals()
        click.echo(f"interrupted; {hint}", err=True)
        sys.exit(130)
    except OSError as error:
        click.echo(f"error: {options.reason(error)}; {hint}", err=True)
        sys.exit(1)


def _say(line: str) -> None:
    click.echo(f"note: {line}", err=True)


def _show_session(session: Session) -> None:
    from rich.console import Console
    from rich.table import Table

    plan = session.plan
    table = Table("kind", "t_start", "NFE a case", "cell")
    table.columns[-1].overflow = "fold"
    for cell in plan.cells:
        kind = "floor" if cell.variant.floor else "method"
        start = str(max(cell.walk.levels, default="-"))
        table.add_row(kind, start, str(cell.walk.nfe), cell.slug)
    Console(soft_wrap=True).print(table)
    n_test = len(plan.dataset.split("test"))
    click.echo(f"data set    {plan.dataset.name}: {plan.dataset.title}")
    click.echo(f"cases       {n_test} test, {len(plan.cases) - n_test} healthy for thresholds")
    click.echo(
        f"calls       {plan.calls} network calls, one image each, in batches of {plan.config.batch_size}"
    )
    there = ", which is there and would be taken up or overwritten" if session.output.exists() else ""
    if plan.shifts:
        shifts = ", ".join(shift.label for shift in plan.shifts)
        click.echo(
            f"shifts      {shifts}: {plan.shift_calls} calls more, on {len(plan.shift_cases)} healthy cases"
        )
    click.echo(f"output      {session.output}{there}")
    click.echo(f"disk        about {_size(_bytes(session))}")
    seconds = (plan.calls + plan.shift_calls) * GFLOP_A_CALL / (GFLOPS_A_CORE * plan.threads)
    estimate = f"{_duration(seconds)} on {plan.threads} threads, very roughly"
    click.echo(
        f"estimate    {estimate if plan.config.device == 'cpu' else 'none for this device'}; "
        "nothing was computed"
    )


def _bytes(session: Session) -> float:
    """Disk need: the inputs once, and an anomaly map and a reconstruction for each case and cell."""
    plan = session.plan
    side = int(str(plan.dataset.preprocessing.get("size", 128)))
    return len(plan.cases) * (1 + 2 * len(plan.cells)) * side * side * 4 * COMPRESSED


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


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
