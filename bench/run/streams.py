"""Several batches at a time in threads of this process, each with networks of its own and a share of the threads.

PyTorch, ONNX Runtime and OpenVINO release the interpreter while they compute. The latter two have a pool for each
network; torch's pool is that of the calling thread, whose size is set in the thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from statistics import geometric_mean, median
from typing import Any

import torch
from torch import Tensor

from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.bench.profile.inputs import make_inputs
from uadbench.bench.run.evaluate import one_line
from uadbench.bench.run.executors import Stream, gather
from uadbench.bench.run.inputs import load_case
from uadbench.bench.run.networks import open_denoiser, open_denoisers
from uadbench.bench.run.timing import Stopwatch, load_average
from uadbench.datasets.case import Sample
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.store import RunDirectory

__all__ = [
    "WORTH",
    "Callers",
    "callers",
    "choose_streams",
    "hold_against_one",
    "hold_rates",
    "open_streams",
    "shared_streams",
]

WORTH = 1.05
"""``auto`` takes more than one stream only where images a second are more than this times those of one."""

CALLS, TURNS = 4, 3  # calls of each caller at a time, and how often the two ways take turns

CallInputs = tuple[Tensor, Tensor, Tensor | None]  # x_t, t and cond


@dataclass(frozen=True)
class Callers:
    """Denoisers, each called in a thread of its own."""

    workers: Sequence[ThreadPoolExecutor]
    denoisers: Sequence[Denoiser]

    def threads(self) -> list[int | None]:
        """How many threads each says that it has, asked where it is called."""
        return [
            worker.submit(denoiser.describe).result().get("threads")
            for worker, denoiser in zip(self.workers, self.denoisers, strict=True)
        ]

    def run(self, work: Callable[[Denoiser], None]) -> None:
        """Each does the work, all at a time; returns when all have done it, and raises what one raised."""
        pairs = zip(self.workers, self.denoisers, strict=True)
        gather({n: worker.submit(work, denoiser) for n, (worker, denoiser) in enumerate(pairs)})


def callers(stack: ExitStack, count: int, threads: int, opened: Callable[[], Denoiser]) -> Callers:
    """``count`` denoisers with ``threads`` threads each, closed with the stack."""
    workers = [_worker(stack, threads) for _ in range(count)]
    denoisers = []
    for worker in workers:
        denoisers.append(worker.submit(opened).result())
        stack.callback(denoisers[-1].close)
    return Callers(workers, denoisers)


def hold_rates(
    one: Callers,
    several: Callers,
    inputs: CallInputs,
    clock: Callable[[], float],
    calls: int,
) -> list[tuple[float, float]]:
    """Images a second of one and of several, ``TURNS`` times; they take turns, so what disturbs one disturbs the other.

    inputs : of one call; calls : of each caller at a time
    """

    def work(denoiser: Denoiser) -> None:
        for _ in range(calls):
            denoiser.denoise(*inputs)
        denoiser.synchronize()

    def rate(group: Callers) -> float:
        start = clock()
        group.run(work)
        return calls * len(group.denoisers) * len(inputs[0]) / (clock() - start)

    for group in (one, several):  # first calls are nobody's measure
        group.run(work)
    return [(rate(one), rate(several)) for _ in range(TURNS)]


def hold_against_one(
    opened: Callable[[int], Denoiser],
    threads: int,
    counts: Sequence[int],
    inputs: Callable[[], CallInputs],
    clock: Callable[[], float],
    calls: int = CALLS,
) -> list[dict[str, Any]]:
    """One caller with ``threads`` threads against each number of callers, each with a network and its part of them.

    opened : threads -> a network opened for them; inputs, calls : see ``hold_rates``
    Returns for each of ``counts`` "one_images_per_s" and "images_per_s", medians of the turns, their "ratio", and the
    turns' own "ratios"; or "reason" where it cannot be measured: a back end whose threads are the whole process's
    cannot be given a part. The one is opened once.
    """
    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())  # callers leave theirs to new threads
        try:
            one, given = callers(stack, 1, threads, partial(opened, threads)), inputs()
        except Exception as error:  # a back end may raise anything
            return [{"reason": one_line(error)} for _ in counts]
        return [_against(one, opened, threads, count, given, clock, calls) for count in counts]


def _against(
    one: Callers,
    opened: Callable[[int], Denoiser],
    threads: int,
    count: int,
    inputs: CallInputs,
    clock: Callable[[], float],
    calls: int,
) -> dict[str, Any]:
    each = threads // count
    with ExitStack() as stack:
        try:
            several = callers(stack, count, each, partial(opened, each))
            if [*one.threads(), *several.threads()] != [threads, *[each] * count]:
                return {"reason": "its threads are the process's and cannot be shared out"}
            turns = hold_rates(one, several, inputs, clock, calls)
        except Exception as error:
            return {"reason": one_line(error)}
    alone, together = (median(turn[k] for turn in turns) for k in range(2))
    ratios = [several / one for one, several in turns]
    return {"one_images_per_s": alone, "images_per_s": together, "ratio": together / alone, "ratios": ratios}


def choose_streams(plan: Plan, clock: Callable[[], float], say: Callable[[str], None]) -> dict[str, Any]:
    """How many streams the run takes: measured with a few calls on each of its networks and arms.

    Held against one with all threads are 2, 4, 8, ... streams and one a thread. The number with the largest geometric
    mean of the ratios is taken, one where that is not above ``WORTH``. Returns the record for the manifest.
    """
    threads = plan.threads
    candidates = sorted(
        {*(2**n for n in range(1, 11) if 2**n <= threads), *([threads] if threads > 1 else [])}
    )
    pairs = {(c.arm.slug, c.networks["denoiser"].name): c for c in plan.cells if c.networks}
    load, samples, measured = load_average(), _first_batch(plan), list[dict[str, Any]]()
    for cell in pairs.values() if candidates else ():
        measured += _held(plan, cell, samples, candidates, clock, say)
    means = {1: 1.0}
    for count in candidates:
        ratios = [entry.get("ratio", 1.0) for entry in measured if entry["streams"] == count]
        means[count] = geometric_mean(ratios or [1.0])
    best = max(means, key=lambda count: means[count])
    count = best if means[best] > WORTH else 1
    others = ", ".join(f"{n}: {means[n]:.2f}" for n in candidates) or "one thread, nothing to share"
    say(
        f"streams: {count} of {threads // count} threads each; images a second against one stream: {others} "
        f"(more than {WORTH} is asked for)"
    )
    return {
        "count": count,
        "threads_each": threads // count,
        "auto": True,
        "measured": measured,
        "load": load,
    }


def shared_streams(
    plan: Plan,
    manifest: Mapping[str, Any],
    run: RunDirectory,
    overwrite: bool,
    watch: Stopwatch,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """How many streams a run has, for its manifest; {} for the one that is usual.

    manifest : that of a new run; one that is there already and taken up keeps the number that was measured for it
    """
    wanted = plan.config.streams
    if wanted == 1:
        return {}
    if wanted != "auto":
        return {"count": wanted, "threads_each": plan.threads // wanted, "auto": False}
    there = run.read_manifest() if run.has_manifest and not overwrite else {}
    if there.get("run_id") == manifest["run_id"] and "streams" in there:
        return {**there["streams"]}
    with watch.stage("streams"):
        return choose_streams(plan, time.perf_counter, say)


def open_streams(
    plan: Plan, count: int, stack: ExitStack, watch: Stopwatch, say: Callable[[str], None]
) -> list[Stream]:
    """Workers with networks for all cells, closed with the stack; this thread has their number of threads, too."""
    each = max(1, plan.threads // count)
    # before they are opened: what is compiled is compiled for a number of threads
    torch.set_num_threads(each)
    return [Stream(_worker(stack, each), open_denoisers(plan, stack, watch, say, each)) for _ in range(count)]


def _worker(stack: ExitStack, threads: int) -> ThreadPoolExecutor:
    """A thread in which torch has ``threads`` threads."""
    return stack.enter_context(ThreadPoolExecutor(1, initializer=_give, initargs=(threads,)))


def _give(threads: int) -> None:
    torch.get_num_threads()  # a thread's first question sets the process's number, also after it was given another
    torch.set_num_threads(threads)


def _held(
    plan: Plan,
    cell: Cell,
    samples: Sequence[Sample],
    counts: Sequence[int],
    clock: Callable[[], float],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Callers of a cell's network, each number of them against one; what cannot be measured the run itself will say."""
    arm, network = cell.arm, cell.networks["denoiser"]

    def opened(threads: int) -> Denoiser:
        size, hint = plan.config.batch_size, plan.config.hint
        return open_denoiser(arm, network.path, threads, size, say=say, hint=hint)

    def inputs() -> CallInputs:
        if not samples:
            raise ValueError("no case can be read")
        return make_inputs(network, samples, plan.config.seed[0]).on(arm.device)

    found = hold_against_one(opened, plan.threads, counts, inputs, clock)
    about = {"network": network.name, "arm": arm.label}
    return [about | {"streams": count} | one for count, one in zip(counts, found, strict=True)]


def _first_batch(plan: Plan) -> list[Sample]:
    """The first cases that can be read, as many as a batch has."""
    read = (load_case(plan.dataset, case) for case in plan.cases)
    return list(islice((found for found in read if isinstance(found, Sample)), plan.config.batch_size))
