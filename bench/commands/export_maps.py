"""``bench export-maps``: maps, reconstructions, inputs and truths of a finished run for other tools."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from uadbench.bench.commands import options


@click.command(name="export-maps")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--format",
    "form",
    type=click.Choice(["nifti", "png", "npy"]),
    default="nifti",
    help="nifti is the default.",
)
@options.cells
@options.map_white
@options.output("Default: RUN-maps, beside the run.")
@options.overwrite()
@options.no_progress
@options.one_line_errors
def command(
    run: Path,
    form: str,
    cells: tuple[str, ...],
    white: float | None,
    output: Path | None,
    overwrite: bool,
    no_progress: bool,
) -> None:
    """Write what RUN keeps of each case as NIfTI, PNG or .npy, masks at its threshold, and nnU-Net's summary.json.

    On the run's own grid of 128 x 128. index.csv says which file is what. Exit codes: 0 done, 1 a case of the run
    cannot be read, 2 wrong usage.
    """
    from uadbench.bench.commands.progress import progress_bar
    from uadbench.bench.maps.export import choose_cells, export_maps
    from uadbench.reports.runs import load_run

    loaded = load_run(run)
    chosen = choose_cells(loaded, cells)
    target = output or run.resolve().with_name(f"{run.resolve().name}-maps")
    with progress_bar(silent=no_progress) as progress:
        told = progress(sum(cell.n_cases for cell in chosen), 0)
        exported = export_maps(
            loaded, chosen, target, form, white, overwrite, lambda slug: told(slug, 1), options.say
        )
    for slug, case_id, reason in exported.failed[:10]:
        click.echo(f"failed: {slug}, case {case_id}: {reason}", err=True)
    click.echo(f"{exported.files} files of {len(chosen)} cells")
    click.echo(exported.index)
    if exported.failed:
        sys.exit(1)
