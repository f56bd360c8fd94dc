"""Parity of a run's cells: each back end and precision against torch fp32, judged before any speed-up is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from uadbench.bench.plan.grid import SCHEDULE
from uadbench.engine.interfaces import Denoiser, Perceptual, to_signed
from uadbench.engine.methods import build_method
from uadbench.engine.rng import noise_source
from uadbench.engine.tools import make_tools
from uadbench.exporters.parity import (
    MARGINS,
    Chain,
    compare_chains,
    network_parity,
    record_chain,
    score_parity,
    verdict,
)
from uadbench.reports.store import Cell, Run, RunError, read_input

__all__ = ["N_CASES", "REFERENCE", "judge_run", "needs_parity"]

REFERENCE = ("torch", "fp32")
N_CASES = 2
SAME = ("method", "noise", "steps", "t_start", "hyperparameters")


def needs_parity(run: Run) -> bool:
    """Whether any cell ran on something else than the reference."""
    return any(_arm(cell) != REFERENCE for cell in _methods(run))


def judge_run(
    run: Run,
    denoiser_for: Callable[[Cell], Denoiser],
    perceptual: Perceptual,
    n_cases: int = N_CASES,
    before_call: Callable[[str], None] = lambda what: None,
) -> dict[str, dict[str, Any]]:
    """parity.json of a run: slug -> {"verdict", "reason", "network", "trajectory", "scores"}; floors are left out.

    denoiser_for : cell -> its denoiser, opened; called once a cell, for the reference's cells too
    perceptual : the one that the run was made with
    n_cases : cases on which network and chain are compared; the scores compare all
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
    ids, images = _images(run, n_cases)
    networks: dict[tuple[str, ...], dict[str, Any]] = {}
    chains: dict[str, Chain] = {}
    for cell in compared:
        reference = references[cell.slug]
        assert reference is not None
        before_call(cell.slug)
        walk = _walk(run, cell, ids, images, perceptual)
        wanted, found = denoiser_for(reference), denoiser_for(cell)
        arm = (cell.info["noise"], *_arm(cell))
        if arm not in networks:
            networks[arm] = network_parity(wanted, found, images, schedule=SCHEDULE, noise=cell.info["noise"])
        if reference.slug not in chains:
            chains[reference.slug] = record_chain(wanted, walk)
        precision = cell.info["precision"]
        trajectory = compare_chains(chains[reference.slug], record_chain(found, walk), precision)
        scores = score_parity(reference.metrics or {}, cell.metrics or {}, MARGINS[precision])
        judged, reason = verdict(networks[arm], trajectory, scores)
        result[cell.slug] = {
            "verdict": judged,
            "reason": reason,
            "reference": reference.slug,
            "network": _plain(networks[arm]),
            "trajectory": _plain(trajectory),
            "scores": _plain(scores),
        }
    return {cell.slug: result[cell.slug] for cell in cells}


def _without_computing(cell: Cell, reference: Cell | None) -> tuple[str | None, str]:
    """(verdict, reason) where they follow from what cells there are; (None, "") where it takes a comparison."""
    if _arm(cell) == REFERENCE:
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


def _methods(run: Run) -> list[Cell]:
    return [cell for cell in run.cells if cell.info.get("kind") == "method"]


def _arm(cell: Cell) -> tuple[str, str]:
    return cell.info["backend"], cell.info["precision"]


def _reference(run: Run, cell: Cell) -> Cell | None:
    """The torch fp32 cell of the same method with the same settings."""
    for other in run.cells:
        if _arm(other) == REFERENCE and all(other.info.get(key) == cell.info.get(key) for key in SAME):
            return other
    return None


def _images(run: Run, n_cases: int) -> tuple[list[str], Tensor]:
    """Ids and images [B, 1, H, W] in [-1, 1] of the first test cases that every method's cell finished.

    Cells that finished none are passed over. Lesions and healthy cases take turns, so that both are looked at.
    """
    shared = set.intersection(*(found for cell in _methods(run) if (found := _finished(cell))))
    cases = [case for case in _methods(run)[0].cases if case["case_id"] in shared]
    lesions = [case["case_id"] for case in cases if case["lesion"]]
    healthy = [case["case_id"] for case in cases if not case["lesion"]]
    turns = [case for k in range(len(cases)) for group in (lesions, healthy) for case in group[k : k + 1]]
    ids = turns[:n_cases]
    if not ids:
        raise RunError(f"{run.path}: no test case was finished by every cell, so there is nothing to compare")
    images = torch.stack([torch.from_numpy(read_input(run.path, case_id)[0]) for case_id in ids])
    return ids, to_signed(images.unsqueeze(1))


def _walk(
    run: Run, cell: Cell, ids: list[str], images: Tensor, perceptual: Perceptual
) -> Callable[[Denoiser], Tensor]:
    """The cell's method on these cases, as a function of the denoiser alone; each case has its noise of the run."""
    settings: Mapping[str, Any] = cell.info["hyperparameters"]
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    noise_kind = cell.info["noise"]
    method = build_method(cell.info["method"], noise_kind, None, fields)
    seed, eta = int(run.manifest["seed"]), float(run.manifest["config"].get("eta", 1.0))
    shape = (images.shape[2], images.shape[3])

    def walk(denoiser: Denoiser) -> Tensor:
        noise = noise_source(noise_kind, seed, ids, shape, denoiser.device)
        tools = make_tools(denoiser, SCHEDULE, noise, perceptual, eta)
        with torch.inference_mode():
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
