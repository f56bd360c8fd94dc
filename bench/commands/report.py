"""``bench report``: the leaderboard of any set of runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write; default: the (first) RUN.",
)
def command(runs: tuple[Path, ...], output: Path | None) -> None:
    """Write leaderboard.csv, leaderboard.md and leaderboard.html from one RUN directory or several."""
    from rich.console import Console

    from uadbench.reports.leaderboard import rows, terminal_table, write_reports
    from uadbench.reports.store import RunError

    try:
        written = write_reports(list(runs), output or runs[0])
        frame = rows(list(runs))
    except RunError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"{output or runs[0]}: cannot be written ({error.strerror})") from error
    Console().print(terminal_table(frame))
    for path in written:
        click.echo(path)
