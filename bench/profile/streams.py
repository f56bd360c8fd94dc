"""Is one caller with all threads better, or several with a part of them? Whole images a second, both ways."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch

from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.profile.calls import Clocks
from uadbench.bench.profile.inputs import Inputs
from uadbench.bench.profile.opened import Opener
from uadbench.bench.run.evaluate import one_line
from uadbench.bench.run.streams import callers, hold_rates
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.identity import Arm

__all__ = ["compare_streams"]

CALLS = 8  # of each caller at a time


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
    had = torch.get_num_threads()

    def opened(count: int) -> Denoiser:
        return opener(arm, network.path, count, len(inputs.images))

    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, had)
        try:
            one = callers(stack, 1, threads, lambda: opened(threads))
            several = callers(stack, streams, each, lambda: opened(each))
            if [*one.threads(), *several.threads()] != [threads, *[each] * streams]:
                return found | {
                    "reason": "not measured: its threads are the process's and cannot be shared out"
                }
            rates = hold_rates(one, several, inputs.on(arm.device), clocks.wall, CALLS)
        except Exception as error:  # a back end may raise anything
            return found | {"reason": f"not measured: {one_line(error)}"}
    return found | {
        "one_images_per_s": rates[0],
        "images_per_s": rates[1],
        "ratio": rates[1] / rates[0],
        "better": streams if rates[1] > rates[0] else 1,
    }
