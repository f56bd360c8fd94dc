"""What a training is judged by while it runs: errors on held-out slices, a trend of Dice, and words on divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from uadbench.bench.score.pooled import THRESHOLDS, count_at, pooled_dice
from uadbench.engine.interfaces import to_signed
from uadbench.engine.training.contract import Objective
from uadbench.engine.training.loop import Progress
from uadbench.engine.training.validation import clean_errors, device_of, reconstructions, validation_loss

__all__ = ["ERROR_RISE", "LOSS_RISE", "Lesions", "risen", "trouble", "validate"]

LOSS_RISE = 3.0  # times the running loss's lowest since the warm-up
ERROR_RISE = 1.5  # times an error's best at an earlier validation


@dataclass(frozen=True)
class Lesions:
    """Validation slices with lesions, images float32 [N, H, W] in [0, 1], masks bool [N, H, W]."""

    images: NDArray[np.float32]
    masks: NDArray[np.bool_]


def validate(
    model: nn.Module,
    progress: Progress,
    objective: Objective,
    noise: str,
    healthy: Mapping[str, NDArray[np.float32]],
    lesions: Mapping[str, Lesions],
) -> dict[str, Any]:
    """One validation's record, a line of the log; images by source."""
    record: dict[str, Any] = {
        "step": progress.step,
        "loss": progress.loss,
        "lowest_loss": progress.lowest,
        "learning_rate": progress.learning_rate,
        "seconds": round(progress.seconds),
    }
    if objective.prediction == "epsilon":
        images = np.concatenate(list(healthy.values()))
        record["eps_error_by_band"] = dict(validation_loss(model, images, noise))
    record["clean_error"] = clean_errors(model, healthy, noise, objective)
    record["one_call_dice"] = one_call_dice(model, objective, noise, lesions)
    return record


def one_call_dice(
    model: nn.Module, objective: Objective, noise: str, lesions: Mapping[str, Lesions]
) -> dict[str, dict[str, float]]:
    """Source -> level -> pooled max Dice of validation lesions at the protocol's thresholds, of |x - estimate| or
    of the objective's own map.

    One call of the network from one level, no chain and no perceptual map: a trend, not the score of any method. Empty
    where the objective's network is no method's denoiser.
    """
    level, found = objective.judged, {}
    if level is None:
        return {}
    for source, cases in lesions.items():
        counts = count_at(list(_maps(model, objective, noise, cases.images)), list(cases.masks), THRESHOLDS)
        dice = pooled_dice(np.ones((1, len(cases.images))), counts)
        found[source] = {str(level): float(dice.max())}
    return found


def _maps(
    model: nn.Module, objective: Objective, noise: str, images: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Of lesions in validation slices, [N, H, W]."""
    if objective.score is None:
        (estimate,) = reconstructions(model, images, noise, objective, (objective.judged or 0,))
        return np.abs(images - estimate)
    with torch.inference_mode():
        x = to_signed(torch.from_numpy(images).unsqueeze(1)).to(device_of(model))
        return np.asarray(objective.score(model, x)[:, 0].cpu().numpy())


def risen(loss: float, lowest: float | None) -> str:
    """What the running loss says of divergence, "" where nothing."""
    if not lowest or loss <= LOSS_RISE * lowest:
        return ""
    return f"the running loss is {loss:.3g}, {loss / lowest:.1f} times its lowest"


def trouble(record: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> str:
    """What a validation says of divergence after those before it, "" where nothing."""
    if word := risen(record["loss"], record.get("lowest_loss")):
        return word
    for source, errors in record["clean_error"].items():
        for level, error in errors.items():
            before = [past["clean_error"].get(source, {}).get(level) for past in earlier]
            best = min((value for value in before if value is not None), default=None)
            if best and error > ERROR_RISE * best:
                return (
                    f"the error of x0 on {source} at t = {level} is {1e4 * error:.1f}e-4, "
                    f"{error / best:.1f} times its best"
                )
    return ""
