"""A plan with its weights read and its identity known: all that can be checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uadbench.bench.plan.plan import Plan
from uadbench.bench.plan.weights import perceptual_file
from uadbench.bench.run.directory import default_output
from uadbench.bench.run.record import make_manifest, of_shard
from uadbench.engine.networks.checkpoint import load_checkpoint
from uadbench.engine.perceptual.distance import OpenedPerceptual, open_perceptual

__all__ = ["Session", "open_session"]


@dataclass(frozen=True)
class Session:
    """A plan with its weights checked. manifest : for a new run directory."""

    plan: Plan
    perceptuals: dict[str, OpenedPerceptual]
    manifest: dict[str, Any]
    output: Path


def open_session(plan: Plan, output: Path | None, command: str) -> Session:
    """Read weights and give the run its identity. Raises CheckpointError, PerceptualError."""
    config = plan.config
    torch.set_num_threads(plan.threads)
    for network in plan.networks.values():
        load_checkpoint(network.path)
    perceptuals = {
        name: open_perceptual(name, perceptual_file(name, config.perceptual_weights), config.device)
        for name in config.perceptual
    }
    manifest = make_manifest(
        config,
        plan.dataset,
        plan.cases,
        [cell.slug for cell in plan.cells],
        plan.networks,
        perceptuals,
        plan.threads,
        command,
    )
    place = output or default_output(config, manifest["run_id"], plan.shard)
    return Session(plan, perceptuals, of_shard(manifest, plan), place)
