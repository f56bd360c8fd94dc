"""A profile as asked for: names checked, weights found, nothing opened yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uadbench.bench.plan.config import ConfigError, RunConfig, make_config
from uadbench.bench.plan.grid import Cell, plan_cells, read_arms
from uadbench.bench.plan.plan import check_hint
from uadbench.bench.plan.weights import NetworkFile, find_network
from uadbench.bench.run.machine import available_cores
from uadbench.engine.backends import BACKENDS, BackendError, check_backend
from uadbench.engine.networks import NETWORKS
from uadbench.reports.identity import Arm, reference_of
from uadbench.reports.vocabulary import LOAD_LIMIT

__all__ = ["DEFAULT_NETWORK", "ProfileError", "ProfilePlan", "check_load", "plan_profile"]

DEFAULT_NETWORK = "unet-gaussian"
BATCHES = {"cpu": (1, 4), "cuda": (1, 4, 16, 64)}  # kind of device -> sizes
ROUNDS, QUICK_ROUNDS = 30, 10  # 29 calls allow a p90
OF_RUNS = (
    *("dataset", "data_root", "limit", "val_limit", "mask_rule", "batch_size", "shift", "shift_limit"),
    *("component_px", "n_boot"),
)
"""Settings that would change nothing here."""
METHOD_SHARE, LEAST_METHOD_ROUNDS = 3, 3  # a whole method takes tens of network calls


class ProfileError(Exception):
    """A profile cannot be taken; the message says why and what to do, in one line."""


@dataclass(frozen=True)
class ProfilePlan:
    """What is timed.

    networks : each is called on every arm, by itself
    cells : methods on every arm; their networks are among the networks
    arms : back end, precision and device; torch fp32 is always among them, for parity and speed-ups are against it
    left_out : back ends that were not named and do not run here, or are slow to open -> why
    batches : sizes
    streams : how many callers are held against one, 0 for no such measurement
    """

    config: RunConfig
    networks: tuple[NetworkFile, ...]
    cells: tuple[Cell, ...]
    arms: tuple[Arm, ...]
    left_out: Mapping[str, str]
    batches: tuple[int, ...]
    threads: int
    rounds: int
    quick: bool
    streams: int

    @property
    def method_rounds(self) -> int:
        """Rounds of whole methods."""
        return max(LEAST_METHOD_ROUNDS, self.rounds // METHOD_SHARE)


def plan_profile(
    networks: Sequence[str],
    batches: Sequence[int],
    flags: Mapping[str, Any],
    sets: Sequence[tuple[str, Any]] = (),
    rounds: int | None = None,
    quick: bool = False,
    streams: int | None = None,
) -> ProfilePlan:
    """Check names, back ends and files.

    networks : names or files NAME.safetensors; with none, those of the methods, or ``DEFAULT_NETWORK``
    batches : with none, 1 and 4 on a CPU (1 where ``quick``), also 16 and 64 on a GPU
    flags : methods, backends, precision, steps, seed, device, threads of ``RunConfig``, None where not given

    Raises ConfigError, BackendError and CheckpointError.
    """
    for key, value in sets:
        if key in OF_RUNS or (key, value) == ("variance", "exact"):
            raise ConfigError(
                f"{key} = {value} is for `bench run`: a profile times phantom cases in the sizes of --batch, and "
                "measures and scores nothing else; leave it out"
            )
    config = make_config({}, flags, sets)
    if len(config.seed) > 1:
        raise ConfigError(f"a profile has one seed, and {len(config.seed)} are given")
    arms, left_out = _arms(
        config, named="backends" in {key for key, value in (*flags.items(), *sets) if value}
    )
    check_hint(config, arms)
    cells = _cells(config, arms)
    files = [_network(text, config.checkpoints) for text in networks]
    files += [cell.networks["denoiser"] for cell in cells]
    files = files or [find_network(DEFAULT_NETWORK, config.checkpoints)]
    kind = config.device.partition(":")[0]
    threads = config.threads or available_cores()
    if streams is None:
        streams = 2 if kind == "cpu" and threads >= 2 and not quick else 0
    if streams == 1:
        raise ConfigError(
            "streams is 1, and one caller is what others are held against; give 2 or more, or 0 for none"
        )
    if streams and kind != "cpu":
        raise ConfigError(f"several callers are for a CPU, not for {config.device}; leave --streams out")
    if streams > threads:
        raise ConfigError(
            f"streams is {streams}, and there are {threads} threads to share; give at most {threads}"
        )
    return ProfilePlan(
        config,
        _distinct(files),
        cells,
        arms,
        left_out,
        tuple(batches) or ((1,) if quick else BATCHES[kind]),
        threads,
        rounds or (QUICK_ROUNDS if quick else ROUNDS),
        quick,
        streams,
    )


def check_load(load: float, threads: int, allowed: bool) -> bool:
    """Whether the machine is too busy for times to mean anything; ProfileError where that is not allowed."""
    busy = load > LOAD_LIMIT * threads
    if busy and not allowed:
        raise ProfileError(
            f"load average is {load:.1f}, above {LOAD_LIMIT} x {threads} threads: something else is running; wait for "
            "it, or give --allow-load, whose rows are marked and never compared"
        )
    return busy


def _arms(config: RunConfig, named: bool) -> tuple[tuple[Arm, ...], dict[str, str]]:
    """The arms, the reference first; and of back ends that nobody named, those that are left out, and why.

    They do not run here, or opening them would take longer than all that is to be measured.
    """
    left_out: dict[str, str] = {}
    found = [reference_of(Arm(device=config.device))]
    check_backend(found[0].backend, found[0].precision, config.device)
    for text in config.backends if named else tuple(BACKENDS):
        for arm in read_arms(text, config.precision, config.device):
            try:
                check_backend(arm.backend, arm.precision, arm.device)
                if BACKENDS[arm.backend].slow and not named:
                    raise BackendError(
                        "opening it may take minutes for each network and batch size; name it in --backends"
                    )
                found.append(arm)
            except BackendError as error:
                if named:
                    raise
                left_out[f"{arm.backend} {arm.precision}"] = str(error)
    return tuple(dict.fromkeys(found)), left_out


def _cells(config: RunConfig, arms: Sequence[Arm]) -> tuple[Cell, ...]:
    """The methods' cells on these arms; floors, which call no network, are refused."""
    if not config.methods:
        return ()
    texts = tuple(f"{arm.backend}:{arm.precision}" for arm in arms)
    every = plan_cells(replace(config, backends=texts))
    cells = tuple(cell for cell in every if not cell.variant.floor)
    floors = {cell.variant.method for cell in every if cell.variant.floor}
    for text in config.methods:
        if text.partition(":")[0] in floors:
            raise ConfigError(f"{text} is a floor, which calls no network; there is nothing to profile")
    return cells


def _network(text: str, given: Mapping[str, str]) -> NetworkFile:
    """A network by its name, or by the file that holds it."""
    if text.endswith(".safetensors") or "/" in text:
        name = Path(text).stem
        found = find_network(name, {name: text})
    else:
        found = find_network(text, given)
    kind = str(found.card.get("kind", "unet"))
    if not NETWORKS[kind].denoises:
        raise ConfigError(f"{text[:200]} holds a {kind}, which is no denoiser; name a denoiser's checkpoint")
    return found


def _distinct(files: Sequence[NetworkFile]) -> tuple[NetworkFile, ...]:
    """Each network once; ConfigError where one name stands for two files."""
    found: dict[str, NetworkFile] = {}
    for file in files:
        known = found.setdefault(file.name, file)
        if known.card["sha256"] != file.card["sha256"]:
            raise ConfigError(
                f"{file.name} names two networks, {known.card['sha256'][:12]} and {file.card['sha256'][:12]}; rename "
                "one of the files"
            )
    return tuple(found.values())
