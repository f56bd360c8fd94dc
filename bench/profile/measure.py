"""One network at one batch size on every arm: opened, warmed up, and timed in rounds in which all take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.profile.calls import Clocks, Timed, call_in_turn, interleave, time_method
from uadbench.bench.profile.ceilings import measure_ceilings
from uadbench.bench.profile.count import Count, count_network
from uadbench.bench.profile.inputs import Inputs
from uadbench.bench.profile.memory import Peak, peak_of
from uadbench.bench.profile.opened import Opened, hold_against, open_arm
from uadbench.bench.profile.plan import ProfilePlan
from uadbench.bench.profile.state import at_work
from uadbench.bench.run.evaluate import Bench, one_line, warm_up
from uadbench.bench.run.networks import open_denoiser
from uadbench.bench.run.timing import load_average
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.identity import Arm, reference_of

__all__ = ["CALL", "Group", "Instruments", "Key", "measure_group"]

CALL = ""  # in place of a method's label: one call of the network
Key = tuple[Arm, str]


@dataclass(frozen=True)
class Instruments:
    """What is measured with; tests put others in their place.

    say : is told what a user must know, work of minutes ahead among it; progress : what is being done
    hint : see ``open_backend``
    """

    clocks: Clocks = field(default_factory=Clocks)
    load: Callable[[], float] = load_average
    opener: Callable[..., Denoiser] = open_denoiser
    count: Callable[..., Count] = count_network
    peak: Callable[..., Peak] = peak_of
    ceilings: Callable[..., dict[str, Any]] = measure_ceilings
    at_work: Callable[[str, Callable[[], object]], dict[str, Any]] = at_work
    say: Callable[[str], None] = lambda line: None
    progress: Callable[[str], None] = lambda line: None
    stop: Callable[[], None] = lambda: None
    hint: str = "latency"

    def open(self, arm: Arm, checkpoint: Path, threads: int, batch_size: int) -> Denoiser:
        """An arm's network, for batches of at most that size."""
        return self.opener(arm, checkpoint, threads, batch_size, say=self.say, hint=self.hint)


@dataclass
class Group:
    """A network and batch size with all that was found, filled as it is measured.

    cells : (arm, label) -> the cell, for methods
    taken, failed : (arm, method's label or ``CALL``) -> times, or why there are no more
    count : of one network call; None where it could not be counted
    at_work : the plan's device after the rounds of calls, see ``device_state``; empty where nothing could be called
    """

    network: NetworkFile
    batch: int
    cells: Mapping[Key, Cell]
    opened: dict[Arm, Opened] = field(default_factory=dict)
    taken: dict[Key, list[Timed]] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)
    count: Count | None = None
    count_note: str = ""
    at_work: dict[str, Any] = field(default_factory=dict)

    @property
    def keys(self) -> list[Key]:
        """Every row, in order: the bare call, then the methods, each on all arms."""
        labels = dict.fromkeys(label for _, label in self.cells)
        return [(arm, CALL) for arm in self.opened] + [
            (arm, label) for label in labels for arm in self.opened if (arm, label) in self.cells
        ]


@contextmanager
def measure_group(
    group: Group, plan: ProfilePlan, inputs: Inputs, bench: Bench, tools: Instruments
) -> Iterator[Group]:
    """The group with its times, its arms open until the end of the ``with`` block.

    Raises what ``tools.stop`` raises; the group then holds what was measured so far.
    """
    try:
        _open(group, plan, inputs, tools)
        _count(group, inputs, tools)
        _take_calls(group, plan, inputs, tools)
        for label in dict.fromkeys(label for _, label in group.cells):
            _take_methods(group, label, plan, inputs, bench, tools)
        yield group
    finally:
        for opened in group.opened.values():
            opened.close()


def _open(group: Group, plan: ProfilePlan, inputs: Inputs, tools: Instruments) -> None:
    for arm in plan.arms:
        tools.stop()
        tools.progress(f"{group.network.name}, batch {group.batch}: opening {arm.label}")
        opened = open_arm(arm, group.network, inputs, plan.threads, tools.open, tools.clocks)
        group.opened[arm] = opened
        if opened.denoiser is not None:
            called = (inputs.x_t, inputs.t, inputs.cond)
            opened.peak = tools.peak(arm, group.network.path, plan.threads, tools.hint, called, tools.stop)
            if opened.peak.note:
                tools.say(f"{group.network.name} on {arm.label}: no peak memory: {opened.peak.note}")
        hold_against(group.opened[reference_of(arm)], opened, group.network, inputs, plan.config.seed[0])


def _count(group: Group, inputs: Inputs, tools: Instruments) -> None:
    try:
        group.count = tools.count(group.network.path, group.batch, int(inputs.images.shape[-1]))
    except Exception as error:  # a network of others may do what tensors without data cannot
        group.count_note = f"not counted: {one_line(error)}"


def _take_calls(group: Group, plan: ProfilePlan, inputs: Inputs, tools: Instruments) -> None:
    calls: dict[Key, Callable[[], Timed]] = {}
    for arm, opened in group.opened.items():
        if opened.denoiser is None:
            group.failed[arm, CALL] = opened.failed
        else:
            on_device = inputs.on(arm.device)
            calls[arm, CALL] = partial(call_in_turn, opened.denoiser, *on_device, clocks=tools.clocks)
    tools.progress(f"{group.network.name}, batch {group.batch}: {plan.rounds} rounds of calls")
    interleave(calls, plan.rounds, tools.load, tools.stop, group.taken, group.failed)
    if working := [call for key, call in calls.items() if key not in group.failed]:
        try:
            group.at_work = tools.at_work(plan.config.device, working[-1])
        except Exception as error:  # the same calls may fail now; their times are taken
            tools.say(f"{group.network.name}, batch {group.batch}: clocks not read: {one_line(error)}")


def _take_methods(
    group: Group, label: str, plan: ProfilePlan, inputs: Inputs, bench: Bench, tools: Instruments
) -> None:
    calls: dict[Key, Callable[[], Timed]] = {}
    tools.progress(f"{label}, batch {group.batch}: {plan.method_rounds} rounds")
    for arm, opened in group.opened.items():
        cell = group.cells.get((arm, label))
        if cell is None:
            continue
        if opened.denoiser is None:
            group.failed[arm, label] = opened.failed
            continue
        try:
            warm_up(cell, opened.denoiser, inputs.samples, [group.batch], bench)
        except Exception as error:
            group.failed[arm, label] = one_line(error)
            continue
        calls[arm, label] = partial(time_method, cell, opened.denoiser, inputs.samples, bench, tools.clocks)
    interleave(calls, plan.method_rounds, tools.load, tools.stop, group.taken, group.failed)
