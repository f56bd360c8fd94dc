"""Peak memory of an arm in a process of its own, where no other arm has left memory that it could use again."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import Any

import torch

from uadbench.bench.run.evaluate import one_line
from uadbench.bench.run.memory import PROC, highest_kib, resident_kib, set_back
from uadbench.bench.run.networks import open_denoiser
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.identity import Arm

__all__ = ["Peak", "peak_of", "rise"]

POLL = 0.2  # seconds between two looks at whether the user wants to stop
LEAVE = 20.0  # seconds that the process has to end by itself
Called = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # x_t, t and cond, on the device


@dataclass(frozen=True)
class Peak:
    """How far memory rose while a network was opened and called twice.

    host_mib : None where the system does not say, or does not let the mark be set back
    device_mib : of the device's memory that was free before, whichever library took it; None off a GPU
    note : why there is neither, "" where there is
    """

    host_mib: float | None = None
    device_mib: float | None = None
    note: str = ""


def peak_of(
    arm: Arm, checkpoint: Path, threads: int, hint: str, called: Called, stop: Callable[[], None]
) -> Peak:
    """Of an arm whose caches are filled. called : on the host, a whole batch; stop : may raise, which ends it at once.

    The new process has imported what every arm needs, torch among it, and computed nothing; what else the arm's library
    is, counts.
    """
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    x_t, t, cond = called
    arrays = (x_t.numpy(), t.numpy(), None if cond is None else cond.numpy())
    given = (theirs, arm, checkpoint, threads, hint, arrays)
    process = context.Process(target=_measure, args=given, daemon=True)
    try:
        process.start()
        theirs.close()
        while not ours.poll(POLL):
            stop()
        found: Peak = ours.recv()
        process.join(LEAVE)  # a compiler has files and processes of its own to put away
        return found
    except (EOFError, OSError) as error:
        stop()  # Ctrl-C may have ended what makes processes
        if process.pid is None:
            return Peak(note=f"no process could be started: {one_line(error)}")
        process.join()
        return Peak(note=f"its process ended with code {process.exitcode}; is there enough memory?")
    finally:
        if process.pid is not None:
            process.kill()  # what ignores other signals, too
            process.join()
        ours.close()
        theirs.close()


def _context() -> ForkServerContext | SpawnContext:
    """A server that has imported what is needed and forks, before any thread runs; elsewhere a new interpreter."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _measure(
    pipe: Connection, arm: Arm, checkpoint: Path, threads: int, hint: str, arrays: tuple[Any, Any, Any]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops it
    torch.set_num_threads(threads)
    try:
        x_t, t, cond = (None if one is None else torch.from_numpy(one).to(arm.device) for one in arrays)
        assert x_t is not None
        assert t is not None
        opener = partial(open_denoiser, arm, checkpoint, threads, len(x_t), say=None, hint=hint)
        pipe.send(rise(opener, (x_t, t, cond)))
    except Exception as error:  # a back end may raise anything
        pipe.send(Peak(note=one_line(error)))


def rise(opener: Callable[[], Denoiser], called: Called, proc: Path = PROC) -> Peak:
    """How far this process's memory, and the used memory of the device, rise while a network is opened and called."""
    device = str(called[0].device)
    before = resident_kib(proc) if set_back(proc) else None
    free = _free(device)
    with closing(opener()) as denoiser:
        for _ in range(2):
            denoiser.denoise(*called)
        denoiser.synchronize()
        after, left = highest_kib(proc), _free(device)
    return Peak(
        None if before is None or after is None else max(0, after - before) / 2**10,
        None if free is None or left is None else max(0, free - left) / 2**20,
    )


def _free(device: str) -> int | None:
    """Bytes; libraries keep what they took, so that what is missing after a call is what it took at most."""
    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else None
