"""What ``bench run --dry-run`` shows: cells, cases, where it would be written, and what it would take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from uadbench.bench.plan.plan import Plan
    from uadbench.bench.run.session import Session

__all__ = ["duration", "show_session", "size"]

# Rough, for the estimate without a profile: the compact network's cost, and what a CPU core makes of it.
GFLOP_A_CALL = 6.0
GFLOPS_A_CORE = 40.0


def show_session(session: Session, profile: Path | None, workers: int) -> None:
    """Print it. profile : of `bench profile`, None for a rough figure; workers : that share the work"""
    from rich.console import Console
    from rich.table import Table

    plan = session.plan
    table = Table("kind", "t_start", "NFE a case", "cell")
    table.columns[-1].overflow = "fold"
    for cell in plan.cells:
        kind = "floor" if cell.variant.floor else "method"
        start = str(max(cell.walk.levels, default="-"))
        name = f"{cell.variant.label} · {cell.arm.label}" if cell.varied else cell.slug
        table.add_row(kind, start, str(cell.walk.nfe), name)
    Console(soft_wrap=True).print(table)
    n_test = len(plan.dataset.split("test"))
    if plan.config.vary:
        swept = sum(1 for cell in plan.cells if cell.varied)
        product = " x ".join(f"{name} ({len(values)})" for name, values in plan.config.vary.items())
        click.echo(f"sweep       {product}: {swept} cells")
    click.echo(f"data set    {plan.dataset.name}: {plan.dataset.title}")
    click.echo(f"cases       {n_test} {plan.config.split}, {len(plan.cases) - n_test} healthy for thresholds")
    click.echo(
        f"calls       {plan.calls} network calls, one image each, in batches of {plan.config.batch_size}"
    )
    if plan.shifts:
        shifts = ", ".join(shift.label for shift in plan.shifts)
        click.echo(
            f"shifts      {shifts}: {plan.shift_calls} calls more, on {len(plan.shift_cases)} healthy cases"
        )
    if plan.shard:
        click.echo(
            f"shard       {plan.shard.label}: {len(plan.mine)} of {len(plan.cases)} cases are kept, "
            f"{plan.computed} computed"
        )
    there = ", which is there and would be taken up or overwritten" if session.output.exists() else ""
    click.echo(f"output      {session.output}{there}")
    from uadbench.bench.plan.estimate import disk_bytes

    side = int(str(plan.dataset.preprocessing.get("size", 128)))
    click.echo(f"disk        about {size(disk_bytes(len(plan.mine), len(plan.cells), side))}")
    for line in _rough(plan, workers) if profile is None else _measured(plan, profile, workers):
        click.echo(line)


def _rough(plan: Plan, workers: int) -> Iterator[str]:
    seconds = (plan.calls + plan.shift_calls) * GFLOP_A_CALL / (GFLOPS_A_CORE * plan.threads) / workers
    estimate = f"{duration(seconds)} on {_workers(workers)}{plan.threads} threads, very roughly"
    yield (
        f"estimate    {estimate if plan.config.device == 'cpu' else 'none for this device'}; "
        "--profile has measured times in its place; nothing was computed"
    )


def _workers(count: int) -> str:
    return f"{count} workers of " if count > 1 else ""


def _measured(plan: Plan, profile: Path, workers: int) -> Iterator[str]:
    """The estimate, then the row that each cell's time is of."""
    from uadbench.bench.plan.estimate import read_profile, time_cells

    timed = time_cells(plan, read_profile(profile))
    seconds = sum(one.rate.image_ms for one in timed if one.rate) * plan.computed / 1e3
    lacking = [one.cell for one in timed if one.rate is None]
    methods = [cell.slug for cell in lacking if not cell.variant.floor]
    gpu = f", {duration(seconds)} of GPU time in all" if plan.config.device != "cpu" else ""
    share = f"{workers} workers, {duration(seconds)} in all" if workers > 1 else "one worker"
    if any(one.rate for one in timed):
        yield f"estimate    {duration(seconds / workers)} on {share}{gpu}; nothing was computed"
    else:
        yield "estimate    none, no arm of this run was measured; nothing was computed"
    for one in timed:
        if one.rate:
            ms = one.rate.image_ms
            yield f"  {one.cell.slug}: {ms:.6g} ms an image, from {one.rate.row.words}"
    if methods:
        yield f"  not measured, so not in the estimate: {', '.join(methods)}"
    if floors := len(lacking) - len(methods):
        yield f"  nor are {floors} floors, fits, shifts and scoring"
    threads = {one.rate.row.threads for one in timed if one.rate and one.rate.row.device == "cpu"}
    if threads - {plan.threads}:
        yield f"  measured with {', '.join(map(str, sorted(threads)))} threads, and the run has {plan.threads}"


def duration(seconds: float) -> str:
    """'12 s', '7 min', '3.4 h'."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """'12 MiB', '3.4 GiB'."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
