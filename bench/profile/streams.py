"""Is one caller with all threads better, or several with a part of them? Whole images a second, both ways."""

from __future__ import annotations

from functools import partial
from typing import Any

from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.profile.calls import Clocks
from uadbench.bench.profile.inputs import Inputs
from uadbench.bench.profile.opened import Opener
from uadbench.bench.run.streams import WORTH, hold_against_one
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
    """What ``hold_against_one`` finds, with "streams", "threads_each" and, if measured, "worth" and "better": 1,
    ``streams``, or None where neither has more than ``WORTH`` times the other's images a second, as a run asks for.
    """

    def opened(count: int) -> Denoiser:
        return opener(arm, network.path, count, len(inputs.images))

    on_arm = partial(inputs.on, arm.device)
    (held,) = hold_against_one(opened, threads, [streams], on_arm, clocks.wall, CALLS)
    found = {"streams": streams, "threads_each": threads // streams}
    if "reason" in held:
        return found | {"reason": f"not measured: {held['reason']}"}
    better = streams if held["ratio"] > WORTH else 1 if 1 / held["ratio"] > WORTH else None
    return found | held | {"better": better, "worth": WORTH}
