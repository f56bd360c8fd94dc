"""The threshold of post-processed maps, from validation lesions: once a variant, after its method's own fit.

Test cases never touch it. It is kept in ``fitted.json`` beside the method's own fit, and in each cell's record, from
which the scores take it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.bench.run.evaluate import Bench, one_line, run_batch
from uadbench.bench.run.fitting import by_variant, fit_cells, fitter, lesions_to_fit
from uadbench.bench.run.inputs import in_batches
from uadbench.bench.score.cases import size_group
from uadbench.bench.score.operating import choose_threshold
from uadbench.datasets.case import TOO_SMALL, Dataset, Sample
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.store import RunDirectory

__all__ = ["NO_LESION", "decide", "find_thresholds"]

NO_LESION = f"the data set has no validation lesion of more than {TOO_SMALL} px to choose a threshold on"
PART = "operating"  # of a variant's entry in fitted.json


def decide(
    run: RunDirectory,
    cells: Sequence[Cell],
    plan: Plan,
    denoisers: Mapping[str, Denoiser],
    bench: Bench,
    say: Callable[[str], None],
) -> tuple[Cell, ...]:
    """The cells with all that validation lesions decide: the methods' own settings first, then thresholds."""
    config = plan.config
    shared = (plan.dataset, denoisers, bench, config.batch_size)
    fitted = fit_cells(run, cells, *shared, say)
    return find_thresholds(run, fitted, *shared, config.component_px, say)


def find_thresholds(
    run: RunDirectory,
    cells: Sequence[Cell],
    dataset: Dataset,
    denoisers: Mapping[str, Denoiser],
    bench: Bench,
    batch_size: int,
    component_px: int,
    say: Callable[[str], None],
) -> tuple[Cell, ...]:
    """The cells, those with post-processing with their operating point: {"threshold", "component_px", ...}.

    cells : with their methods fitted already, as ``fit_cells`` gives them
    Without a validation lesion it is {"fallback": why, "component_px"}. Where there are some but all fail, likewise,
    but that is not kept, so that it is tried again the next time; nor is a threshold for a method whose own fit failed.
    """
    kept = run.fitted
    samples: list[Sample] | None = None
    found: dict[str, Mapping[str, Any]] = {}
    for slug, arms in by_variant(cell for cell in cells if cell.variant.post != "none").items():
        entry = kept.get(slug, {})
        if PART not in entry:
            cell = fitter(arms)
            try:
                samples = _scored_lesions(dataset) if samples is None else samples
                chosen = _choose(cell, samples, denoisers[cell.slug], bench, batch_size, component_px)
                entry = {**entry, PART: chosen}
                if slug in kept or not cell.fitted:
                    kept[slug] = entry
                    run.write_fitted(kept)
            except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
                entry = {PART: {"fallback": f"no threshold was found: {one_line(error)}"}}
            say(f"{cell.variant.label}: {_words(entry[PART])}")
        found[slug] = {**entry[PART], "component_px": component_px}
    return tuple(replace(cell, operating=found.get(cell.variant.slug, {})) for cell in cells)


def _scored_lesions(dataset: Dataset) -> list[Sample]:
    """Validation lesions that would be scored if they were test cases."""
    return [sample for sample in lesions_to_fit(dataset) if size_group(sample.mask) is not None]


def _choose(
    cell: Cell,
    samples: Sequence[Sample],
    denoiser: Denoiser,
    bench: Bench,
    batch_size: int,
    component_px: int,
) -> dict[str, Any]:
    """The record of the choice; ValueError where not a single case gives a map."""
    if not samples:
        return {"fallback": NO_LESION}
    outcomes = [
        outcome
        for batch in in_batches(samples, batch_size)
        for outcome in run_batch(cell, denoiser, batch, bench)
    ]
    done = [(one.anomaly, one.sample.mask) for one in outcomes if one.anomaly is not None]
    if not done:
        raise ValueError(f"none of {len(samples)} validation lesions gave a map: {outcomes[0].reason}")
    maps, masks = zip(*done, strict=True)
    threshold, dice = choose_threshold(maps, masks, component_px)
    return {"threshold": threshold, "dice": dice, "n_cases": len(done), "arm": cell.arm.label}


def _words(entry: Mapping[str, Any]) -> str:
    if "fallback" in entry:
        return str(entry["fallback"])
    chosen = f"threshold {entry['threshold']:.3g} from {entry['n_cases']} validation lesions"
    return f"{chosen}, Dice {entry['dice']:.3g} there"
