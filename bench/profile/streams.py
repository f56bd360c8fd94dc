"""Is one caller with all threads better, or several with a part of them? Whole images a second, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from statistics import median
from typing import Any

from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.profile.calls import Clocks
from uadbench.bench.profile.inputs import Inputs
from uadbench.bench.profile.opened import Opener
from uadbench.bench.run.evaluate import one_line
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.identity import Arm

__all__ = ["compare_streams"]

CALLS, TURNS = 8, 3  # calls of each caller at a time, and how often the two ways take turns


def compare_streams(
    arm: Arm,
    network: NetworkFile,
    inputs: Inputs,
    threads: int,
    streams: int,
    opener: Opener,
    clocks: Clocks,
) -> dict[str, Any]:
    """One caller with ``threads`` threads against ``streams`` callers, each with a network and its part of them.

    Returns "streams", "threads_each", "one_images_per_s", "images_per_s", "ratio" and "better" (1 or ``streams``), or
    "reason" where it cannot be measured: a back end whose threads are the whole process's cannot be given a part.
    """
    each = threads // streams
    found: dict[str, Any] = {"streams": streams, "threads_each": each}
    with ExitStack() as stack:
        try:
            opened = []
            for count in (threads, *[each] * streams):
                opened.append(opener(arm, network.path, count, len(inputs.images)))
                stack.callback(opened[-1].close)
            had = [denoiser.describe().get("threads") for denoiser in opened]
            if had != [threads, *[each] * streams]:
                return found | {
                    "reason": "not measured: its threads are the process's and cannot be shared out"
                }
            one, several = _both(opened[0], opened[1:], inputs, arm.device, clocks)
        except Exception as error:  # a back end may raise anything
            return found | {"reason": f"not measured: {one_line(error)}"}
    return found | {
        "one_images_per_s": one,
        "images_per_s": several,
        "ratio": several / one,
        "better": streams if several > one else 1,
    }


def _both(
    one: Denoiser, several: Sequence[Denoiser], inputs: Inputs, device: str, clocks: Clocks
) -> tuple[float, float]:
    """Images a second, medians of ``TURNS``; the two ways take turns, so that what disturbs one disturbs the other."""
    x_t, t, cond = inputs.on(device)

    def work(denoiser: Denoiser, calls: int) -> None:
        for _ in range(calls):
            denoiser.denoise(x_t, t, cond)
        denoiser.synchronize()

    def rate(denoisers: Sequence[Denoiser]) -> float:
        start = clocks.wall()
        list(pool.map(work, denoisers, [CALLS] * len(denoisers)))
        return CALLS * len(denoisers) * len(inputs.images) / (clocks.wall() - start)

    with ThreadPoolExecutor(len(several)) as pool:
        list(pool.map(work, (one, *several), [2] * (1 + len(several))))  # first calls are nobody's measure
        pairs = [(rate([one]), rate(several)) for _ in range(TURNS)]
    return median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
