"""One ``bench run``: everything is opened and checked first, then computed, scored and reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from uadbench.bench.compare.judge import judge_run, needs_parity
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.bench.run.cluster import Cluster, executor_of
from uadbench.bench.run.directory import locked, note_session, now, prepare_run
from uadbench.bench.run.evaluate import Bench
from uadbench.bench.run.executors import Here, Stream
from uadbench.bench.run.inputs import Healthy, Loader, healthy_median, in_batches
from uadbench.bench.run.interrupt import stop_on_signal
from uadbench.bench.run.keeping import keeping
from uadbench.bench.run.networks import open_denoisers
from uadbench.bench.run.notes import failures, notes
from uadbench.bench.run.operating import decide
from uadbench.bench.run.record import whole_id
from uadbench.bench.run.session import Session
from uadbench.bench.run.shifts import plan_shifts, run_shifts
from uadbench.bench.run.streams import open_streams, shared_streams
from uadbench.bench.run.tasks import begin_cell, finished, mend_cell, plan_tasks
from uadbench.bench.run.timing import Stopwatch
from uadbench.bench.run.variance import measure_cells
from uadbench.bench.score.cells import has_volumes, score_cell, scored
from uadbench.bench.score.paired import compare_rows
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory

__all__ = ["Finished", "Progress", "execute"]

NO_MEDIAN = "the data set has no healthy training or validation slice to take a median of"


@dataclass(frozen=True)
class Finished:
    """What a run gave. failed : (cell, case id, reason); notes : warnings for the user; shard : '3/16', '' for none."""

    output: Path
    reports: list[Path]
    failed: list[tuple[str, str, str]]
    notes: list[str] = field(default_factory=list)
    shard: str = ""


Progress = Callable[[str, int], None]
"""Told (cell slug, cases that are done with it now)."""


@dataclass(frozen=True)
class _Work:
    """An execution under way, in a directory that this process holds."""

    session: Session
    run: RunDirectory
    manifest: dict[str, Any]
    denoisers: dict[str, Denoiser]
    bench: Bench
    healthy: Healthy
    watch: Stopwatch
    streams: Sequence[Stream] = ()

    @property
    def plan(self) -> Plan:
        return self.session.plan


def execute(
    session: Session,
    overwrite: bool,
    progress: Callable[[int, int], Progress],
    say: Callable[[str], None],
    cluster: Cluster | None = None,
) -> Finished:
    """Compute what is missing, score, and write the reports.

    progress : (all results, results that are there) -> what is told of each that is done
    say : for lines to the user while it runs
    cluster : where batches are computed, None for this process
    Raises RunError (directory in use or of another run), BackendError, and Interrupted when the user stopped it; all
    that was done is kept in any case.
    """
    run, watch = RunDirectory(session.output), Stopwatch(keep=frozenset())
    started, begun = now(), time.perf_counter()
    with locked(run), ExitStack() as stack, watch.stage("other"), stop_on_signal() as stop:
        work = _begin(session, run, overwrite, watch, stack, stop, say)
        cells, used = _decide(work, say)
        total = len(cells) * len(work.plan.mine)
        done = _count_done(work, cells)
        if 0 < done < total:
            say(f"taking up {run.path}: {done} of {total} results are there")
        state = {
            "started": started,
            "command": session.manifest["command"],
            "prior": work.healthy.record,
            **_other_circumstances(work, total - done, say),
        }
        try:
            _compute(work, cells, progress(total, done), used, cluster, state, say)
            if work.plan.shard is None:  # a part of the cases is no result: `bench merge` scores the whole
                _score(work)
                with watch.stage("parity"):
                    _judge(work, again=done < total)
            again = _shift(work, cells, progress)
            for cell in cells:  # written or read through above, so not read through the next time
                run.cell(cell.slug).note_arrays()
        except BaseException:
            with suppress(OSError):  # a full disk must not hide why the run ended
                note_session(run, work.manifest, state, watch, begun, finished=False)
            raise
        if done < total or again or not work.manifest["finished"]:
            note_session(run, work.manifest, state, watch, begun, finished=True)
        with watch.stage("report"):
            reports = [] if work.plan.shard else write_reports([run.path], run.path)
    shard = work.plan.shard.label if work.plan.shard else ""
    return Finished(run.path, reports, failures(run, work.plan), notes(run, work.plan), shard)


def _begin(
    session: Session,
    run: RunDirectory,
    overwrite: bool,
    watch: Stopwatch,
    stack: ExitStack,
    stop: Callable[[], None],
    say: Callable[[str], None],
) -> _Work:
    """Open the networks, take the directory into use, read the healthy slices."""
    plan = session.plan
    # Before anything is written: a back end may be missing.
    shared = shared_streams(plan, session.manifest, run, overwrite, watch, say)
    streams = open_streams(plan, shared["count"], stack, watch, say) if shared.get("count", 1) > 1 else []
    denoisers = dict(streams[0].denoisers) if streams else open_denoisers(plan, stack, watch, say)
    told = {"streams": shared} if shared else {}
    manifest = prepare_run(run, {**session.manifest, **told, "backends": _ran(plan, denoisers)}, overwrite)
    with watch.stage("load"):
        healthy = healthy_median(run, plan.dataset)
    if healthy.record["split"] == "val":
        say(
            "the data set has no healthy training slice; the floors' median, mean and spread are of validation slices"
        )
    if failed := healthy.record["failed"]:
        say(
            f"{len(failed)} healthy slices cannot be read and are left out of the floors' median, mean and spread"
        )
    like = (healthy.median, stop, healthy.mean, healthy.spread)
    bench = Bench(plan.config.eta, session.perceptuals, plan.dataset.lesion_sign, *like)
    return _Work(session, run, manifest, denoisers, bench, healthy, watch, streams)


def _decide(work: _Work, say: Callable[[str], None]) -> tuple[tuple[Cell, ...], list[Denoiser]]:
    """The cells, with all that is measured and fitted before any case, and the denoisers that were called for it."""
    run, plan, bench, fitted = work.run, work.plan, work.bench, work.run.fitted
    with work.watch.stage("fit"):
        applicable = _applicable(work) if plan.mine else ()  # a shard may have no case
        cells, measured = measure_cells(
            run, applicable, plan.dataset, work.denoisers, bench, plan.config, say
        )
        cells = decide(run, cells, plan, work.denoisers, bench, say)
    return cells, [*measured, *_used_by_fit(work, cells, fitted)]


def _applicable(work: _Work) -> tuple[Cell, ...]:
    """The cells that apply; of the others cell.json says once why they do not."""
    if work.healthy.median is not None:
        return work.plan.cells
    for cell in work.plan.cells:
        if cell.needs_median:
            info = cell.record(work.plan.dataset.name, work.denoisers[cell.slug].describe())
            work.run.cell(cell.slug).write_info({**info, "not_applicable": NO_MEDIAN})
    return tuple(cell for cell in work.plan.cells if not cell.needs_median)


def _count_done(work: _Work, cells: tuple[Cell, ...]) -> int:
    wanted = {case.case_id for case in work.plan.mine}
    return sum(len(finished(work.run.cell(cell.slug)) & wanted) for cell in cells)


def _used_by_fit(work: _Work, cells: tuple[Cell, ...], before: dict[str, Any]) -> list[Denoiser]:
    """Denoisers of the variants that were fitted now; before : what of fitted.json was there already."""
    fresh = {slug for slug, entry in work.run.fitted.items() if entry != before.get(slug)}
    return [work.denoisers[cell.slug] for cell in cells if cell.variant.slug in fresh]


def _compute(
    work: _Work,
    cells: tuple[Cell, ...],
    progress: Progress,
    used: Sequence[Denoiser] = (),
    cluster: Cluster | None = None,
    state: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Evaluate whatever is missing and keep each result as it comes."""
    run, plan, size = work.run, work.plan, work.plan.config.batch_size
    loader = Loader(run, plan.dataset, run.hold_input)
    streams = work.streams
    here = Here(work.denoisers, loader, work.bench, len(plan.cases), size, work.watch, used, streams)
    begun: set[str] = set()
    for cell in cells:
        mend_cell(run, cell, plan.dataset.name, work.denoisers[cell.slug].describe())
    mine = frozenset(case.case_id for case in plan.mine)
    tasks = plan_tasks(run, cells, in_batches(plan.cases, size), max(1, len(streams)), mine)
    if (first := next(tasks, None)) is None:  # nothing to start workers for
        return
    told = {} if state is None else state
    elsewhere = executor_of(cluster, here, plan, cells, whole_id(work.manifest), told, say)
    with keeping(run) as keeper, elsewhere as executor:
        for evaluated in executor(chain([first], tasks)):
            cell = evaluated.task.cell
            with work.watch.stage("write"):
                if cell.slug not in begun:
                    begin_cell(run, cell, plan.dataset.name, work.denoisers[cell.slug].describe())
                    begun.add(cell.slug)
                count = keeper.keep(evaluated)
            progress(cell.slug + executor.team, count)


def _shift(work: _Work, cells: tuple[Cell, ...], progress: Callable[[int, int], Progress]) -> bool:
    """Run what is missing of the shifts that were asked for; whether anything was."""
    plan, run = work.plan, work.run
    tasks = plan_shifts(run, plan, cells) if plan.shifts else []
    if tasks:
        told = progress(sum(len(task.missing) for task in tasks), 0)
        with work.watch.stage("shift"):
            run_shifts(run, tasks, Loader(run, plan.dataset), work.denoisers, work.bench, told)
    return bool(tasks)


def _ran(plan: Plan, denoisers: dict[str, Denoiser]) -> dict[str, Any]:
    """What really runs, by arm and network."""
    return {
        f"{cell.arm.label} {cell.networks['denoiser'].name}": denoisers[cell.slug].describe()
        for cell in plan.cells
        if cell.networks
    }


def _other_circumstances(work: _Work, to_do: int, say: Callable[[str], None]) -> dict[str, Any]:
    """What of "environment" and "git" is not as when the run was begun; its figures then mix the two, so say it."""
    other: dict[str, Any] = {}
    ours = work.session.manifest
    for key, what in (("environment", "machine or software"), ("git", "code")):
        if to_do and work.manifest.get(key) != ours[key]:
            say(f"the {what} differs from when this run was begun; use --overwrite for figures of one kind")
            other[key] = ours[key]
    return other


def _score(work: _Work) -> None:
    """Sum up the cells that have no summary, or not one of every measure they have, and test the rows in pairs."""
    config, cases = work.plan.config, work.plan.cases
    slugs, order = [cell.slug for cell in work.plan.cells], [case.case_id for case in cases]
    cells = [work.run.cell(slug) for slug in slugs]
    volumes = has_volumes(case.volume for case in cases if case.split == "test")
    unscored = [cell for cell in cells if not scored(cell, volumes)]
    if not unscored and work.run.paired is not None:
        return
    with work.watch.stage("load"):
        loader = Loader(work.run, work.plan.dataset)
        for case in cases:  # an input that is missing or damaged is read again from the data set
            loader.read(case)
    with work.watch.stage("score"):
        for cell in unscored:
            work.bench.stop()
            score_cell(work.run, cell.path.name, order, config.seed[0], config.n_boot)
        work.run.write_paired(compare_rows(work.run, slugs, order, config.seed[0], work.bench.stop))


def _judge(work: _Work, again: bool) -> None:
    """Write parity.json where more than torch fp32 ran: no speed-up is shown without it."""
    run = load_run(work.run.path)
    if needs_parity(run) and (again or run.parity is None):
        judged = judge_run(
            run,
            lambda cell: work.denoisers[cell.slug],
            work.session.perceptuals,
            before_call=lambda _: work.bench.stop(),
        )
        work.run.write_parity(judged)
