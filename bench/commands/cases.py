"""``bench cases``: the table of single cases, one row a case and cell, as CSV or Parquet."""

from __future__ import annotations

from pathlib import Path

import click

from uadbench.bench.commands import options


@click.command(name="cases")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@options.output(
    "Where to write, a .csv or .parquet; repeatable. Without it CSV is printed.",
    metavar="FILE",
    multiple=True,
)
@options.overwrite("Replace the files where they are there.")
@options.one_line_errors
def command(runs: tuple[Path, ...], output: tuple[Path, ...], overwrite: bool) -> None:
    """Write one row a case and cell of each RUN: case, method, settings, back end, scores, times, reason of failure.

    Parquet needs the extra `parquet`.
    """
    from uadbench.reports.cases import case_rows, check_targets, csv_bytes, write_cases
    from uadbench.reports.runs import Held, load_run

    check_targets(output, overwrite)  # at once, since reading the runs may take long
    held = Held()
    frame = case_rows([load_run(path, held) for path in runs])
    if not output:
        click.echo(csv_bytes(frame).decode(), nl=False)
    for path in write_cases(frame, output, overwrite):
        click.echo(path)
