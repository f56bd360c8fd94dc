"""``bench predict``: maps, reconstructions and masks of anybody's images, in their own space, without truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uadbench.bench.plan.weights import perceptual_file
from uadbench.bench.predict.record import Entry, PredictionDirectory, refuse_other
from uadbench.bench.predict.setup import Setup, asked
from uadbench.bench.predict.sources import Source, check_slices, find_sources
from uadbench.bench.predict.work import Item, compute, keep, make_item
from uadbench.bench.run.directory import now
from uadbench.bench.run.evaluate import Bench, NoNetwork
from uadbench.bench.run.inputs import in_batches
from uadbench.bench.run.interrupt import stop_on_signal
from uadbench.bench.run.machine import available_cores, environment, git_state, uadbench_version
from uadbench.bench.run.networks import open_denoiser
from uadbench.engine.backends import check_backend
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.perceptual.distance import OpenedPerceptual, open_perceptual
from uadbench.reports.atomic import RunError

__all__ = ["Predicted", "Request", "execute"]

Told = Callable[[str, int], None]


@dataclass(frozen=True)
class Request:
    """What is asked for.

    given : a file, or a folder of which files that match ``pattern`` are taken
    slices : of volumes, see ``sources.choose_slices``
    white : the map's value that is white in a PNG; None for each image's own largest
    command : for the record
    """

    given: Path
    output: Path
    setup: Setup
    slices: str = "mid"
    pattern: str | None = None
    white: float | None = 1.0
    command: str = ""


@dataclass(frozen=True)
class Predicted:
    """What came of it.

    files : the entry of each file that was asked for, in order; there : how many were done before
    """

    output: Path
    files: list[Entry]
    there: int

    @property
    def failed(self) -> list[Entry]:
        """Those that gave nothing."""
        return [entry for entry in self.files if entry["status"] != "ok"]


def execute(
    request: Request,
    overwrite: bool,
    progress: Callable[[int, int], Told],
    say: Callable[[str], None],
) -> Predicted:
    """Predict what is not there yet, file by file, and record it.

    progress : (all slices, slices done) -> what is told of each batch; say : for lines to the user
    Raises ConfigError, CaseError, BackendError, CheckpointError, RunError (the folder is in use, or holds something
    else), and Interrupted; files that are done are kept in any case.
    """
    setup, directory = request.setup, PredictionDirectory(request.output)
    arm = setup.cell.arm
    check_backend(arm.backend, arm.precision, arm.device)
    sources = find_sources(request.given, request.output, request.pattern)
    threads = setup.config.threads or available_cores()
    torch.set_num_threads(threads)
    perceptual = _open_perceptual(setup)
    wanted = _asked(request, perceptual)
    with ExitStack() as stack, stop_on_signal() as stop:
        stack.enter_context(directory.locked())
        known = _without_opened(_take_up(directory, wanted, overwrite), sources)
        items = _items(directory, sources, request, known, overwrite, say)
        for note in _notes(setup):  # what is asked for can be done: an error stands alone
            say(note)
        there = sum(item.done for item in items)
        if there < len(items):
            denoiser = _open(setup, threads, stack, say)
            record = _record(request, wanted, denoiser, threads)
            directory.write({**record, "finished": None}, known)
            like = (setup.healthy.median, stop, setup.healthy.mean, setup.healthy.spread)
            bench = Bench(setup.config.eta, {perceptual.name: perceptual}, setup.lesion_sign, *like)
            try:
                _predict(items, request, denoiser, bench, directory, progress)
                record["finished"] = now()
            finally:
                known = directory.read()[1]
                directory.write({"finished": None, **record}, known)
    return Predicted(request.output, [known[item.source.case_id] for item in items], there)


def _notes(setup: Setup) -> tuple[str, ...]:
    if setup.called.threshold is not None:
        return setup.notes
    return (*setup.notes, "no masks are written; --threshold T or --threshold-from RUN has them written")


def _open_perceptual(setup: Setup) -> OpenedPerceptual:
    name = setup.cell.variant.perceptual or setup.config.perceptual[0]
    net = open_perceptual(name, perceptual_file(name, setup.config.perceptual_weights), setup.config.device)
    if setup.perceptual_sha256 not in (None, net.sha256):
        raise RunError(f"the run of --threshold-from was made with other weights of {name} than are here")
    return net


def _open(setup: Setup, threads: int, stack: ExitStack, say: Callable[[str], None]) -> Denoiser:
    cell, size = setup.cell, setup.config.batch_size
    if not cell.networks:
        return NoNetwork()
    path, hint = cell.networks["denoiser"].path, setup.config.hint
    denoiser = open_denoiser(cell.arm, path, threads, size, say=say, hint=hint)
    stack.callback(denoiser.close)
    return denoiser


def _asked(request: Request, perceptual: OpenedPerceptual) -> dict[str, Any]:
    own = {"slices": check_slices(request.slices), "white": request.white}
    used = perceptual.sha256 if request.setup.cell.variant.perceptual else None
    return asked(request.setup, used, own)


def _take_up(directory: PredictionDirectory, wanted: Mapping[str, Any], overwrite: bool) -> dict[str, Entry]:
    """What is known of files that are there; RunError where they were predicted otherwise."""
    there, known = directory.read()
    directory.clear_partial()
    if there and overwrite:
        directory.drop(known)
        return {}
    if there:
        refuse_other(directory.path, there.get("asked") or {}, wanted)
    return known


def _without_opened(known: Mapping[str, Entry], sources: Sequence[Source]) -> dict[str, Entry]:
    """What is known but for folders that could not be read before and can now."""
    closed = {source.case_id for source in sources if source.fault}
    return {key: entry for key, entry in known.items() if key in closed or not entry["input"].endswith("/")}


def _items(
    directory: PredictionDirectory,
    sources: Sequence[Source],
    request: Request,
    known: Mapping[str, Entry],
    overwrite: bool,
    say: Callable[[str], None],
) -> list[Item]:
    """The files with what is done of them; RunError where something of the user's is in the way."""
    items = [make_item(source, request.slices) for source in sources]
    called = request.setup.called
    if not overwrite:
        wanted = {item.source.case_id: list(item.names(called).values()) for item in items}
        directory.refuse_foreign(wanted, known)
    for item in items:
        entry = known.get(item.source.case_id)
        if entry is None or item.reason is not None:
            continue
        if entry["status"] == "ok" and entry["sha256"] != item.sha256:
            raise RunError(
                f"{item.source.path}: is not the file that was predicted in {directory.path}; give another --output, "
                "or --overwrite to start anew"
            )
        item.done = directory.holds(entry)
    volumes = [item.grid.depth for item in items if item.grid is not None and item.grid.volume]
    if volumes and request.slices == "mid":
        say(f"of {len(volumes)} volumes the middle slice is predicted; --slices all or 60-90 takes more")
    return items


def _predict(
    items: Sequence[Item],
    request: Request,
    denoiser: Denoiser,
    bench: Bench,
    directory: PredictionDirectory,
    progress: Callable[[int, int], Told],
) -> None:
    """Batches always hold the same slices, whatever is done already, so that results do not hang on interruptions."""
    setup = request.setup
    slices = [(item, index) for item in items for index in item.slices]
    done = sum(item.done for item, _ in slices)
    told = progress(len(slices), done)
    for item in items:
        if item.reason is not None:
            keep(directory, item, setup, request.white)
    for batch in in_batches(slices, setup.config.batch_size):
        bench.stop()
        new = sum(not item.done for item, _ in batch)
        complete = compute(batch, setup, denoiser, bench) if new else _passed(batch)
        for item in complete:
            if not item.done:
                keep(directory, item, setup, request.white)
            item.pixels, item.found = None, []
        if new:
            told(batch[-1][0].source.name, new)


def _passed(batch: Sequence[tuple[Item, int]]) -> list[Item]:
    """A batch of which every slice is done; the items that end with it."""
    for item, _ in batch:
        item.left -= 1
    return [item for item in {id(item): item for item, _ in batch}.values() if item.left == 0]


def _record(request: Request, wanted: Mapping[str, Any], denoiser: Denoiser, threads: int) -> dict[str, Any]:
    """predictions.json but for its files."""
    setup = request.setup
    cell = setup.cell.record("", denoiser.describe())
    return {
        "command": request.command,
        "label": f"{setup.cell.variant.label} · {setup.cell.arm.label}",
        "cell": {key: value for key, value in cell.items() if key != "dataset"},
        "asked": dict(wanted),
        "rule": setup.called.rule or "no threshold, so no masks",
        "created": now(),
        "version": uadbench_version(),
        "git": git_state(),
        "environment": environment(threads),
    }
