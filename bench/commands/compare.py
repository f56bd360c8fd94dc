"""``bench compare``: test the differences between variants of a run, or between two runs, case by case."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from uadbench.bench.commands.options import one_line_errors


def _listed(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b')."""
    return tuple(part for piece in (text or "").split(",") if (part := piece.strip()))


@click.command(name="compare")
@click.argument("run_a", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("run_b", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--methods",
    metavar="A,B",
    callback=_listed,
    help="What to compare: thor, thor:simplex, or the beginning of a variant's label or folder. Of one run, each "
    "other one against the first; of two, the first's A against the second's B.",
)
@click.option(
    "--backends",
    metavar="X,Y",
    callback=_listed,
    help="Compare back ends of the same variant, such as torch,openvino:bf16; with one name, compare there instead of "
    "on torch fp32.",
)
@click.option(
    "--measure",
    "measures",
    multiple=True,
    metavar="NAME",
    help="dice_max, dice_average, dice_case, latency and network by default (of boxes box_f1, box_f1_papers, "
    "box_recall and froc_mean); also auprc, dice_small and any other score. May be given again.",
)
@click.option(
    "--fail-on",
    "limits",
    multiple=True,
    metavar="MEASURE=LIMIT",
    help="Exit with 1 when B is worse than A by more than the limit and the 95 % interval of the change leaves out "
    "0, or when that cannot be judged: dice_max=-0.02 (a fraction, here 2 points), dice (of single cases), "
    "latency=+10% (of A's). May be given again.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything to stdout as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="One line a measure to stdout as CSV.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option("--force", is_flag=True, help="Compare although the data differ.")
@one_line_errors
def command(
    run_a: Path, run_b: Path | None, measures: tuple[str, ...], limits: tuple[str, ...], **more: Any
) -> None:
    """Compare variants of one RUN, or two RUNs, on the cases that both sides finished: paired differences B - A.

    Of one run, the variants that --methods names, each against the first; without it, all against the one with the
    highest max Dice (of boxes: F1). Of two runs, the same variants on the same back ends.

    Pooled scores are computed from the stored maps and resampled alike on both sides; their p is the bootstrap's, that
    of single cases a Wilcoxon signed-rank test; all are Holm-corrected over all rows. Intervals are 95 % bootstrap
    intervals over subjects (for times: over batches). Times taken under load are not judged.

    Results go to stdout, notes to stderr. Exit codes: 0, 1 when a --fail-on limit is broken, 2 when there is nothing
    to compare.
    """
    from uadbench.bench.compare import forms
    from uadbench.bench.compare.gates import parse_gate, verdicts
    from uadbench.bench.compare.measures import check_measures, default_of
    from uadbench.bench.compare.runs import compare_runs
    from uadbench.reports.runs import Held, load_run

    gates = [parse_gate(text) for text in limits]
    as_json, as_csv = more.pop("as_json"), more.pop("as_csv")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    check_measures(measures)
    held = Held()
    runs = [load_run(path, held) for path in (run_a, run_b) if path is not None]
    wanted = tuple(dict.fromkeys((*(measures or default_of(runs)), *(gate.measure for gate in gates))))
    comparison = compare_runs(runs, wanted, **more)
    reasons = verdicts(comparison, gates)
    show = forms.as_json if as_json else forms.as_csv if as_csv else forms.as_text
    click.echo(show(comparison).rstrip("\n"))
    for note in comparison.notes:
        click.echo(f"note: {note}", err=True)
    for reason in reasons:
        click.echo(f"FAIL {reason}", err=True)
    if gates and not reasons:
        click.echo(f"ok: {', '.join(gate.text for gate in gates)}", err=True)
    sys.exit(1 if reasons else 0)
