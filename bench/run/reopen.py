"""What a finished run was made with, opened again: its networks by cell, and its perceptual nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch

from uadbench.bench.compare.judge import N_CASES
from uadbench.bench.plan.config import RunConfig, digest
from uadbench.bench.plan.weights import NetworkFile, find_network, perceptual_file
from uadbench.bench.run.networks import open_denoiser
from uadbench.engine.interfaces import Denoiser
from uadbench.engine.perceptual.distance import OpenedPerceptual, open_perceptual
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import arm_of
from uadbench.reports.runs import Cell, Run

__all__ = ["network_opener", "reopen_perceptuals"]


def reopen_perceptuals(run: Run) -> dict[str, OpenedPerceptual]:
    """The run's perceptual nets by name; RunError where the weights here are others than its record says."""
    config = run.manifest.get("config") or {}
    opened = {}
    for name, entry in (run.manifest.get("perceptual") or {}).items():
        file = perceptual_file(name, config.get("perceptual_weights"))
        net = open_perceptual(name, file, config.get("device", "cpu"))
        if net.sha256 != entry["sha256"]:
            raise RunError(f"{run.path}: was made with other weights of {name} than are here")
        opened[name] = net
    return opened


def network_opener(
    run: Run, given: Mapping[str, str], threads: int | None, stack: ExitStack, say: Callable[[str], None]
) -> Callable[[Cell], Denoiser]:
    """cell -> its denoiser, closed with the stack; cells with the same network and arm share one.

    given : network name -> file, where it lies elsewhere than the run found it
    threads : those of the run where None
    say : is told before work of minutes
    Raises RunError when a network is not the run's.
    """
    count = threads or run.manifest.get("environment", {}).get("threads") or torch.get_num_threads()
    torch.set_num_threads(count)
    batch = int(run.manifest["config"].get("batch_size", N_CASES))  # what is compiled for a size is what ran
    hint = run.manifest["config"].get("hint", RunConfig().hint)
    places = {**run.manifest["config"].get("checkpoints", {}), **given}
    files: dict[str, NetworkFile] = {}
    opened: dict[tuple[str, str], Denoiser] = {}

    def find(name: str) -> NetworkFile:
        if name not in files:
            found = find_network(name, places)
            recorded = run.manifest["checkpoints"][name]
            wanted = {**(recorded.get("card") or found.card), "sha256": recorded["sha256"]}
            if digest(found.identity) != digest(
                NetworkFile(name, found.path, wanted, found.schedule).identity
            ):
                raise RunError(
                    f"{found.path} is not the network of this run ({found.card['sha256'][:12]}, not "
                    f"{wanted['sha256'][:12]}, or its card differs); give it with --checkpoint {name}=FILE"
                )
            files[name] = found
        return files[name]

    def open_cell(cell: Cell) -> Denoiser:
        name, arm = cell.info["networks"]["denoiser"], arm_of(cell.info)
        key = (name, arm.slug)
        if key not in opened:
            opened[key] = open_denoiser(arm, find(name).path, count, batch, say=say, hint=hint)
            stack.callback(opened[key].close)
        return opened[key]

    return open_cell
