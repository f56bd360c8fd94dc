"""One ``bench run``: everything is opened and checked first, then computed, scored and reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from uadbench.bench.compare.judge import judge_run, needs_parity
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.bench.run.directory import default_output, locked, note_session, now, prepare_run
from uadbench.bench.run.evaluate import Bench, NoNetwork
from uadbench.bench.run.executors import Evaluated, Here
from uadbench.bench.run.inputs import Loader, healthy_median, in_batches
from uadbench.bench.run.interrupt import stop_on_signal
from uadbench.bench.run.networks import open_denoiser
from uadbench.bench.run.record import make_manifest
from uadbench.bench.run.tasks import begin_cell, finished, keep, keep_unrun, plan_tasks
from uadbench.bench.run.timing import Stopwatch
from uadbench.bench.score.cells import score_cell
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.networks.checkpoint import load_checkpoint
from uadbench.engine.perceptual.distance import SqueezePerceptual, open_perceptual
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory
from uadbench.reports.vocabulary import LOAD_LIMIT

__all__ = ["Finished", "Progress", "Session", "execute", "open_session"]

NO_MEDIAN = "the data set has no healthy training or validation slice to take a median of"


@dataclass(frozen=True)
class Session:
    """A plan with its weights checked. manifest : for a new run directory."""

    plan: Plan
    perceptuals: dict[str, SqueezePerceptual]
    manifest: dict[str, Any]
    output: Path


@dataclass(frozen=True)
class Finished:
    """What a run gave. failed : (cell, case id, reason); notes : warnings for the user."""

    output: Path
    reports: list[Path]
    failed: list[tuple[str, str, str]]
    notes: list[str] = field(default_factory=list)


Progress = Callable[[str, int], None]
"""Told (cell slug, cases that are done with it now)."""


def open_session(plan: Plan, output: Path | None, command: str) -> Session:
    """Read weights and give the run its identity. Raises CheckpointError, PerceptualError."""
    config = plan.config
    torch.set_num_threads(plan.threads)
    for network in plan.networks.values():
        load_checkpoint(network.path)
    weights = Path(config.perceptual_weights) if config.perceptual_weights else None
    perceptuals = {name: open_perceptual(name, weights, config.device) for name in config.perceptual}
    manifest = make_manifest(
        config,
        plan.dataset,
        plan.cases,
        [cell.slug for cell in plan.cells],
        plan.networks,
        perceptuals,
        plan.threads,
        command,
    )
    return Session(plan, perceptuals, manifest, output or default_output(config, manifest["run_id"]))


def execute(
    session: Session, overwrite: bool, progress: Callable[[int, int], Progress], say: Callable[[str], None]
) -> Finished:
    """Compute what is missing, score, and write the reports.

    progress : (all results, results that are there) -> what is told of each that is done
    say : for lines to the user while it runs
    Raises RunError (directory in use or of another run), BackendError, and Interrupted when the user stopped it; all
    that was done is kept in any case.
    """
    plan, run = session.plan, RunDirectory(session.output)
    watch = Stopwatch(keep=frozenset())
    started, begun = now(), time.perf_counter()
    with locked(run), ExitStack() as stack, watch.stage("other"), stop_on_signal() as stop:
        # Before anything is written: a back end may be missing.
        denoisers = _open_denoisers(session, stack, watch)
        manifest = prepare_run(run, {**session.manifest, "backends": _ran(plan, denoisers)}, overwrite)
        with watch.stage("load"):
            healthy = healthy_median(run, plan.dataset)
        if healthy.record["split"] == "val":
            say("the data set has no healthy training slice; the floors' median is of validation slices")
        if failed := healthy.record["failed"]:
            say(f"{len(failed)} healthy slices cannot be read and are left out of the floors' median")
        bench = Bench(plan.config.eta, session.perceptuals, plan.dataset.lesion_sign, healthy.median, stop)
        cells = _applicable(run, plan, denoisers, bench)
        total = len(cells) * len(plan.cases)
        done = sum(len(finished(run.cell(cell.slug)) & _ids(plan)) for cell in cells)
        if 0 < done < total:
            say(f"taking up {run.path}: {done} of {total} results are there")
        state = {
            "started": started,
            "command": session.manifest["command"],
            "prior": healthy.record,
            **_other_circumstances(manifest, session, total - done, say),
        }
        try:
            executor = Here(
                denoisers,
                Loader(run, plan.dataset),
                bench,
                len(plan.cases),
                plan.config.batch_size,
                watch,
            )
            _compute(run, plan, cells, executor, progress(total, done), watch)
            _score(plan, run, watch, stop)
            with watch.stage("parity"):
                _judge(session, denoisers, stop, again=done < total)
        except BaseException:
            with suppress(OSError):  # a full disk must not hide why the run ended
                note_session(run, manifest, state, watch, begun, finished=False)
            raise
        if done < total or not manifest["finished"]:
            note_session(run, manifest, state, watch, begun, finished=True)
        with watch.stage("report"):
            reports = write_reports([run.path], run.path)
    return Finished(run.path, reports, _failures(run, plan.cells), _notes(run, plan))


def _ids(plan: Plan) -> set[str]:
    return {case.case_id for case in plan.cases}


def _compute(
    run: RunDirectory,
    plan: Plan,
    cells: tuple[Cell, ...],
    executor: Here,
    progress: Progress,
    watch: Stopwatch,
) -> None:
    """Evaluate whatever is missing and keep each result as it comes."""
    begun: set[str] = set()
    batches = in_batches(plan.cases, plan.config.batch_size)
    for evaluated in executor(plan_tasks(run, cells, batches)):
        cell = evaluated.task.cell
        with watch.stage("write"):
            if cell.slug not in begun:
                begin_cell(run, cell, plan.dataset.name, executor.denoisers[cell.slug].describe())
                begun.add(cell.slug)
            count = _keep(run, evaluated)
        progress(cell.slug, count)


def _keep(run: RunDirectory, evaluated: Evaluated) -> int:
    """Keep what came of a task; returns how many of its missing cases are done with."""
    task, directory = evaluated.task, run.cell(evaluated.task.cell.slug)
    if evaluated.warm_up is not None:
        directory.write_warm_up(evaluated.warm_up)
    if evaluated.warm_up_detail:
        directory.log_error("warm-up", evaluated.warm_up_detail)
    for case, reason in evaluated.unread:
        if case.case_id in task.missing:
            keep_unrun(directory, task, case, "failed", reason)
    for outcome in evaluated.outcomes:
        if outcome.sample.case.case_id in task.missing:
            keep(directory, task, outcome, evaluated.warm_up is not None)
    return len(task.missing)


def _applicable(
    run: RunDirectory, plan: Plan, denoisers: dict[str, Denoiser], bench: Bench
) -> tuple[Cell, ...]:
    """The cells that apply; of the others cell.json says once why they do not."""
    if bench.median is not None:
        return plan.cells
    for cell in plan.cells:
        if cell.needs_median:
            info = cell.record(plan.dataset.name, denoisers[cell.slug].describe())
            run.cell(cell.slug).write_info({**info, "not_applicable": NO_MEDIAN})
    return tuple(cell for cell in plan.cells if not cell.needs_median)


def _open_denoisers(session: Session, stack: ExitStack, watch: Stopwatch) -> dict[str, Denoiser]:
    """cell slug -> its denoiser; cells with the same network and arm share one."""
    opened: dict[tuple[str, str], Denoiser] = {}
    config, threads = session.plan.config, session.plan.threads
    result: dict[str, Denoiser] = {}
    for cell in session.plan.cells:
        network = cell.networks.get("denoiser")
        key = (network.name if network else "", cell.arm.slug)
        if key not in opened:
            if network is None:
                opened[key] = NoNetwork()
            else:
                with watch.stage("open"):
                    opened[key] = open_denoiser(
                        cell.arm.backend,
                        network.path,
                        cell.arm.precision,
                        cell.arm.device,
                        threads,
                        config.batch_size,
                    )
            stack.callback(opened[key].close)
        result[cell.slug] = opened[key]
    return result


def _ran(plan: Plan, denoisers: dict[str, Denoiser]) -> dict[str, Any]:
    """What really runs, by arm and network."""
    return {
        f"{cell.arm.label} {cell.networks['denoiser'].name}": denoisers[cell.slug].describe()
        for cell in plan.cells
        if cell.networks
    }


def _other_circumstances(
    manifest: dict[str, Any], session: Session, to_do: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """What of "environment" and "git" is not as when the run was begun; its figures then mix the two, so say it."""
    other: dict[str, Any] = {}
    for key, what in (("environment", "machine or software"), ("git", "code")):
        if to_do and manifest.get(key) != session.manifest[key]:
            say(f"the {what} differs from when this run was begun; use --overwrite for figures of one kind")
            other[key] = session.manifest[key]
    return other


def _score(plan: Plan, run: RunDirectory, watch: Stopwatch, stop: Callable[[], None]) -> None:
    order = [case.case_id for case in plan.cases]
    for cell in plan.cells:
        directory = run.cell(cell.slug)
        if directory.metrics is not None and directory.latency is not None:
            continue
        stop()
        with watch.stage("score"):
            score_cell(run, cell.slug, order, plan.config.seed[0], plan.config.n_boot)


def _judge(session: Session, denoisers: dict[str, Denoiser], stop: Callable[[], None], again: bool) -> None:
    """Write parity.json where more than torch fp32 ran: no speed-up is shown without it."""
    run = load_run(session.output)
    if needs_parity(run) and (again or run.parity is None):
        judged = judge_run(
            run, lambda cell: denoisers[cell.slug], session.perceptuals, before_call=lambda _: stop()
        )
        run.directory.write_parity(judged)


def _failures(run: RunDirectory, cells: tuple[Cell, ...]) -> list[tuple[str, str, str]]:
    return [
        (cell.slug, record["case_id"], record["reason"])
        for cell in cells
        for record in run.cell(cell.slug).read_cases()
        if record["status"] == "failed"
    ]


def _notes(run: RunDirectory, plan: Plan) -> list[str]:
    loads = [(run.cell(cell.slug).latency or {}).get("load_max") for cell in plan.cells]
    highest = max((load for load in loads if load is not None), default=0.0)
    if highest <= LOAD_LIMIT * plan.threads:
        return []
    return [
        f"load average reached {highest:.1f} with {plan.threads} threads in use: something else was running, "
        "so do not trust the latencies"
    ]
