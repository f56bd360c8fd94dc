"""The manifest of a new run: settings, data, weights, machine, code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uadbench.bench.plan.config import RunConfig, canonical, config_hash, digest
from uadbench.bench.plan.plan import Plan
from uadbench.bench.plan.weights import NetworkFile
from uadbench.bench.run.directory import now, run_id
from uadbench.bench.run.machine import environment, git_state, uadbench_version
from uadbench.datasets.case import Case, Dataset
from uadbench.engine.perceptual.distance import OpenedPerceptual

__all__ = ["make_manifest", "of_shard", "whole_id"]


def make_manifest(
    config: RunConfig,
    dataset: Dataset,
    cases: tuple[Case, ...],
    cells: list[str],
    networks: Mapping[str, NetworkFile],
    perceptuals: Mapping[str, OpenedPerceptual],
    threads: int,
    command: str,
) -> dict[str, Any]:
    """manifest.json, with the run's identity as "run_id"."""
    weights: dict[str, Any] = {name: network.identity for name, network in networks.items()}
    weights |= {name: net.sha256 for name, net in perceptuals.items()}
    return {
        "run_id": run_id(config_hash(config), dataset.fingerprint, dataset.preprocessing, weights),
        "config": canonical(config),
        "config_hash": config_hash(config),
        "created": now(),
        "finished": None,
        "version": uadbench_version(),
        "git": git_state(),
        "environment": environment(threads),
        "dataset": {**_dataset(dataset, cases), **({"split": "val"} if config.split == "val" else {})},
        "seed": config.seed[0],
        "checkpoints": {
            name: {"sha256": network.card["sha256"], "card": dict(network.card)}
            for name, network in networks.items()
        },
        "perceptual": {name: {"sha256": net.sha256} for name, net in perceptuals.items()},
        "command": command,
        "cells": cells,
        "sessions": [],
    }


def whole_id(manifest: Mapping[str, Any]) -> str:
    """The identity of the run, also in a shard's manifest."""
    return str((manifest.get("shard") or {}).get("whole", manifest["run_id"]))


def of_shard(manifest: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The manifest of the plan's shard, from the whole run's: an identity of its own, and which cases are its."""
    if plan.shard is None:
        return dict(manifest)
    places = {case.case_id: place for place, case in enumerate(plan.cases)}
    shard = {
        "label": plan.shard.label,
        "index": plan.shard.index,
        "count": plan.shard.count,
        "whole": manifest["run_id"],
        "n_cases": len(plan.cases),
        "places": {case.case_id: places[case.case_id] for case in plan.mine},
    }
    identity = digest({"whole": manifest["run_id"], "shard": plan.shard.label})
    return {**manifest, "run_id": identity, "shard": shard}


def _dataset(dataset: Dataset, cases: tuple[Case, ...]) -> dict[str, Any]:
    test = dataset.split("test")
    return {
        "name": dataset.name,
        "title": dataset.title,
        "origin": dataset.origin,
        "modality": dataset.modality,
        "lesion_sign": dataset.lesion_sign,
        "caveats": list(dataset.caveats),
        "licence": dataset.licence,
        "citation": dataset.citation,
        "preprocessing": dict(dataset.preprocessing),
        "fingerprint": dataset.fingerprint,
        "n_test": len(test),
        "n_test_all": dataset.n_test or len(test),
        "n_test_lesion": sum(case.lesion for case in test),
        "n_test_healthy": sum(not case.lesion for case in test),
        "n_val": len(cases) - len(test),
    }
