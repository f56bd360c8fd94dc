"""``bench failures``: the cases in which a cell of a run fails most, as a table and as one PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from uadbench.reports.runs import Cell, Run


@click.command(name="failures")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--cells",
    metavar="NAMES",
    help="Only these, comma-separated; patterns such as 'thor*' too. With --output exactly one.",
)
@options.output("Where to write the picture of one cell, a .png.", metavar="FILE")
@click.option("--overwrite", is_flag=True, help="Replace the file where it is there.")
@options.one_line_errors
def command(run: Path, cells: str | None, output: Path | None, overwrite: bool) -> None:
    """Print the lesions that each cell of RUN misses most and its largest false alarms, as CSV; draw those of one.

    The rule stands beneath the picture, and in the page's part "Failures", which shows the same cases.
    """
    from uadbench.bench.maps.export import choose_cells
    from uadbench.bench.plan.config import ConfigError
    from uadbench.reports.runs import load_run

    loaded = load_run(run)
    chosen = choose_cells(loaded, [name.strip() for name in cells.split(",")] if cells is not None else [])
    if output is not None and output.suffix.lower() != ".png":
        raise ConfigError(f"{output}: is no .png; name such a file")
    if output is not None and output.exists() and not overwrite:
        raise ConfigError(f"{output}: is there; name another file, or --overwrite to replace it")
    if output is not None and len(chosen) > 1:
        names = ", ".join(cell.slug for cell in chosen)
        raise ConfigError(
            f"a picture is of one cell, and these are {len(chosen)}; choose by --cells from {names}"
        )
    _print(chosen)
    if output is not None:
        _draw(loaded, chosen[0], output)


def _print(cells: list[Cell]) -> None:
    from uadbench.reports.failures import failure_rows, find_failures

    failures = {cell.slug: find_failures(cell) for cell in cells}
    click.echo(failure_rows(failures), nl=False)
    for slug, found in failures.items():
        if not found:
            options.say(
                f"{slug}: no failures; a run of an earlier version is scored again by its `bench run`"
            )


def _draw(run: Run, cell: Cell, output: Path) -> None:
    from uadbench.reports.atomic import write_bytes
    from uadbench.reports.failure_picture import failure_picture

    write_bytes(output, failure_picture(run, cell))
    click.echo(output, err=True)
