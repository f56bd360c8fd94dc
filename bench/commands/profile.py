"""``bench profile``: what a network call and a method cost on every back end, and how far that is to be trusted."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uadbench.bench.commands import options
from uadbench.bench.plan.config import parse_set

if TYPE_CHECKING:
    from uadbench.bench.profile.measure import Instruments
    from uadbench.bench.profile.plan import ProfilePlan


class Limit(click.ParamType):
    """ "5%" as 0.05."""

    name = "PERCENT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"\s*\+?(\d{1,4}(?:\.\d{1,6})?)\s*%\s*", str(value))
        if not match:
            self.fail(f"{str(value)[:80]!r} is no limit; write a percentage, such as 5%", param, ctx)
        return float(match[1]) / 100


def _names(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """'a,b' -> ('a', 'b')."""
    if text is None:
        return ()
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise click.BadParameter(f"{text[:80]!r} holds an empty name", context, option)
    return tuple(dict.fromkeys(parts))


def _sizes(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
    """'1,4' -> (1, 4)."""
    parts = _names(context, option, text)
    for part in parts:
        if not (part.isascii() and part.isdigit() and len(part) <= 4 and 1 <= int(part) <= 4096):
            raise click.BadParameter(f"{part[:80]!r} is no number from 1 to 4096", context, option)
    return tuple(sorted({int(part) for part in parts}))


@click.command(name="profile")
@click.option(
    "--networks",
    metavar="NAMES",
    callback=_names,
    help="Comma-separated names or files NAME.safetensors; unet-gaussian, or those of the methods, by default.",
)
@click.option("--methods", metavar="NAMES", help="Also time whole methods, each NAME or NAME:NOISE.")
@click.option(
    "--backends",
    metavar="NAMES",
    help="Comma-separated, each NAME or NAME:PRECISION; all that run here by default. torch fp32 is always timed.",
)
@click.option("--precision", metavar="NAMES", help="Of back ends named without one; fp32 is the default.")
@options.device
@click.option(
    "--batch",
    "batches",
    metavar="N[,N]",
    callback=_sizes,
    help="Images in a call; 1,4 is the default, on a GPU 1,4,16,64.",
)
@click.option("--steps", metavar="N", help="Network calls of a method's chain.")
@options.seed
@options.threads
@click.option(
    "--rounds",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Timed calls a row; 30 is the default, 10 with --quick. Methods get a third.",
)
@click.option(
    "--streams",
    type=click.IntRange(0, 64),
    metavar="N",
    help="Hold N callers that share the threads against one; 2 is the default on a CPU, 0 leaves it out.",
)
@click.option("--quick", is_flag=True, help="About a minute: batch 1, 10 rounds, small ceilings, one caller.")
@click.option("--allow-load", is_flag=True, help="Measure although the machine is busy; rows are marked.")
@click.option("--trace", is_flag=True, help="Also write Chrome traces of one call a row.")
@click.option(
    "--compare",
    "baseline",
    type=click.Path(path_type=Path),
    metavar="PROFILE",
    help="Hold against an older profile's folder.",
)
@click.option(
    "--fail-on",
    "limit",
    type=Limit(),
    help="With --compare: exit with 1 when a row is slower by more than this, such as 5%, beyond chance.",
)
@click.option(
    "--history",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep the figures by commit and machine, and show those of all commits.",
)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="As of `bench run`.")
@options.output("Default: profiles/TIME.")
@options.no_progress
@options.one_line_errors
def command(
    networks: tuple[str, ...],
    batches: tuple[int, ...],
    rounds: int | None,
    streams: int | None,
    quick: bool,
    allow_load: bool,
    trace: bool,
    baseline: Path | None,
    limit: float | None,
    history: Path | None,
    sets: tuple[str, ...],
    output: Path | None,
    no_progress: bool,
    **flags: Any,
) -> None:
    """Time network calls, and whole methods, on back ends that take turns; write a table, a page and every raw time.

    Refuses to start while something else is running. Interrupted, it writes what was measured.

    Exit codes: 0 done, 1 a row failed, a --fail-on limit is broken or a file cannot be written, 2 wrong usage or
    nothing that --fail-on could judge, 130 interrupted.
    """
    if limit is not None and baseline is None:
        raise click.UsageError("--fail-on needs --compare with the profile to hold this one against")
    from uadbench.bench.profile.compare import load_profile
    from uadbench.bench.profile.plan import check_load, plan_profile
    from uadbench.bench.profile.writing import check_folder
    from uadbench.bench.run.timing import load_average

    before = None if baseline is None else load_profile(baseline)
    plan = plan_profile(networks, batches, flags, [parse_set(text) for text in sets], rounds, quick, streams)
    options.warn_of_plugins()
    folder = output or Path("profiles") / datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
    check_folder(folder)
    if check_load(load_average(), plan.threads, allow_load):
        click.echo("warning: the machine is busy; rows are marked, and never compared", err=True)
    for name, why in plan.left_out.items():
        click.echo(f"note: {name} is left out: {why}", err=True)
    record = _measure(plan, folder, trace, no_progress)
    _show(record, folder)
    code = 1 if any(row["status"] == "failed" for row in record["rows"]) else 0
    if history is not None:
        _keep_history(record, history)
    if before is not None:
        code = max(code, _hold_against(before, record, limit))
    sys.exit(code)


def _measure(plan: ProfilePlan, folder: Path, trace: bool, silent: bool) -> dict[str, Any]:
    from uadbench.bench.profile.run import execute
    from uadbench.bench.profile.writing import write_profile
    from uadbench.bench.run.interrupt import Interrupted, ignore_signals, stop_on_signal

    def say(line: str) -> None:
        click.echo(line, err=True)

    def keep(record: dict[str, Any]) -> None:
        write_profile(folder, record)

    try:
        with stop_on_signal() as stop:
            traces = folder if trace else None
            tools = _instruments(say, (lambda line: None) if silent else say, stop)
            return execute(plan, tools, shlex.join(["bench", *sys.argv[1:]]), keep, traces)
    except Interrupted:
        ignore_signals()
        click.echo(f"interrupted; what was measured is in {folder}, marked unfinished", err=True)
        sys.exit(130)


def _instruments(say: Any, progress: Any, stop: Any) -> Instruments:
    from uadbench.bench.profile.measure import Instruments

    return Instruments(say=say, progress=progress, stop=stop)


def _show(record: dict[str, Any], folder: Path) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from uadbench.reports.profile import TERMINAL, banner, notes, table_rows

    console = Console()
    console = console if console.is_terminal else Console(width=150)
    table = Table(box=SIMPLE, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for head in TERMINAL:
        right = head not in ("what", "arm", "stability")
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    for cells in table_rows(record, TERMINAL):
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    for text in (*banner(record), *notes(record)):
        click.echo(f"note: {text}", err=True)
    for name in ("profile.csv", "profile.md", "profile.html", "profile.json", "times.json"):
        click.echo(folder / name)


def _keep_history(record: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from uadbench.bench.profile.history import entry_of, history_table, keep_entry, read_history
    from uadbench.bench.run.machine import commit_date

    path = keep_entry(folder, entry_of(record, commit_date(record["git"]["commit"])))
    heads, lines = history_table(read_history(folder, record["machine"]), record["threads"], record["hint"])
    table = Table(title=f"ms an image on machine {record['machine']}, {record['threads']} threads")
    for head in heads:
        table.add_column(escape(head))
    for line in lines:
        table.add_row(*(escape(cell) for cell in line))
    Console().print(table)
    click.echo("*: under load or not stable; !: failed", err=True)
    click.echo(path)


def _percent(limit: float) -> str:
    """A limit as it is typed, never as a power of ten: 0.05 as '5%'."""
    return f"{limit * 100:.9f}".rstrip("0").rstrip(".") + "%"


def _hold_against(before: dict[str, Any], record: dict[str, Any], limit: float | None) -> int:
    """Print the comparison; 1 where a row fails the limit, 2 where a limit was given and nothing can be judged."""
    from uadbench.bench.profile.compare import compare_profiles

    found = compare_profiles(before, record)
    for row in found.rows:
        ratio = row.ratio
        size = f"{ratio.value:.3f} ({ratio.lo:.3f}–{ratio.hi:.3f})" if ratio else "–"
        click.echo(
            f"{row.title}: time over the baseline's {size}{'; ' if row.unjudged else ''}{row.unjudged}"
        )
    for title in found.missing:
        click.echo(f"note: {title}: only the baseline has it", err=True)
    for title in found.new:
        click.echo(f"note: {title}: the baseline has it not", err=True)
    click.echo(f"{found.judged} of {len(found.rows)} rows were judged", err=True)
    if limit is None:
        return 0
    failed = [row for row in found.rows if row.fails(limit)]
    for row in failed:
        what = row.unjudged if row.lost else f"slower by {row.ratio.value - 1:.1%}" if row.ratio else ""
        click.echo(f"FAIL {row.title}: {what}", err=True)
    if failed:
        return 1
    if not found.judged:
        click.echo(f"error: no row could be judged, so --fail-on {_percent(limit)} says nothing", err=True)
        return 2
    click.echo(f"ok: no row is slower by more than {_percent(limit)}", err=True)
    return 0
