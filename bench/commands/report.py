"""``bench report``: the leaderboard of any set of runs."""

from __future__ import annotations

from pathlib import Path

import click

from uadbench.bench.commands import options


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@options.output("Where to write; default: the (first) RUN.")
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    metavar="PROFILE",
    help="Also show this profile's times on the page: the folder of a `bench profile`.",
)
@options.one_line_errors
def command(runs: tuple[Path, ...], output: Path | None, profile: Path | None) -> None:
    """Write leaderboard.csv, leaderboard.md and leaderboard.html from one RUN directory or several."""
    from rich.console import Console

    from uadbench.bench.profile.compare import load_profile
    from uadbench.reports.leaderboard import rows, terminal_table, write_reports

    shown = load_profile(profile) if profile else None
    written = write_reports(list(runs), output or runs[0], profile=shown)
    Console().print(terminal_table(rows(list(runs))))
    for path in written:
        click.echo(path)
