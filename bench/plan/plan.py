"""A run as asked for: names checked, data and weights found, nothing opened yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from uadbench.bench.plan.config import ConfigError, RunConfig, unknown
from uadbench.bench.plan.data import find_opener
from uadbench.bench.plan.grid import Cell, plan_cells
from uadbench.bench.plan.selection import select_test
from uadbench.bench.plan.shards import Shard, divide
from uadbench.bench.plan.shifts import Shift, read_shifts
from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.run.machine import available_cores
from uadbench.datasets import Opener
from uadbench.datasets.case import Case, Dataset
from uadbench.datasets.preprocess import MASK_RULES, PREPROCESSING, Preprocessing
from uadbench.datasets.shifts import SHIFTS
from uadbench.datasets.validation import on_validation
from uadbench.engine.backends import BACKENDS, check_backend
from uadbench.engine.perceptual.distance import PERCEPTUALS
from uadbench.reports.identity import Arm

__all__ = ["Plan", "check_hint", "choose_cases", "make_plan", "spread"]


@dataclass(frozen=True)
class Plan:
    """A run as asked for, names checked, data and weights found; nothing opened yet.

    threads : resolved
    cases : validation cases, then test cases
    shifts : changes of intensity under which healthy test cases are run again
    shard : which part of the cases is computed, None for all
    """

    config: RunConfig
    cells: tuple[Cell, ...]
    dataset: Dataset
    cases: tuple[Case, ...]
    threads: int
    shifts: tuple[Shift, ...] = ()
    shard: Shard | None = None

    @cached_property
    def mine(self) -> tuple[Case, ...]:
        """The cases whose results are kept here: all, or those of the shard."""
        if self.shard is None:
            return self.cases
        return divide(self.cases, self.config.batch_size, self.shard.count)[self.shard.index - 1]

    @cached_property
    def computed(self) -> int:
        """How many cases are computed: a batch of which only some are kept here is computed whole."""
        size, kept = self.config.batch_size, {case.case_id for case in self.mine}
        batches = (self.cases[start : start + size] for start in range(0, len(self.cases), size))
        return sum(len(batch) for batch in batches if any(case.case_id in kept for case in batch))

    @property
    def shift_cases(self) -> tuple[Case, ...]:
        """The first ``shift_limit`` healthy test cases, in their fixed order."""
        healthy = [case for case in self.dataset.split("test") if not case.lesion]
        return tuple(healthy[: self.config.shift_limit])

    @property
    def shift_calls(self) -> int:
        """Network calls of the shifts: variants that differ in post-processing or arm alone run once."""
        once = {replace(cell.variant, post="none"): cell.walk.nfe for cell in self.cells}
        return sum(once.values()) * len(self.shift_cases) * len(self.shifts)

    @property
    def notes(self) -> list[str]:
        """What a user should know before it runs."""
        return [network.caveat for network in self.networks.values() if network.wanted]

    @property
    def calls(self) -> int:
        """Network calls of the whole run, or of the shard, each on one image."""
        return sum(cell.walk.nfe for cell in self.cells) * self.computed

    @property
    def networks(self) -> dict[str, NetworkFile]:
        """Every network that some cell needs, by name."""
        return {network.name: network for cell in self.cells for network in cell.networks.values()}


def make_plan(config: RunConfig) -> Plan:
    """Check names and back ends, find weights, open the data set.

    Raises ConfigError, BackendError, CheckpointError and CaseError.
    """
    opener = find_opener(config.dataset)
    _check_perceptuals(config)
    cells = plan_cells(config)  # before the data set is opened, which may take long
    for arm in dict.fromkeys(cell.arm for cell in cells):
        check_backend(arm.backend, arm.precision, arm.device)
    check_hint(config, (cell.arm for cell in cells))
    check_backend("torch", device=config.device)  # the perceptual net's, whatever the cells are
    root = Path(config.data_root) if config.data_root else None
    params = replace(PREPROCESSING, mask_rule=MASK_RULES[config.mask_rule])
    dataset = _open(config, opener, root, params)
    if dataset.networks:
        cells = plan_cells(config, dataset.networks)
    if config.variance == "exact" and not any(not case.lesion for case in dataset.split("val")):
        raise ConfigError(
            f"variance is 'exact', which is measured on healthy validation slices, and data set {dataset.name} has "
            "none; give variance = 'fixed-small'"
        )
    cases = choose_cases(dataset, config.val_limit)
    shifts = _shifts(config, dataset)
    threads = config.threads or available_cores()
    _check_streams(config, threads)
    return Plan(config, cells, dataset, cases, threads, shifts)


def _open(config: RunConfig, opener: Opener, root: Path | None, params: Preprocessing) -> Dataset:
    """The data set with the cases that are to be scored as its test cases; ConfigError where there is none."""
    chosen, on_test = bool(config.cases or config.subjects), config.split == "test"
    dataset = opener(root, config.seed[0], config.limit if on_test and not chosen else None, params)
    if not on_test:
        if not any(case.lesion for case in dataset.split("val")):
            raise ConfigError(
                f"data set {dataset.name} has no validation lesion to score; give split = 'test' (--split test)"
            )
        dataset = on_validation(dataset, None if chosen else config.limit)
    if chosen:
        dataset = select_test(dataset, config.cases, config.subjects, config.limit)
    if not dataset.split("test"):
        raise ConfigError(f"data set {dataset.name} has no test case")
    return dataset


def check_hint(config: RunConfig, arms: Iterable[Arm]) -> None:
    """ConfigError where a hint is given and no back end takes it."""
    if config.hint != RunConfig().hint and not any(BACKENDS[arm.backend].hinted for arm in arms):
        takers = ", ".join(name for name, known in BACKENDS.items() if known.hinted)
        raise ConfigError(f"hint is {config.hint!r}, and none of the back ends takes one; {takers} would")


def _check_streams(config: RunConfig, threads: int) -> None:
    if config.streams == 1:
        return
    if config.device != "cpu":
        raise ConfigError(
            f"streams is {config.streams!r}, which shares out threads of the CPU, and device is {config.device!r}; "
            "give streams = 1"
        )
    if config.streams != "auto" and config.streams > threads:
        raise ConfigError(
            f"streams is {config.streams}, and there are {threads} threads to share; give at most {threads}"
        )


def _shifts(config: RunConfig, dataset: Dataset) -> tuple[Shift, ...]:
    shifts = read_shifts(config.shift)
    for shift in shifts:
        if shift.kind not in SHIFTS:
            raise unknown("shift", shift.kind, SHIFTS)
    if shifts and all(case.lesion for case in dataset.split("test")):
        raise ConfigError(f"data set {dataset.name} has no healthy test case, which --shift runs again")
    return shifts


def _check_perceptuals(config: RunConfig) -> None:
    """ConfigError on a net that there is none of, and on one file where it is not clear whose it is."""
    given = config.perceptual_weights
    for name in (*config.perceptual, *(() if isinstance(given, str) else given or ())):
        if name not in PERCEPTUALS:
            raise unknown("perceptual net", name, PERCEPTUALS)
    if isinstance(given, str) and len(config.perceptual) > 1:
        raise ConfigError(
            f"perceptual_weights is one file, for {len(config.perceptual)} perceptual nets; say whose it is, such as "
            f"--set perceptual_weights.{config.perceptual[-1]}=FILE"
        )


def spread(cases: Sequence[Case], limit: int) -> tuple[Case, ...]:
    """At most ``limit`` of the cases, evenly spaced in their order."""
    if len(cases) <= limit:
        return tuple(cases)
    return tuple(cases[int(i)] for i in np.linspace(0, len(cases), limit, endpoint=False))


def choose_cases(dataset: Dataset, val_limit: int) -> tuple[Case, ...]:
    """The healthy validation cases (at most ``val_limit``), then all test cases, in their fixed order."""
    healthy = [case for case in dataset.split("val") if not case.lesion]
    return (*spread(healthy, val_limit), *dataset.split("test"))
