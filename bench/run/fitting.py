"""Settings that validation lesions decide, such as AutoDDPM's threshold: fitted once a variant, before anything else.

One arm does the fitting, eager torch in fp32 where the run has it, else the variant's first; all arms use what it
found, so that they stay comparable. What was found is kept in the run directory, so that a run that is taken up goes
on with the same setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import spread
from uadbench.bench.run.evaluate import Bench, bind, one_line
from uadbench.bench.run.inputs import in_batches, load_case
from uadbench.bench.run.timing import Stopwatch
from uadbench.datasets.case import Dataset, Sample
from uadbench.engine.interfaces import Denoiser, Fitting
from uadbench.reports.caveats import figures
from uadbench.reports.identity import REFERENCE
from uadbench.reports.store import RunDirectory

__all__ = ["FIT_LIMIT", "by_variant", "fit_cells", "fitter", "lesions_to_fit"]

FIT_LIMIT = 48  # validation lesion cases that a setting is fitted on
FALLBACK = "the data set has no validation lesion mask to fit on"


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

    Without a validation lesion they stay as they are, and the record says so. Where there are some but the fit fails,
    or none can be read, the fallback serves too, but is not kept: it is tried again the next time.
    """
    kept = run.fitted
    samples: list[Sample] | None = None
    for variant, arms in by_variant(cell for cell in cells if _is_open(cell)).items():
        if variant in kept:
            continue
        cell = fitter(arms)
        try:
            samples = lesions_to_fit(dataset) if samples is None else samples
            kept[variant] = _fit(cell, samples, denoisers[cell.slug], bench, batch_size)
            run.write_fitted(kept)
        except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:  # its cases will say the same
            kept[variant] = {"fallback": f"the fit failed: {one_line(error)}"}
        say(f"{cell.variant.label}: {_words(kept[variant])}")
    return tuple(_with(cell, kept[cell.variant.slug]) if _is_open(cell) else cell for cell in cells)


def _is_open(cell: Cell) -> bool:
    return isinstance(cell.method, Fitting) and cell.method.wants_fit()


def by_variant(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Variants by name, each with its cells."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.variant.slug, []).append(cell)
    return found


def fitter(arms: Sequence[Cell]) -> Cell:
    """Which of a variant's cells does what is done once for all of them."""
    return next((cell for cell in arms if cell.arm == REFERENCE), arms[0])


def lesions_to_fit(dataset: Dataset) -> list[Sample]:
    """Validation lesion cases, [] where the data set has none; ValueError where none of those it has can be read.

    Boxes are no lesion pixels: where the truth is boxes there is nothing to fit on.
    """
    if dataset.truth != "mask":
        return []
    cases = spread([case for case in dataset.split("val") if case.lesion], FIT_LIMIT)
    found = [load_case(dataset, case) for case in cases]
    samples = [sample for sample in found if isinstance(sample, Sample) and sample.mask.any()]
    if cases and not samples:
        reason = next((text for text in found if isinstance(text, str)), "their masks are empty")
        raise ValueError(f"none of the {len(cases)} validation lesion cases can be used to fit on: {reason}")
    return samples


def _fit(
    cell: Cell, samples: list[Sample], denoiser: Denoiser, bench: Bench, batch_size: int
) -> dict[str, Any]:
    """What fitted.json holds of a variant: "settings" and "record", or "fallback" with the reason."""
    if not samples:
        return {"fallback": FALLBACK}
    method: Any = cell.method
    parts = []
    with torch.inference_mode():
        for batch in in_batches(samples, batch_size):
            tools, x = bind(cell, denoiser, batch, bench, Stopwatch())
            parts.append(method.evidence(x, tools).cpu())
    lesions = torch.stack([torch.from_numpy(sample.mask) for sample in samples]).unsqueeze(1)
    evidence = torch.cat(parts)
    if not bool(evidence.isfinite().all()):
        raise ValueError("maps of validation lesions hold NaN or infinity")
    fitted, record = method.fit(evidence, lesions)
    settings = {name: value for name, value in vars(fitted).items() if value != vars(cell.method).get(name)}
    return {"settings": settings, "record": {**record, "n_cases": len(samples), "arm": cell.arm.label}}


def _with(cell: Cell, kept: Mapping[str, Any]) -> Cell:
    if "settings" not in kept:
        return replace(cell, fitted={"fallback": kept["fallback"]})
    method = replace(cell.method, **kept["settings"])  # type: ignore[type-var]
    return replace(cell, method=method, fitted=kept["record"])


def _words(kept: Mapping[str, Any]) -> str:
    if "record" not in kept:
        return str(kept["fallback"])
    return f"fitted on validation lesions: {figures(kept['record'])}"
