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
from uadbench.bench.plan.config import ConfigError, RunConfig, canonical, config_hash, unknown
from uadbench.bench.plan.grid import CellSpec, plan_cells
from uadbench.bench.run.directory import default_output, locked, note_session, now, prepare_run, run_id
from uadbench.bench.run.evaluate import Bench, NoNetwork
from uadbench.bench.run.inputs import Loader, choose_cases, healthy_prior
from uadbench.bench.run.interrupt import stop_on_signal
from uadbench.bench.run.machine import available_cores, environment, git_state, uadbench_version
from uadbench.bench.run.networks import open_denoiser
from uadbench.bench.run.tasks import Job, Progress, remaining, run_cells
from uadbench.bench.run.timing import LOAD_LIMIT, Stopwatch
from uadbench.bench.score.cells import score_cell
from uadbench.datasets import DATASETS
from uadbench.datasets.case import Case, Dataset
from uadbench.engine.backends import check_backend
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.networks.checkpoint import load_checkpoint, shipped
from uadbench.engine.perceptual.distance import PERCEPTUALS, SqueezePerceptual, open_perceptual
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.store import load_run, read_cases, read_json, write_json

__all__ = ["Finished", "Plan", "Session", "execute", "make_plan", "open_session"]


@dataclass(frozen=True)
class Plan:
    """A run as asked for, names checked and data found; no weights yet.

    threads : resolved
    cases : validation cases, then test cases
    """

    config: RunConfig
    cells: tuple[CellSpec, ...]
    dataset: Dataset
    cases: tuple[Case, ...]
    threads: int

    @property
    def calls(self) -> int:
        """Network calls of the whole run, each on one image."""
        return sum(cell.nfe for cell in self.cells) * len(self.cases)


@dataclass(frozen=True)
class Session:
    """A plan with its weights. checkpoints : noise -> path; manifest : for a new run directory."""

    plan: Plan
    checkpoints: dict[str, Path]
    perceptual: SqueezePerceptual
    manifest: dict[str, Any]
    output: Path


@dataclass(frozen=True)
class Finished:
    """What a run gave. failed : (cell, case id, reason); notes : warnings for the user."""

    output: Path
    reports: list[Path]
    failed: list[tuple[str, str, str]]
    notes: list[str] = field(default_factory=list)


def make_plan(config: RunConfig) -> Plan:
    """Check names and back ends and open the data set. Raises ConfigError, BackendError and CaseError."""
    cells = plan_cells(config)
    if config.dataset not in DATASETS:
        raise unknown("data set", config.dataset, DATASETS)
    if config.perceptual not in PERCEPTUALS:
        raise unknown("perceptual net", config.perceptual, PERCEPTUALS)
    for cell in cells:
        check_backend(cell.backend, cell.precision, "cpu" if cell.floor else config.device)
    check_backend("torch", device=config.device)  # the perceptual net's, whatever the cells are
    root = Path(config.data_root) if config.data_root else None
    dataset = DATASETS[config.dataset](root, config.seed, config.limit)
    if not dataset.split("test"):
        raise ConfigError(f"data set {dataset.name} has no test case")
    return Plan(
        config, cells, dataset, choose_cases(dataset, config.val_limit), config.threads or available_cores()
    )


def open_session(plan: Plan, output: Path | None, command: str) -> Session:
    """Read weights and give the run its identity. Raises CheckpointError, PerceptualError."""
    config = plan.config
    torch.set_num_threads(plan.threads)
    noises = sorted({cell.noise for cell in plan.cells if not cell.floor})
    checkpoints = {n: Path(config.checkpoints[n]) if n in config.checkpoints else shipped(n) for n in noises}
    cards = {noise: load_checkpoint(path)[1] for noise, path in checkpoints.items()}
    weights = Path(config.perceptual_weights) if config.perceptual_weights else None
    perceptual = open_perceptual(config.perceptual, weights, config.device)
    hashes = {**{noise: card["sha256"] for noise, card in cards.items()}, "perceptual": perceptual.sha256}
    identity = run_id(config_hash(config), plan.dataset.fingerprint, plan.dataset.preprocessing, hashes)
    manifest = {
        "run_id": identity,
        "config": canonical(config),
        "config_hash": config_hash(config),
        "created": now(),
        "finished": None,
        "version": uadbench_version(),
        "git": git_state(),
        "environment": environment(plan.threads),
        "dataset": _dataset_record(plan),
        "seed": config.seed,
        "checkpoints": {noise: {"sha256": card["sha256"], "card": card} for noise, card in cards.items()},
        "perceptual": {"name": perceptual.name, "sha256": perceptual.sha256},
        "command": command,
        "cells": [cell.slug for cell in plan.cells],
        "sessions": [],
    }
    return Session(plan, checkpoints, perceptual, manifest, output or default_output(config, identity))


def execute(
    session: Session, overwrite: bool, progress: Callable[[int, int], Progress], say: Callable[[str], None]
) -> Finished:
    """Compute what is missing, score, and write the reports.

    progress : (all cases, cases done already) -> a Progress
    say : for lines to the user while it runs
    Raises RunError (directory in use or of another run), BackendError, and Interrupted when the user stopped it; all
    that was done is kept in any case.
    """
    plan, output = session.plan, session.output
    watch = Stopwatch(keep=frozenset())
    started, begun = now(), time.perf_counter()
    with locked(output), ExitStack() as stack, watch.stage("other"), stop_on_signal() as stop:
        # Before anything is written: a back end may be missing.
        denoisers = _open_denoisers(session, stack, watch)
        ran = {
            f"{network.name} {network.precision} {noise}": network.describe()
            for (noise, *_), network in _distinct(plan, denoisers).items()
        }
        manifest = prepare_run(output, {**session.manifest, "backends": ran}, overwrite)
        with watch.stage("load"):
            prior, prior_record = healthy_prior(output, plan.dataset)
        if prior_record["split"] == "val":
            say("the data set has no healthy training slice; the floors' median is of validation slices")
        bench = Bench(plan.config.seed, plan.config.eta, session.perceptual, prior, stop)
        to_do = remaining(output, plan.cells, plan.cases)
        total = len(plan.cells) * len(plan.cases)
        if 0 < to_do < total:
            say(f"taking up {output}: {total - to_do} of {total} results are there")
        job = Job(
            output,
            plan.dataset.name,
            plan.cells,
            denoisers,
            plan.cases,
            plan.config.batch_size,
            Loader(output, plan.dataset),
            bench,
            watch,
            progress(total, total - to_do),
        )
        state = {
            "started": started,
            "command": session.manifest["command"],
            "prior": prior_record,
            **_other_circumstances(manifest, session, to_do, say),
        }
        try:
            run_cells(job)
            _score(plan, output, watch, stop)
            with watch.stage("parity"):
                _judge(session, denoisers, stop, again=to_do > 0)
        except BaseException:
            with suppress(OSError):  # a full disk must not hide why the run ended
                note_session(output, manifest, state, watch, begun, finished=False)
            raise
        if to_do or not manifest["finished"]:
            note_session(output, manifest, state, watch, begun, finished=True)
        with watch.stage("report"):
            reports = write_reports([output], output)
    return Finished(output, reports, _failures(output, plan.cells), _notes(output, plan))


def _dataset_record(plan: Plan) -> dict[str, Any]:
    dataset, test = plan.dataset, plan.dataset.split("test")
    return {
        "name": dataset.name,
        "title": dataset.title,
        "modality": dataset.modality,
        "lesion_sign": dataset.lesion_sign,
        "caveats": list(dataset.caveats),
        "licence": dataset.licence,
        "citation": dataset.citation,
        "preprocessing": dict(dataset.preprocessing),
        "fingerprint": dataset.fingerprint,
        "n_test_lesion": sum(case.lesion for case in test),
        "n_test_healthy": sum(not case.lesion for case in test),
        "n_val": len(plan.cases) - len(test),
    }


def _distinct(plan: Plan, denoisers: dict[str, Denoiser]) -> dict[tuple[str, str, str], Denoiser]:
    """(noise, back end, precision) -> network, floors left out."""
    methods = [cell for cell in plan.cells if not cell.floor]
    return {(cell.noise, cell.backend, cell.precision): denoisers[cell.slug] for cell in methods}


def _open_denoisers(session: Session, stack: ExitStack, watch: Stopwatch) -> dict[str, Denoiser]:
    """cell slug -> network; cells with the same noise, back end and precision share one."""
    opened: dict[tuple[str, str, str], Denoiser] = {}
    config, threads = session.plan.config, session.plan.threads
    result: dict[str, Denoiser] = {}
    for cell in session.plan.cells:
        key = (cell.noise, cell.backend, cell.precision)
        if key not in opened:
            if cell.floor:
                opened[key] = NoNetwork()
            else:
                with watch.stage("open"):
                    opened[key] = open_denoiser(
                        cell.backend,
                        session.checkpoints[cell.noise],
                        cell.precision,
                        config.device,
                        threads,
                        config.batch_size,
                    )
            stack.callback(opened[key].close)
        result[cell.slug] = opened[key]
    return result


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


def _score(plan: Plan, output: Path, watch: Stopwatch, stop: Callable[[], None]) -> None:
    order = [case.case_id for case in plan.cases]
    for cell in plan.cells:
        path = output / "cells" / cell.slug
        if (path / "metrics.json").is_file() and (path / "latency.json").is_file():
            continue
        stop()
        with watch.stage("score"):
            score_cell(output, cell.slug, order, plan.config.seed, plan.config.n_boot)


def _judge(session: Session, denoisers: dict[str, Denoiser], stop: Callable[[], None], again: bool) -> None:
    """Write parity.json where more than torch fp32 ran: no speed-up is shown without it."""
    path, run = session.output / "parity.json", load_run(session.output)
    if needs_parity(run) and (again or not path.is_file()):
        judged = judge_run(
            run, lambda cell: denoisers[cell.slug], session.perceptual, before_call=lambda _: stop()
        )
        write_json(path, judged)


def _failures(output: Path, cells: tuple[CellSpec, ...]) -> list[tuple[str, str, str]]:
    return [
        (cell.slug, record["case_id"], record["reason"])
        for cell in cells
        for record in read_cases(output / "cells" / cell.slug)
        if record["status"] == "failed"
    ]


def _notes(output: Path, plan: Plan) -> list[str]:
    loads = [read_json(output / "cells" / cell.slug / "latency.json")["load_max"] for cell in plan.cells]
    highest = max((load for load in loads if load is not None), default=0.0)
    if highest <= LOAD_LIMIT * plan.threads:
        return []
    return [
        f"load average reached {highest:.1f} with {plan.threads} threads in use: something else was running, "
        "so do not trust the latencies"
    ]
