"""An arm opened for one network and batch size: how long that took, what it needs, whether it computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.profile.calls import Clocks, call_network
from uadbench.bench.profile.inputs import Inputs
from uadbench.bench.profile.memory import Peak
from uadbench.bench.run.evaluate import one_line
from uadbench.engine.backends import BACKENDS
from uadbench.engine.interfaces import Denoiser
from uadbench.exporters.levels import levels_read
from uadbench.exporters.parity import network_parity
from uadbench.reports.identity import Arm

__all__ = ["PARITY_LEVELS", "Opened", "Opener", "hold_against", "open_arm"]

WARM_UP = 3  # calls after the first two, before any that counts
PARITY_LEVELS = (1, 250, 1000)

Opener = Callable[[Arm, Path, int, int], Denoiser]  # of a checkpoint, threads and the largest batch


@dataclass
class Opened:
    """One arm.

    build_ms : opening it the first time, with all that the caches lacked (export, engine)
    reopen_ms : opening it again from the caches, for back ends that run an export or are compiled; None for others
    first_call_ms, second_call_ms : by the host's clock
    peak : of memory, in a process of its own
    parity : ``network_parity`` against torch fp32; {} for the reference and where it was not judged
    failed : why it cannot be timed, "" where it can
    """

    arm: Arm
    denoiser: Denoiser | None = None
    build_ms: float | None = None
    reopen_ms: float | None = None
    first_call_ms: float | None = None
    second_call_ms: float | None = None
    peak: Peak = field(default_factory=Peak)
    ran: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    parity_note: str = ""
    failed: str = ""

    def close(self) -> None:
        """Free the network."""
        if self.denoiser is not None:
            self.denoiser.close()
            self.denoiser = None


def open_arm(
    arm: Arm,
    network: NetworkFile,
    inputs: Inputs,
    threads: int,
    opener: Opener,
    clocks: Clocks,
) -> Opened:
    """Open an arm, call it twice, warm it up; what fails is said in the result.

    An arm that runs an export or is compiled is opened twice, so that the time of exporter and compiler is not taken
    for the back end's.
    """
    found = Opened(arm)
    arguments = (arm, network.path, threads, len(inputs.images))
    try:
        if BACKENDS[arm.backend].source != "checkpoint" or BACKENDS[arm.backend].slow:
            start = clocks.wall()
            opener(*arguments).close()
            found.build_ms = (clocks.wall() - start) * 1e3
        start = clocks.wall()
        found.denoiser = opener(*arguments)
        took = (clocks.wall() - start) * 1e3
        if found.build_ms is None:
            found.build_ms = took
        else:
            found.reopen_ms = took
        on_device = inputs.on(arm.device)
        calls = [call_network(found.denoiser, *on_device, clocks=clocks).seconds * 1e3 for _ in range(2)]
        found.first_call_ms, found.second_call_ms = calls
        for _ in range(WARM_UP):
            call_network(found.denoiser, *on_device, clocks=clocks)
        found.ran = found.denoiser.describe()
    except Exception as error:  # whatever a back end raises, the other arms are measured
        found.failed = one_line(error)
        found.close()
    return found


def hold_against(reference: Opened, other: Opened, network: NetworkFile, inputs: Inputs, seed: int) -> None:
    """Judge the other's network in batches as it is timed with; the reference's own verdict is left empty."""
    if other is reference or other.denoiser is None:
        return
    if reference.denoiser is None:
        other.parity_note = "torch fp32 could not be opened, so there is nothing to hold it against"
        return
    try:
        other.parity = network_parity(
            reference.denoiser,
            other.denoiser,
            inputs.judged,
            (seed,),
            levels_read(network.card, PARITY_LEVELS),
            network.schedule,
            inputs.noise,
            network.conditioned,
            len(inputs.images),
        )
    except Exception as error:
        other.parity_note = f"comparing it raised {one_line(error)}"
