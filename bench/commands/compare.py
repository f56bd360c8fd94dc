"""``bench compare``: test the differences between two runs, case by case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.table import Table

    from uadbench.bench.compare.runs import Comparison, Row

_KEYS = ("method", "noise", "steps", "backend", "precision")
_MEASURES = ("dice", "latency", "network")
_WIDTH = 150  # where the output is no terminal, so that no column is cut off


@click.command(name="compare")
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option(
    "--measure",
    "measures",
    type=click.Choice(_MEASURES),
    multiple=True,
    default=("dice", "latency"),
    show_default=True,
    help="What to compare; may be given again.",
)
@click.option(
    "--fail-on",
    "limits",
    multiple=True,
    metavar="MEASURE=LIMIT",
    help="Exit with 1 when B is worse than A by more than the limit and the 95 % interval of the change leaves out "
    "0: dice=-0.02 (a fraction, here 2 points), latency=+10% (of A's mean). May be given again.",
)
@click.option(
    "--across", type=click.Choice(_KEYS), multiple=True, help="Let this key differ between the matched cells."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--force", is_flag=True, help="Compare although data or seeds differ.")
def command(
    run_a: Path,
    run_b: Path,
    measures: tuple[str, ...],
    limits: tuple[str, ...],
    across: tuple[str, ...],
    seed: int,
    force: bool,
) -> None:
    """Compare RUN_B with RUN_A on the cases that both finished: paired differences B - A.

    Cells are matched by method, noise, steps, back end and precision. Intervals are 95 % bootstrap intervals over
    subjects (for times: over batches); p is a Wilcoxon signed-rank test, Holm-corrected over all rows. The table
    goes to stdout, notes to stderr. Exit codes: 0, 1 when a --fail-on limit is broken, 2 when the runs cannot be
    compared.
    """
    from rich.console import Console

    from uadbench.bench.compare.gates import parse_gate, verdicts
    from uadbench.bench.compare.runs import CompareError, compare_runs
    from uadbench.reports.atomic import RunError
    from uadbench.reports.runs import load_run

    try:
        gates = [parse_gate(text) for text in limits]
        wanted = tuple(dict.fromkeys((*measures, *(gate.measure for gate in gates))))
        comparison = compare_runs(load_run(run_a), load_run(run_b), wanted, across, seed, force=force)
        console = Console(file=sys.stdout)
        if not console.is_terminal:
            console = Console(file=sys.stdout, width=_WIDTH)
        console.print(_table(comparison))
        for note in comparison.notes:
            click.echo(f"note: {note}", err=True)
        reasons = verdicts(comparison, gates)
    except (CompareError, RunError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    for reason in reasons:
        click.echo(f"FAIL {reason}", err=True)
    if gates and not reasons:
        click.echo(f"ok: {', '.join(gate.text for gate in gates)}", err=True)
    sys.exit(1 if reasons else 0)


def _table(comparison: Comparison) -> Table:
    from rich.table import Table

    table = Table(title="B - A, paired by case")
    for name in ("cell", "measure"):
        table.add_column(name, overflow="fold")
    for name in ("cases", "units", "A", "B", "B - A", "95 % interval", "of A", "p", "p (Holm)", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> list[str]:
    """One row of text; Dice in percent, times in milliseconds."""
    from rich.markup import escape

    from uadbench.bench.compare.runs import MEASURES

    change, measure = row.change, MEASURES[row.measure]
    scale = 1.0 if measure.timed else 100.0
    title = f"{row.measure} {'ms' if measure.timed else '%'}"

    def number(value: float, sign: str = "") -> str:
        return f"{value * scale:{sign}.2f}"

    interval = "-"
    if change.lo is not None and change.hi is not None:
        interval = f"{number(change.lo, '+')} .. {number(change.hi, '+')}"
    better = change.value * measure.better > 0
    # Both must hold, or many rows together would make chance look like a finding.
    settled = change.significant and (row.p_holm is None or row.p_holm < 0.05)
    return [
        escape("/".join(row.cell)),
        title,
        str(change.n_cases),
        str(change.n_subjects),
        number(change.mean_a),
        number(change.mean_b),
        number(change.value, "+"),
        interval,
        "-" if row.relative is None else f"{row.relative:+.1%}",
        "-" if change.p is None else f"{change.p:.2g}",
        "-" if row.p_holm is None else f"{row.p_holm:.2g}",
        ("better" if better else "worse") if settled else "=",
    ]
