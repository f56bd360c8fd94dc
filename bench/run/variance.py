"""``variance = "exact"``: v, the second part of the reverse kernel's variance, measured before anything else.

Once for each network and kind of noise, on healthy validation slices, never on test cases. One arm does it, eager
torch in fp32 where the run has it, as with fits. What was found is kept in the run directory, so that a run that is
taken up goes on with it, and in each cell's record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from uadbench.bench.plan.config import RunConfig
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import spread
from uadbench.bench.run.evaluate import Bench, one_line
from uadbench.bench.run.inputs import in_batches, load_case
from uadbench.bench.run.timing import Stopwatch, TimedDenoiser
from uadbench.datasets.case import Dataset, Sample
from uadbench.engine.interfaces import Denoiser, to_signed
from uadbench.engine.rng import noise_source
from uadbench.engine.variance import squared_errors, variance_levels
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import REFERENCE
from uadbench.reports.store import RunDirectory

__all__ = ["VARIANCE_LIMIT", "measure_cells"]

VARIANCE_LIMIT = 24  # healthy validation slices
REMEDY = 'use variance = "fixed-small"'


def measure_cells(
    run: RunDirectory,
    cells: Sequence[Cell],
    dataset: Dataset,
    denoisers: Mapping[str, Denoiser],
    bench: Bench,
    config: RunConfig,
    say: Callable[[str], None],
) -> tuple[tuple[Cell, ...], list[Denoiser]]:
    """The cells, with their network's table where the run wants the exact variance; and the networks called for it.

    Raises RunError where no slice can be read, or the network gives no finite estimate: there is no other variance
    to fall back on without saying something else than was asked for.
    """
    if config.variance != "exact":
        return tuple(cells), []
    kept, used, samples = run.variances, list[Denoiser](), list[Sample]()
    for key, sharing in _by_network(cells).items():
        if key in kept:
            continue
        cell = next((cell for cell in sharing if cell.arm == REFERENCE), sharing[0])
        samples = samples or _healthy(run, dataset)
        highest = max(level for other in sharing for level in (*other.walk.levels, 1))
        denoiser = denoisers[cell.slug]
        kept[key] = _measure(run, key, cell, highest, samples, denoiser, bench, config.batch_size)
        run.write_variances(kept)
        used.append(denoiser)
        say(f"{key}: the exact variance was measured on {len(samples)} healthy validation slices")
    return tuple(replace(cell, x0_variance=kept.get(_key(cell), {})) for cell in cells), used


def _key(cell: Cell) -> str:
    """'unet-gaussian gaussian': seeds, steps and methods share it; "" for what walks no chain."""
    return f"{cell.networks['denoiser'].name} {cell.variant.noise}" if cell.walk.chain else ""


def _by_network(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.walk.chain:
            found.setdefault(_key(cell), []).append(cell)
    return found


def _healthy(run: RunDirectory, dataset: Dataset) -> list[Sample]:
    cases = spread([case for case in dataset.split("val") if not case.lesion], VARIANCE_LIMIT)
    found = [load_case(dataset, case) for case in cases]
    samples = [sample for sample in found if isinstance(sample, Sample)]
    if not samples:
        reason = next((text for text in found if isinstance(text, str)), "there is none")
        raise RunError(
            f"{run.path}: no healthy validation slice can be read to measure the exact variance on ({reason}); "
            f"{REMEDY}"
        )
    return samples


def _measure(
    run: RunDirectory,
    key: str,
    cell: Cell,
    highest: int,
    samples: list[Sample],
    denoiser: Denoiser,
    bench: Bench,
    batch_size: int,
) -> dict[str, Any]:
    """What variance.json holds of a network and kind of noise."""
    levels = variance_levels(cell.schedule, highest)
    timed = TimedDenoiser(denoiser, Stopwatch(keep=frozenset()), bench.stop)
    parts = []
    try:
        for batch in in_batches(samples, batch_size):
            images = np.stack([sample.image for sample in batch])
            # Of its own: what the cases' chains will draw plays no part, nor does the variant's seed.
            ids = [f"variance of {sample.case.case_id}" for sample in batch]
            noise = noise_source(cell.variant.noise, 0, ids, images.shape[1:], denoiser.device)
            x = to_signed(torch.from_numpy(images).unsqueeze(1)).to(denoiser.device)
            parts.append(squared_errors(timed, cell.schedule, x, noise, levels))
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(f"{run.path}: the variance of {key} cannot be measured ({one_line(error)})") from error
    errors, powers = (np.concatenate(part) for part in zip(*parts, strict=True))
    v = errors.mean(axis=0)
    if not np.isfinite(v).all():
        raise RunError(
            f"{run.path}: {key} gives estimates of healthy slices that hold NaN or infinity, so there is no exact "
            f"variance; {REMEDY}"
        )
    return {
        "levels": levels,
        "v": [_rounded(value) for value in v],
        "noise": _rounded(powers.mean()),
        "n": len(samples),
        "arm": cell.arm.label,
    }


def _rounded(value: float) -> float:
    """To six digits, beyond which it says nothing."""
    return float(f"{value:.6g}")
