"""``bench parity``: hold a finished run's back ends against torch fp32."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from rich.table import Table


@click.command(name="parity")
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NETWORK=FILE",
    help="A network such as unet-gaussian, where it no longer lies where the run found it. May be given again.",
)
@click.option(
    "--cases",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Cases for network and chain, at most the run's batch size.",
)
@options.threads
@options.one_line_errors
def command(run_path: Path, checkpoints: tuple[str, ...], cases: int, threads: int | None) -> None:
    """Judge every cell of RUN that is not torch fp32, and write RUN/parity.json.

    Three parts: one network call (its error as a part of the image and, where it gives one, of a pixel's probability,
    at several levels and seeds), the method's whole chain with the same noise, and the scores of the run (max Dice,
    AUPRC). Write the leaderboard again afterwards with `bench report RUN`: it shows a speed-up only where all three
    hold.

    Exit codes: 0 none fails, 1 a cell fails or a file cannot be written, 2 the run cannot be judged.
    """
    from rich.console import Console

    from uadbench.bench.compare.judge import judge_run, needs_parity
    from uadbench.bench.run.reopen import network_opener, reopen_perceptuals
    from uadbench.reports.atomic import RunError
    from uadbench.reports.runs import load_run

    def say(line: str) -> None:
        click.echo(line, err=True)

    run = load_run(run_path)
    if not needs_parity(run):
        raise RunError(f"{run_path}: every cell ran on torch fp32, so there is nothing to compare")
    try:
        with ExitStack() as stack:
            opener = network_opener(run, _parse(checkpoints), threads, stack, say)
            result = judge_run(
                run,
                opener,
                reopen_perceptuals(run),
                cases,
                lambda slug: say(f"comparing {slug}"),
            )
    except KeyError as error:
        raise RunError(f"{run_path}: the manifest lacks {error}; it was made by another version") from error
    run.directory.write_parity(result)
    console = Console(file=sys.stdout)
    console = console if console.is_terminal else Console(file=sys.stdout, width=150)
    console.print(_table(result))
    click.echo(f"written: {run_path / 'parity.json'}", err=True)
    sys.exit(1 if any(entry["verdict"] == "fail" for entry in result.values()) else 0)


def _parse(pairs: tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not path:
            raise click.BadParameter(f"{pair!r} is not NETWORK=FILE", param_hint="--checkpoint")
        parsed[name] = path
    return parsed


def _table(result: dict[str, dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="parity with torch fp32")
    for name in ("cell", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for slug, entry in result.items():
        table.add_row(escape(slug), entry["verdict"], escape(entry["reason"]))
    return table
