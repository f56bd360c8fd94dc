"""Settings that validation lesions decide, such as AutoDDPM's threshold: fitted once a variant, before anything else.

One arm, the first of the variant, does the fitting; all arms use what it found, so that they stay comparable. What was
found is kept in the run directory, so that a run that is taken up goes on with the same setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import spread
from uadbench.bench.run.evaluate import Bench, bind
from uadbench.bench.run.inputs import in_batches, load_case
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Dataset, Sample
from uadbench.engine.interfaces import Denoiser, Fitting
from uadbench.reports.store import RunDirectory

__all__ = ["FIT_LIMIT", "fit_cells"]

FIT_LIMIT = 48  # validation lesion cases that a setting is fitted on
FALLBACK = "the data set has no validation lesion to fit on"


def fit_cells(
    run: RunDirectory,
    cells: Sequence[Cell],
    dataset: Dataset,
    denoisers: Mapping[str, Denoiser],
    bench: Bench,
    batch_size: int,
    say: Callable[[str], None],
) -> tuple[Cell, ...]:
    """The cells, those whose method wants it with the fitted method and the record of the fit.

    Without a validation lesion that can be read they stay as they are, and the record says so.
    """
    kept = run.fitted
    samples: list[Sample] | None = None
    result = []
    for cell in cells:
        method = cell.method
        if not (isinstance(method, Fitting) and method.wants_fit()):
            result.append(cell)
            continue
        if cell.variant.slug not in kept:
            samples = _lesions(dataset) if samples is None else samples
            kept[cell.variant.slug] = _fit(cell, method, samples, denoisers[cell.slug], bench, batch_size)
            run.write_fitted(kept)
            say(f"{cell.variant.label}: {_words(kept[cell.variant.slug])}")
        result.append(_with(cell, kept[cell.variant.slug]))
    return tuple(result)


def _lesions(dataset: Dataset) -> list[Sample]:
    cases = spread([case for case in dataset.split("val") if case.lesion], FIT_LIMIT)
    found = [load_case(dataset, case) for case in cases]
    return [sample for sample in found if isinstance(sample, Sample) and sample.mask.any()]


def _fit(
    cell: Cell, method: Fitting, samples: list[Sample], denoiser: Denoiser, bench: Bench, batch_size: int
) -> dict[str, Any]:
    """What fitted.json holds of a variant: "settings" and "record", or "fallback" with the reason."""
    if not samples:
        return {"fallback": FALLBACK}
    parts = []
    with torch.inference_mode():
        for batch in in_batches(samples, batch_size):
            tools, x = bind(cell, denoiser, batch, bench, Stopwatch())
            parts.append(method.evidence(x, tools).cpu())
    lesions = torch.stack([torch.from_numpy(sample.mask) for sample in samples]).unsqueeze(1)
    fitted, record = method.fit(torch.cat(parts), lesions)
    settings = {name: value for name, value in vars(fitted).items() if value != vars(cell.method).get(name)}
    return {"settings": settings, "record": {**record, "n_cases": len(samples)}}


def _with(cell: Cell, kept: Mapping[str, Any]) -> Cell:
    if "settings" not in kept:
        return replace(cell, fitted=kept)
    method = replace(cell.method, **kept["settings"])  # type: ignore[type-var]
    return replace(cell, method=method, fitted=kept["record"])


def _words(kept: Mapping[str, Any]) -> str:
    if "record" not in kept:
        return str(kept["fallback"])
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in kept["record"].items())
    return f"fitted on validation lesions: {figures}"
