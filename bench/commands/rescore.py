"""``bench rescore``: stored maps scored again, without the networks."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uadbench.bench.commands import options

if TYPE_CHECKING:
    from uadbench.bench.score.rescore import Again, Rescored
    from uadbench.reports.runs import Cell, Run


@click.command(name="rescore")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--measures", metavar="NAMES", help="Only these, comma-separated; all is the default.")
@click.option(
    "--n-boot", type=click.IntRange(1, 100_000), metavar="N", help="Bootstrap draws; the run's by default."
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Of the bootstrap; the run's by default.")
@click.option("--post", metavar="NAME", help="Post-process maps that are not yet, such as behrendt.")
@options.cells
@options.output("Default: RUN-rescored, beside the run.")
@options.overwrite()
@options.no_progress
@options.one_line_errors
def command(
    run: Path,
    measures: str | None,
    n_boot: int | None,
    seed: int | None,
    post: str | None,
    cells: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    no_progress: bool,
) -> None:
    """Score the maps that RUN keeps again: other measures, another bootstrap, another post-processing.

    RUN is only read. Scores go to OUTPUT: scores.csv with the run's own beside them, metrics/CELL.json in full.
    """
    from uadbench.bench.maps.export import choose_cells
    from uadbench.bench.score.rescore import Again, check_again, write_rescored
    from uadbench.reports.identity import variant_of
    from uadbench.reports.runs import load_run

    names = tuple(name.strip() for name in measures.split(",")) if measures is not None else None
    again = Again(names, n_boot, seed, post)
    loaded = load_run(run)
    chosen = choose_cells(loaded, cells)
    if post is not None and not cells:
        chosen = [cell for cell in chosen if variant_of(cell.info).post == "none"]
    check_again(again, chosen)
    _check_truth(names or (), str((loaded.manifest.get("dataset") or {}).get("truth", "mask")))
    target = output or run.resolve().with_name(f"{run.resolve().name}-rescored")
    words = shlex.join(["bench", *sys.argv[1:]])
    for path in write_rescored(
        loaded, _score(loaded, chosen, again, no_progress), again, target, overwrite, words
    ):
        click.echo(path)


def _check_truth(measures: tuple[str, ...], truth: str) -> None:
    """ConfigError on a measure that the run's truth, masks or boxes, cannot have."""
    from uadbench.bench.plan.config import ConfigError
    from uadbench.reports.vocabulary import MEASURES

    for name in measures:
        if name in MEASURES and not MEASURES[name].applies_to(truth):
            there = ", ".join(key for key, measure in MEASURES.items() if measure.applies_to(truth))
            raise ConfigError(f"{name} is not of a run whose truth is {truth}; choose from {there}")


def _score(run: Run, cells: list[Cell], again: Again, silent: bool) -> Iterator[Rescored]:
    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.score.rescore import rescore_cell

    with progress_bar(silent=silent) as progress:
        told = progress(sum(cell.n_cases for cell in cells), 0)
        for cell in cells:
            done = rescore_cell(run, cell, again)
            if done.note:
                click.echo(f"note: {done.note}", err=True)
            told(done.slug, cell.n_cases)
            yield done
