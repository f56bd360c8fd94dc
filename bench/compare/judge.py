"""Parity of a run's cells: each back end and precision against torch fp32, judged before any speed-up is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from uadbench.bench.run.inputs import kept_healthy
from uadbench.engine.backends import BackendError
from uadbench.engine.backends.tf32 import in_tf32
from uadbench.engine.interfaces import Denoiser, Perceptual, to_signed
from uadbench.engine.methods import build_method
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import CheckpointError, schedule_of
from uadbench.engine.rng import noise_source
from uadbench.engine.tools import make_tools
from uadbench.engine.variance import interpolated
from uadbench.exporters.gates import gates_of
from uadbench.exporters.levels import levels_read
from uadbench.exporters.parity import (
    Chain,
    compare_chains,
    network_parity,
    record_chain,
    score_parity,
    verdict,
)
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import Arm, arm_of, reference_of, variant_of
from uadbench.reports.runs import Cell, Run

__all__ = ["N_CASES", "judge_run", "needs_parity"]

N_CASES = 2


def needs_parity(run: Run) -> bool:
    """Whether any cell ran on something else than the reference."""
    return any(_arm(cell) != reference_of(_arm(cell)) for cell in _methods(run))


def judge_run(
    run: Run,
    denoiser_for: Callable[[Cell], Denoiser],
    perceptuals: Mapping[str, Perceptual],
    n_cases: int = N_CASES,
    before_call: Callable[[str], None] = lambda what: None,
) -> dict[str, dict[str, Any]]:
    """parity.json of a run: slug -> {"verdict", "reason", "network", "trajectory", "scores"}; floors are left out.

    denoiser_for : cell -> its denoiser, opened; called once a cell, for the reference's cells too
    perceptuals : those that the run was made with, by name; the first where a method uses none
    n_cases : cases on which network and chain are compared, at most the run's batch size; the scores compare all
    before_call : told what comes next; may raise to stop

    Network and chain are computed afresh, with the noise of the run; scores are those in the run directory.
    "verdict" is "pass", "fail", "reference", or "not judged" where there is nothing to hold a cell against. A cell
    that finished no test case fails.
    Raises RunError when the run is not finished.
    """
    cells = _methods(run)
    references = {cell.slug: _reference(run, cell) for cell in cells}
    if unfinished := [cell.slug for cell in cells if cell.metrics is None]:
        raise RunError(f"{run.path}: cell {unfinished[0]} has no scores yet; finish the run first")
    result: dict[str, dict[str, Any]] = {}
    compared: list[Cell] = []
    for cell in cells:
        judged, reason = _without_computing(cell, references[cell.slug])
        if judged is None:
            compared.append(cell)
        else:
            result[cell.slug] = {"verdict": judged, "reason": reason}
    if not compared:
        return result
    # No more at once than the run had: back ends of a fixed batch size were opened for that.
    at_once = int(run.manifest["config"].get("batch_size", n_cases))
    ids, images = _images(run, min(n_cases, at_once))
    comparison = _Comparison(run, ids, images, perceptuals)
    for cell in compared:
        reference = references[cell.slug]
        assert reference is not None
        before_call(cell.slug)
        opened = denoiser_for(reference), denoiser_for(cell)
        try:
            result[cell.slug] = comparison.judge(cell, reference, *opened)
        except (RunError, BackendError, CheckpointError):
            raise
        except Exception as error:  # a method of others may raise anything; the run's results stand
            lines = str(error).strip().splitlines() or ["-"]
            reason = f"comparing it raised {type(error).__name__}: {lines[0]}"
            result[cell.slug] = {"verdict": "fail", "reason": reason}
    return {cell.slug: result[cell.slug] for cell in cells}


@dataclass
class _Comparison:
    """Networks and chains on the same few cases; what cells share is computed once."""

    run: Run
    ids: list[str]
    images: Tensor
    perceptuals: Mapping[str, Perceptual]
    networks: dict[tuple[str, str, tuple[int, ...]], dict[str, Any]] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)

    def judge(self, cell: Cell, reference: Cell, wanted: Denoiser, found: Denoiser) -> dict[str, Any]:
        """The entry of parity.json for a cell; wanted, found : the denoisers of the reference and of the cell."""
        walk = _walk(self.run, cell, self.ids, self.images, self.perceptuals)
        if reference.slug not in self.chains:
            self.chains[reference.slug] = record_chain(wanted, walk)
        card, noise = _card(self.run, cell), cell.info["noise"]
        # of a network without noise, the strengths that this very method tells it
        asked = self.chains[reference.slug].levels if noise == "none" else levels_read(card)
        levels = tuple(sorted(set(asked)))
        key = (_network(cell), _arm(cell).slug, levels)
        if key not in self.networks:
            self.networks[key] = network_parity(
                wanted,
                found,
                self.images,
                levels=levels,
                schedule=schedule_of(card),
                noise=noise,
                conditioned=NETWORKS[card.get("kind", "unet")].conditioned,
            )
        precision = _arm(cell).precision
        trajectory = compare_chains(self.chains[reference.slug], record_chain(found, walk), precision)
        scores = score_parity(_metrics(reference), _metrics(cell), gates_of(precision).scores)
        judged, reason = verdict(self.networks[key], trajectory, scores)
        return {
            "verdict": judged,
            "reason": reason,
            "reference": reference.slug,
            "network": _plain(self.networks[key]),
            "trajectory": _plain(trajectory),
            "scores": _plain(scores),
        }


def _without_computing(cell: Cell, reference: Cell | None) -> tuple[str | None, str]:
    """(verdict, reason) where they follow from what cells there are; (None, "") where it takes a comparison."""
    if _arm(cell) == reference_of(_arm(cell)):
        return "reference", "torch fp32 is what the others are held against"
    if reference is None:
        return "not judged", "this run has no torch fp32 cell of the method to hold it against"
    if not _finished(reference):
        return "not judged", "the torch fp32 cell of the method finished no test case"
    if not _finished(cell):
        return "fail", "it finished no test case"
    return None, ""


def _finished(cell: Cell) -> set[str]:
    """Ids of the test cases that have a result."""
    return {case["case_id"] for case in cell.cases if case["status"] == "ok" and case["split"] == "test"}


def _metrics(cell: Cell) -> dict[str, Any]:
    return {**(cell.metrics or {}), "per_case": cell.scores}


def _methods(run: Run) -> list[Cell]:
    return [cell for cell in run.cells if cell.info.get("kind") == "method"]


def _arm(cell: Cell) -> Arm:
    return arm_of(cell.info)


def _reference(run: Run, cell: Cell) -> Cell | None:
    """The torch fp32 cell of the same method with the same settings."""
    for other in run.cells:
        if _arm(other) == reference_of(_arm(cell)) and variant_of(other.info) == variant_of(cell.info):
            return other
    return None


def _images(run: Run, n_cases: int) -> tuple[list[str], Tensor]:
    """Ids and images [B, 1, H, W] in [-1, 1] of the first test cases that every method's cell finished.

    Cells that finished none are passed over. Lesions and healthy cases take turns, so that both are looked at.
    """
    shared = reduce(set.intersection, (found for cell in _methods(run) if (found := _finished(cell))))
    cases = [case for case in _methods(run)[0].cases if case["case_id"] in shared]
    lesions = [case["case_id"] for case in cases if case["lesion"]]
    healthy = [case["case_id"] for case in cases if not case["lesion"]]
    turns = [case for k in range(len(cases)) for group in (lesions, healthy) for case in group[k : k + 1]]
    ids = turns[:n_cases]
    if not ids:
        raise RunError(f"{run.path}: no test case was finished by every cell, so there is nothing to compare")
    images = torch.stack([torch.from_numpy(run.directory.read_input(case_id)[0]) for case_id in ids])
    return ids, to_signed(images.unsqueeze(1))


def _network(cell: Cell) -> str:
    return str((cell.info.get("networks") or {}).get("denoiser") or cell.info["noise"])


def _card(run: Run, cell: Cell) -> Mapping[str, Any]:
    """The card of the cell's denoiser, from the run's record."""
    found = (run.manifest.get("checkpoints") or {}).get(_network(cell)) or {}
    return found.get("card") or {}


def _walk(
    run: Run, cell: Cell, ids: list[str], images: Tensor, perceptuals: Mapping[str, Perceptual]
) -> Callable[[Denoiser], Tensor]:
    """The cell's method on these cases, as a function of the denoiser alone; each case has its noise of the run."""
    settings: Mapping[str, Any] = cell.info["hyperparameters"]
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    variant, schedule = variant_of(cell.info), schedule_of(_card(run, cell))
    method = build_method(variant.method, variant.noise, None, fields)
    perceptual = perceptuals[variant.perceptual] if variant.perceptual else next(iter(perceptuals.values()))
    eta = float(run.manifest["config"].get("eta", 1.0))
    table = cell.info.get("x0_variance")
    v = interpolated(schedule, table) if table else None
    shape = (images.shape[2], images.shape[3])
    sign = int((run.manifest.get("dataset") or {}).get("lesion_sign") or -1)
    healthy = kept_healthy(run.directory)

    def walk(denoiser: Denoiser) -> Tensor:
        noise = noise_source(variant.noise, variant.seed, ids, shape, denoiser.device)
        tools = make_tools(
            denoiser,
            schedule,
            noise,
            perceptual,
            eta,
            sign,
            healthy.median,
            v,
            healthy.mean,
            healthy.spread,
        )
        with torch.inference_mode(), in_tf32(denoiser.device, False):
            return method(images.to(denoiser.device), tools).reconstruction

    return walk


def _plain(value: Any) -> Any:
    """JSON values: numbers to four digits, what is not finite as null."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
