"""Scores of whole volumes: means over volumes with lesion, with the bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from uadbench.bench.score.lesions import NEEDS_MONAI, Objects, surfaces_known
from uadbench.bench.score.pooled import THRESHOLDS
from uadbench.bench.score.sample import Sample, Score
from uadbench.bench.score.volumes import Volume, Volumes

__all__ = ["VOLUME_SCORERS", "volume_tables"]

UNKNOWN_SPACING = "no surface distances: the spacing of these volumes is not recorded"


def _best(sample: Sample) -> Score:
    """The best of the papers' thresholds for all volumes together, the maximum taken anew in every resample."""
    volumes = sample.volumes
    if volumes is None or not volumes.scored:
        return Score(more={"threshold": None})
    weights = sample.w_volumes
    with np.errstate(invalid="ignore"):
        drawn = (weights @ volumes.dice / weights.sum(axis=1, keepdims=True)).max(axis=1)
    value = volumes.dice.mean(axis=0)[volumes.best]
    return Score(float(value), drawn, volumes.scored, {"threshold": volumes.best / 100})


def _mean(sample: Sample, read: Callable[[Volume], float | None], **more: Any) -> Score:
    """Mean over volumes of a value of each; None unless each has one."""
    scored = sample.volumes.scored if sample.volumes else ()
    return _mean_of(sample, [read(volume) for volume in scored], **more)


def _mean_of(sample: Sample, values: Sequence[float | None], **more: Any) -> Score:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    if sample.volumes is None or not known.size or known.size < len(values) or np.isnan(known).any():
        return Score(more=more)
    weights = sample.w_volumes
    with np.errstate(invalid="ignore"):
        samples = weights @ known / weights.sum(axis=1)
    return Score(float(known.mean()), samples, sample.volumes.scored, more)


def _healthy(sample: Sample) -> Score:
    """At the healthy threshold of the image, which is held fixed in resampling."""
    return _mean(sample, lambda volume: float(volume.dice[-1]), threshold=sample.thresholds.image)


def _fitted(sample: Sample) -> Score:
    """At the operating point, likewise."""
    point = sample.operating
    more = {} if point is None else {"threshold": point.threshold, "component_px": point.component_px}
    return _mean(sample, lambda volume: volume.dice_fitted, **more)


def _object(sample: Sample, read: Callable[[Objects], float | None]) -> Score:
    """Of lesions and surfaces at the threshold of the best mean Dice, likewise."""
    volumes = sample.volumes
    if volumes is None or not volumes.scored:
        return Score(more={"threshold": None})
    return _mean_of(sample, [read(one) for one in volumes.objects], threshold=volumes.best / 100)


VOLUME_SCORERS: dict[str, Callable[[Sample], Score]] = {
    "volume_dice_max": _best,
    "volume_dice_healthy_fpr5": _healthy,
    "volume_dice_fitted": _fitted,
    "volume_auprc": partial(_mean, read=lambda volume: volume.average_precision),
    "volume_lesion_f1": partial(_object, read=lambda one: one.f1),
    "volume_lesion_recall": partial(_object, read=lambda one: one.recall),
    "volume_hausdorff95": partial(_object, read=lambda one: one.hausdorff95),
    "volume_surface_distance": partial(_object, read=lambda one: one.surface_distance),
}


def volume_tables(volumes: Volumes) -> dict[str, Any]:
    """What metrics.json holds of volumes besides the scores: how many, which were left out and why, each by itself."""
    return {
        "volumes": {
            "n": len(volumes.scored),
            "left_out": dict(volumes.left_out),
            "notes": _notes(volumes),
            "per_volume": {
                volume.name: _record(volume, one, volumes.best)
                for volume, one in zip(volumes.scored, volumes.objects, strict=True)
            }
            if volumes.scored
            else {},
        }
    }


def _notes(volumes: Volumes) -> list[str]:
    """Why surface distances are missing, if they are."""
    if not volumes.scored:
        return []
    if any(volume.spacing is None for volume in volumes.scored):
        return [UNKNOWN_SPACING]
    return [] if surfaces_known() else [NEEDS_MONAI]


def _record(volume: Volume, one: Objects, best: int) -> dict[str, Any]:
    healthy = float(volume.dice[len(THRESHOLDS)])
    return {
        "subject": volume.subject,
        "n_slices": len(volume.places),
        "spacing_mm": None if volume.spacing is None else list(volume.spacing),
        "lesion_voxels": volume.lesion,
        "dice": float(volume.dice[best]),
        "dice_healthy_fpr5": None if np.isnan(healthy) else healthy,
        "dice_fitted": volume.dice_fitted,
        "auprc": volume.average_precision,
        "lesions": one.lesions,
        "lesions_found": one.found,
        "components": one.components,
        "components_true": one.true,
        "lesion_f1": one.f1,
        "lesion_recall": one.recall,
        "hausdorff95_mm": one.hausdorff95,
        "surface_distance_mm": one.surface_distance,
    }
