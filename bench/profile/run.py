"""A profile from beginning to end: measured group by group, kept whatever happens, written as one record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uadbench.bench.plan.weights import NetworkFile, perceptual_file
from uadbench.bench.profile.inputs import DATASET, Inputs, make_inputs, read_samples
from uadbench.bench.profile.measure import CALL, Group, Instruments, Key, measure_group
from uadbench.bench.profile.plan import ProfilePlan
from uadbench.bench.profile.record import SCHEMA, group_rows, machine_id
from uadbench.bench.profile.stability import RULE
from uadbench.bench.profile.streams import compare_streams
from uadbench.bench.profile.trace import trace_call
from uadbench.bench.run.directory import now
from uadbench.bench.run.evaluate import Bench, one_line
from uadbench.bench.run.machine import environment, git_state, uadbench_version
from uadbench.engine.networks.checkpoint import load_checkpoint
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.reports.places import short_command
from uadbench.reports.vocabulary import LOAD_LIMIT

__all__ = ["execute"]


def execute(
    plan: ProfilePlan,
    tools: Instruments,
    command: str,
    keep: Callable[[dict[str, Any]], None],
    traces: Path | None = None,
) -> dict[str, Any]:
    """Measure and return profile.json's content.

    keep : is given the record, at the end, or when something ends the profile before it ("finished" is then None)
    traces : folder for Chrome traces, None for none
    Raises what ``tools.stop`` raises, CheckpointError and PerceptualError.
    """
    torch.set_num_threads(plan.threads)
    tools = replace(tools, hint=plan.config.hint)
    for network in plan.networks:  # weights that do not fit their card, before anything is written
        load_checkpoint(network.path)
    dataset, samples = read_samples(plan.batches)
    bench = _bench(plan, dataset.lesion_sign, tools)
    groups: list[Group] = []
    record = _begin(plan, command)
    try:
        record["ceilings"] = _ceilings(plan, tools)
        for network in plan.networks:
            for batch in plan.batches:
                group = Group(network, batch, _cells(plan, network))
                groups.append(group)
                inputs = make_inputs(network, samples, plan.config.seed[0], batch)
                with measure_group(group, plan, inputs, bench, tools):
                    if traces is not None:
                        _trace(traces, group, inputs, bench, tools)
            if plan.streams > 1:
                record["streams"] += _streams(plan, network, samples, groups, tools)
        record["finished"] = now()
    finally:
        record["rows"] = [
            row for group in groups for row in group_rows(group, plan.threads, record["ceilings"])
        ]
        record["at_work"] = [
            {"network": group.network.name, "batch": group.batch, **group.at_work} for group in groups
        ]
        keep(record)
    return record


def _begin(plan: ProfilePlan, command: str) -> dict[str, Any]:
    found = environment(plan.threads)
    return {
        "schema": SCHEMA,
        "kind": "profile",
        "created": now(),
        "finished": None,
        "command": short_command(command),
        "version": uadbench_version(),
        "git": git_state(),
        "machine": machine_id(found),
        "environment": found,
        "threads": plan.threads,
        "device": plan.config.device,
        "seed": plan.config.seed[0],
        "rounds": plan.rounds,
        "method_rounds": plan.method_rounds,
        "quick": plan.quick,
        "hint": plan.config.hint,
        "load_limit": LOAD_LIMIT,
        "stability_rule": RULE,
        "data": DATASET,
        "left_out": dict(plan.left_out),
        "networks": {network.name: network.identity for network in plan.networks},
        "ceilings": {},
        "at_work": [],
        "streams": [],
        "rows": [],
    }


def _ceilings(plan: ProfilePlan, tools: Instruments) -> dict[str, Any]:
    """device -> its ceilings, for the precisions in use there."""
    wanted: dict[str, dict[str, None]] = {}
    for arm in plan.arms:
        wanted.setdefault(arm.device, {})[arm.precision] = None
    tools.progress("measuring what torch reaches on this device: matrix product, convolution, copy")
    return {
        device: tools.ceilings(device, tuple(precisions), plan.quick) for device, precisions in wanted.items()
    }


def _bench(plan: ProfilePlan, lesion_sign: int, tools: Instruments) -> Bench:
    """What methods need besides the network; the perceptual nets are opened for methods only."""
    config = plan.config
    names = config.perceptual if plan.cells else ()
    nets: Mapping[str, Any] = {
        name: open_perceptual(name, perceptual_file(name, config.perceptual_weights), config.device)
        for name in names
    }
    return Bench(config.eta, nets, lesion_sign, None, tools.stop)


def _cells(plan: ProfilePlan, network: NetworkFile) -> dict[Key, Any]:
    """(arm, variant's label) -> the cells that call this network."""
    return {
        (cell.arm, cell.variant.label): cell
        for cell in plan.cells
        if cell.networks["denoiser"].name == network.name
    }


def _trace(folder: Path, group: Group, inputs: Inputs, bench: Bench, tools: Instruments) -> None:
    for arm, label in group.keys:
        denoiser = group.opened[arm].denoiser
        if denoiser is None or (arm, label) in group.failed:
            continue
        tools.stop()
        what = [group.network.name, *([label] if label != CALL else []), arm.slug, f"batch{group.batch}"]
        name = re.sub(r"[^\w.-]+", "-", "-".join(what))
        cell = group.cells.get((arm, label))
        try:
            trace_call(folder / f"trace-{name}.json", denoiser, inputs, cell, bench, tools.clocks)
        except OSError:
            raise
        except Exception as error:  # a back end may raise anything; it costs no measurement
            tools.say(f"no trace of {name}: {one_line(error)}")


def _streams(
    plan: ProfilePlan, network: NetworkFile, samples: Any, groups: list[Group], tools: Instruments
) -> list[dict[str, Any]]:
    """One entry an arm that could be timed, at the smallest batch."""
    batch = min(plan.batches)
    group = next(g for g in groups if g.network is network and g.batch == batch)
    inputs = make_inputs(network, samples, plan.config.seed[0], batch)
    found = []
    for arm in plan.arms:
        tools.stop()
        if (arm, CALL) in group.failed:
            continue
        load = tools.load()
        tools.progress(f"{network.name}: one caller against {plan.streams} on {arm.label}")
        entry = compare_streams(arm, network, inputs, plan.threads, plan.streams, tools.open, tools.clocks)
        place = {"network": network.name, "backend": arm.backend, "precision": arm.precision}
        found.append(
            {
                **place,
                "device": arm.device,
                "batch": batch,
                "load": load,
                "under_load": load > LOAD_LIMIT * plan.threads,
                **entry,
            }
        )
    return found
