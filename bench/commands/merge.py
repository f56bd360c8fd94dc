"""``bench merge``: the shards of a run become the run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from uadbench.bench.commands import options


@click.command(name="merge")
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARD...")
@options.output("Where the run is put together; what is there of it is kept.", required=True)
@click.option("--partial", is_flag=True, help="Score what is there, although shards or cases are missing.")
@options.overwrite("Start anew where there is a run already.")
@options.no_progress
@options.one_line_errors
def command(
    shards: tuple[Path, ...], output: Path, partial: bool, overwrite: bool, no_progress: bool
) -> None:
    """Put together the SHARDs that `bench run --shard K/N` made: copy, score, write the leaderboard.

    Scores are the same to the byte as those of one process. The shards stay as they are. No network is called, so
    parity is not judged: `bench parity DIR` does that.

    Exit codes: 0 done, 1 a case failed or a file cannot be written, 2 shards are missing, unfinished or of different
    runs, 130 interrupted.
    """
    from rich.console import Console

    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.run.merge import merge
    from uadbench.bench.run.parts import read_parts
    from uadbench.reports.leaderboard import rows, terminal_table

    parts = read_parts(shards)
    with progress_bar(silent=no_progress) as progress:
        merged = merge(parts, output, partial, overwrite, progress, options.say)
    if merged.missing:
        click.echo(f"warning: this is a part of the run: {merged.missing}", err=True)
    if merged.n_failed:
        click.echo(f"failed: {merged.n_failed} results, see cells/*/cases.jsonl", err=True)
    Console().print(terminal_table(rows([merged.output])))
    for path in merged.reports:
        click.echo(path)
    sys.exit(1 if merged.n_failed else 0)
