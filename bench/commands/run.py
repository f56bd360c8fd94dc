"""``bench run``: from methods and a data set to scores, a leaderboard and a page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.plan.config import ConfigError, RunConfig, load_config, make_config, parse_set
from uadbench.bench.run.machine import prepare_process

if TYPE_CHECKING:
    from uadbench.bench.run.run import Finished, Plan

# Rough, for the estimate of --dry-run only: the compact network's cost, and what a CPU core makes of it.
GFLOP_A_CALL = 6.0
GFLOPS_A_CORE = 40.0


@click.command(name="run")
@click.option(
    "--methods", metavar="NAMES", help="Comma-separated, each NAME or NAME:NOISE; see `bench list`."
)
@click.option("--dataset", metavar="NAME", help="phantom (default), ixi-stroke, soop-flair or folder.")
@click.option("--data-root", metavar="DIR", help="Folder of the data; for `folder`, the one with index.csv.")
@click.option("--noise", metavar="KIND", help="gaussian, simplex or default (each method's own).")
@click.option(
    "--backends", metavar="NAMES", help="Comma-separated, each NAME or NAME:PRECISION; torch is the default."
)
@click.option("--precision", metavar="NAMES", help="fp32 (default), bf16; comma-separated for several.")
@click.option("--steps", metavar="N|paper", help="Network calls of a chain; paper visits every timestep.")
@click.option("--t-start", type=int, metavar="N", help="Start level of the chain, 1 to 1000.")
@click.option("--limit", type=int, metavar="N", help="At most so many test cases.")
@click.option("--batch-size", type=int, metavar="N", help="Cases in one network call; 4 is the default.")
@click.option("--seed", type=int, metavar="N", help="Of noise and bootstrap; 0 is the default.")
@click.option("--perceptual", metavar="NAME", help="brain-squeeze (default) or lpips-squeeze.")
@click.option("--device", metavar="NAME", help="cpu (default) or cuda.")
@click.option("--threads", type=int, metavar="N", help="Of the network; the physical cores are the default.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Default: runs/DATASET-HASH.")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), metavar="FILE.toml", help="Settings; flags win."
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting, or METHOD.FIELD=VALUE.")
@click.option(
    "--resume/--overwrite", default=True, help="Finish the run that is there (default), or start it anew."
)
@click.option("--dry-run", is_flag=True, help="Show what would run, and compute nothing.")
@click.option("--no-progress", is_flag=True, help="No progress bar.")
def command(
    file: Path | None,
    sets: tuple[str, ...],
    output: Path | None,
    resume: bool,
    dry_run: bool,
    no_progress: bool,
    **flags: Any,
) -> None:
    """Run METHODS on a data set, score them against truth and four trivial floors, write a leaderboard.

    A run that was interrupted is finished by the same command. Exit codes: 0 done, 1 a case failed or a file
    cannot be written, 2 wrong usage, 130 interrupted.
    """
    prepare_process()
    try:
        config = make_config(load_config(file) if file else {}, flags, [parse_set(text) for text in sets])
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    _run(config, output, not resume, dry_run, no_progress)


def _run(config: RunConfig, output: Path | None, overwrite: bool, dry_run: bool, no_progress: bool) -> None:
    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.run.interrupt import Interrupted
    from uadbench.bench.run.run import execute, make_plan, open_session
    from uadbench.datasets.case import CaseError
    from uadbench.engine.backends import BackendError
    from uadbench.engine.networks.checkpoint import CheckpointError
    from uadbench.engine.perceptual.weights import PerceptualError
    from uadbench.reports.store import RunError

    # To follow the hint, or the manifest, is to finish the run: --overwrite would delete what is done.
    command_line = shlex.join(["bench", *(word for word in sys.argv[1:] if word != "--overwrite")])
    try:
        plan = make_plan(config)
        if dry_run:
            _show_plan(plan)
            return
        session = open_session(plan, output, command_line)
        with progress_bar(silent=no_progress) as progress:
            finished = execute(session, overwrite, progress, _say)
    except Interrupted:
        click.echo(f"interrupted; what is done is kept. To finish it: {command_line}", err=True)
        sys.exit(130)
    except (ConfigError, CaseError, CheckpointError, PerceptualError, BackendError, RunError) as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error)
        click.echo(f"error: {place}{reason}; what is done is kept. To finish it: {command_line}", err=True)
        sys.exit(1)
    _show(finished)
    if finished.failed:
        sys.exit(1)


def _say(line: str) -> None:
    click.echo(f"note: {line}", err=True)


def _show_plan(plan: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("cell", "kind", "t_start", "NFE a case")
    for cell in plan.cells:
        start = getattr(cell.method, "t_start", None)
        table.add_row(cell.slug, "floor" if cell.floor else "method", str(start or "-"), str(cell.nfe))
    Console(soft_wrap=True).print(table)
    n_test = len(plan.dataset.split("test"))
    seconds = plan.calls * GFLOP_A_CALL / (GFLOPS_A_CORE * plan.threads)
    click.echo(f"data set    {plan.dataset.name}: {plan.dataset.title}")
    click.echo(f"cases       {n_test} test, {len(plan.cases) - n_test} healthy for thresholds")
    click.echo(
        f"calls       {plan.calls} network calls, one image each, in batches of {plan.config.batch_size}"
    )
    if plan.config.device == "cpu":
        click.echo(
            f"estimate    {_duration(seconds)} on {plan.threads} threads, very roughly; nothing was computed"
        )
    else:
        click.echo("estimate    none for this device; nothing was computed")


def _show(finished: Finished) -> None:
    from rich.console import Console

    from uadbench.reports.leaderboard import rows, terminal_table

    for note in finished.notes:
        click.echo(f"warning: {note}", err=True)
    for slug, case_id, reason in finished.failed[:10]:
        click.echo(f"failed: {slug}, case {case_id}: {reason}", err=True)
    if len(finished.failed) > 10:
        click.echo(f"failed: {len(finished.failed) - 10} more, see cells/*/cases.jsonl", err=True)
    Console().print(terminal_table(rows([finished.output])))
    for path in finished.reports:
        click.echo(path)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
