"""What is predicted with: one cell, its weights, and what a finished run has decided for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uadbench.bench.plan.config import (
    ADDITIONS,
    PLACES,
    ConfigError,
    RunConfig,
    canonical,
    digest,
    unknown,
)
from uadbench.bench.plan.grid import Cell, plan_cells
from uadbench.bench.plan.plan import check_hint
from uadbench.bench.run.inputs import Healthy, kept_healthy
from uadbench.bench.score.cells import thresholds_of
from uadbench.datasets.preprocess import PREPROCESSING
from uadbench.engine.interfaces import Fitting
from uadbench.engine.methods import all_methods
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import REFERENCE, variant_of
from uadbench.reports.runs import Cell as RunCell
from uadbench.reports.runs import Run, load_run

__all__ = ["Called", "Setup", "asked", "called_of", "make_setup", "network_of", "one_cell"]

# Settings of a run on a data set with truth, which say nothing about a prediction.
FOREIGN = (
    *("dataset", "data_root", "limit", "val_limit", "cases", "subjects", "mask_rule"),
    *("shift", "shift_limit", "streams", "n_boot"),
)


@dataclass(frozen=True)
class Called:
    """What calls a pixel abnormal: the map exceeds ``threshold``, in a component of ``component_px`` pixels at least.

    threshold : on maps of 128 x 128; None where nothing fixed one, and then there is no mask
    rule : where it comes from, in words
    """

    threshold: float | None
    component_px: int = 1
    rule: str = ""


@dataclass(frozen=True)
class Setup:
    """A cell with all that is needed to predict and to write down how.

    healthy : what the run's healthy slices are like, where the method looks at that
    perceptual_sha256 : of the net that the run looked through, None without a run
    notes : for the user
    """

    config: RunConfig
    cell: Cell
    called: Called
    lesion_sign: int
    healthy: Healthy = field(default_factory=lambda: Healthy(None, {}))
    perceptual_sha256: str | None = None
    notes: tuple[str, ...] = ()


def one_cell(config: RunConfig, what: str) -> Cell:
    """The only cell of the only method; ConfigError where the settings name several variants."""
    if len(config.methods) != 1:
        raise ConfigError(f"{len(config.methods)} methods are given; {what} runs one")
    name = config.methods[0].partition(":")[0]
    cells = [cell for cell in plan_cells(config) if cell.variant.method == name]
    if len(cells) != 1:
        raise ConfigError(
            f"{config.methods[0]} with these settings are {len(cells)} variants; {what} runs one"
        )
    check_hint(config, [cells[0].arm])
    return cells[0]


def network_of(config: RunConfig) -> str:
    """The name of the network that the only method needs, for the file of ``--checkpoint``."""
    name, _, noise = ("" if len(config.methods) != 1 else config.methods[0]).partition(":")
    known = all_methods()
    if name not in known:
        raise unknown("method", name, known)
    own = known[name].noises
    networks = known[name].networks(noise or (config.noise if config.noise in own else own[0]))
    if len(networks) != 1:
        raise ConfigError(
            f"{name} needs {len(networks)} networks; give each by --set checkpoints.NETWORK=FILE"
        )
    return next(iter(networks.values()))


def make_setup(
    config: RunConfig, threshold: float | None = None, run: Path | None = None, lesion_sign: int | None = None
) -> Setup:
    """Check the settings and take from a finished run whatever its validation data decided for this variant.

    threshold : of the masks, which wins over the run's
    lesion_sign : +1 where lesions are bright, -1 where dark; None for the run's, or dark
    Raises ConfigError, CheckpointError, and RunError where the run was made otherwise.
    """
    usual = RunConfig()
    if foreign := [key for key in FOREIGN if getattr(config, key) != getattr(usual, key)]:
        raise ConfigError(f"{foreign[0]} is a setting of `bench run`; it says nothing about a prediction")
    setup = Setup(config, one_cell(config, "a prediction"), Called(None), lesion_sign or -1)
    setup = _from_run(setup, run, lesion_sign) if run else _alone(setup)
    if threshold is not None:
        pixels = config.component_px if setup.cell.variant.post != "none" else 1
        return replace(setup, called=Called(threshold, pixels, "given"))
    return setup


def _alone(setup: Setup) -> Setup:
    """Without a run: refuse what only a data set's healthy slices can tell, and say what falls back."""
    cell = setup.cell
    if cell.needs_median:
        raise ConfigError(
            f"{cell.variant.method} needs the median of a data set's healthy slices; give a run that has it by "
            "--threshold-from RUN"
        )
    if setup.config.variance == "exact":
        raise ConfigError(
            "the exact variance is measured on a data set's healthy slices; give a run that has it by "
            "--threshold-from RUN"
        )
    if isinstance(cell.method, Fitting) and cell.method.wants_fit():
        note = f"{cell.variant.label}: a setting that a run fits on validation lesions is at its fallback"
        return replace(setup, notes=(f"{note}; --threshold-from RUN takes a run's",))
    return setup


def called_of(cell: RunCell) -> Called:
    """Where a finished cell calls pixels: fitted on lesions for post-processed maps, else at the healthy threshold."""
    if point := cell.info.get("operating"):
        pixels = int(point["component_px"])
        if point.get("threshold") is None:
            return Called(None, pixels, f"none: {point.get('fallback', 'no threshold was fitted')}")
        return Called(float(point["threshold"]), pixels, "fitted on validation lesions")
    found = thresholds_of(cell.metrics or {}).image
    if found is None:
        return Called(None, 1, "none: the run has no healthy validation case, or is not finished")
    return Called(float(found), 1, "5 % of healthy validation pixels exceed it")


def _from_run(setup: Setup, path: Path, lesion_sign: int | None) -> Setup:
    run = load_run(path)
    theirs = _same_cell(run, setup.cell)
    _check_same(run, setup)
    cell, directory = setup.cell, run.directory
    kept = directory.fitted.get(cell.variant.slug) or {}
    if "settings" in kept:
        method = replace(cell.method, **kept["settings"])  # type: ignore[type-var]
        cell = replace(cell, method=method, fitted=kept.get("record", {}))
    cell = replace(
        cell, x0_variance=theirs.info.get("x0_variance") or {}, operating=theirs.info.get("operating") or {}
    )
    healthy = kept_healthy(directory) if cell.needs_median else Healthy(None, {})
    if cell.needs_median and healthy.median is None:
        raise RunError(f"{path}: holds no median of healthy slices, which {cell.variant.method} needs")
    called = called_of(theirs)
    sign = lesion_sign or int((run.manifest.get("dataset") or {}).get("lesion_sign", -1))
    notes = () if called.threshold is not None else (f"{path.name}: its threshold is {called.rule}",)
    net = ((run.manifest.get("perceptual") or {}).get(cell.variant.perceptual) or {}).get("sha256")
    found = replace(setup, cell=cell, called=called, lesion_sign=sign, healthy=healthy, notes=notes)
    return replace(found, perceptual_sha256=net)


def _same_cell(run: Run, cell: Cell) -> RunCell:
    """The run's cell of this variant, on this arm where it has it, else on the reference."""
    same = [theirs for theirs in run.cells if variant_of(theirs.info) == cell.variant]
    if not same:
        there = dict.fromkeys(variant_of(theirs.info).label for theirs in run.cells)
        raise RunError(f"{run.path}: has no {cell.variant.label}; it has {', '.join(there)}")
    for slug in (cell.slug, f"{cell.variant.slug}-{REFERENCE.slug}"):
        for theirs in same:
            if theirs.slug == slug:
                return theirs
    return same[0]


def _check_same(run: Run, setup: Setup) -> None:
    """RunError where the run's maps are made otherwise, so that its threshold says nothing about ours."""
    config, theirs = run.manifest.get("config") or {}, canonical(setup.config)
    for key, value in (("eta", 1.0), ("variance", "fixed-small")):
        if config.get(key, value) != theirs.get(key, value):
            raise RunError(f"{run.path}: was made with {key} = {config.get(key, value)}; give the same")
    weights = run.manifest.get("checkpoints") or {}
    for name, network in setup.cell.networks.items():
        recorded = weights.get(network.name) or {}
        if recorded.get("sha256") != network.card.get("sha256"):
            raise RunError(
                f"{run.path}: was made with other weights of {network.name} ({name}) than are given"
            )
    theirs = (run.manifest.get("dataset") or {}).get("preprocessing") or {}
    ours = PREPROCESSING.record()
    other = [key for key in ours if key != "mask_rule" and theirs.get(key) != ours[key]]
    if theirs.get("scaled", "slice") != "slice":
        other.append("scaled")  # by volume; a prediction scales each slice by itself
    if other:
        raise RunError(f"{run.path}: its slices are pre-processed otherwise ({', '.join(other)})")


def asked(setup: Setup, perceptual: str | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides what comes out for a file, as plain values; two predictions that agree in it agree.

    perceptual : sha256 of the perceptual net's weights, None where the method uses none; more : further settings
    """
    cell, config = setup.cell, canonical(setup.config)
    planes = (setup.healthy.median, setup.healthy.mean, setup.healthy.spread)
    healthy = [plane.tolist() for plane in planes if plane is not None]
    return {
        **{key: value for key, value in config.items() if key not in (*PLACES, *ADDITIONS, *FOREIGN)},
        "cell": cell.slug,
        "fields": dataclasses.asdict(cell.method),  # type: ignore[call-overload]
        "weights": {name: network.identity for name, network in cell.networks.items()},
        "perceptual_sha256": perceptual,
        "x0_variance": dict(cell.x0_variance),
        "healthy_sha256": digest(healthy) if healthy else None,
        "preprocessing": PREPROCESSING.record(),
        "threshold": setup.called.threshold,
        "component_px": setup.called.component_px,
        "lesion_sign": setup.lesion_sign,
        **more,
    }
