"""Does another back end compute the same? Three questions, from one call to the scores.

network : one call on the same input, at several levels and seeds
trajectory : a method's whole chain with the same noise; the error of one call is fed back into the next
scores : pooled max Dice and AUPRC on the same cases

The first asks for rounding errors only, the last for what a reader of the leaderboard cares about. All three must
hold before a speed-up means anything. Reference is torch fp32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from uadbench.engine.interfaces import Denoiser
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.engine.steps import add_noise
from uadbench.exporters.gates import gates_of
from uadbench.exporters.levels import LEVELS
from uadbench.exporters.recorder import Recorder

__all__ = [
    "SEEDS",
    "Chain",
    "compare_chains",
    "network_fault",
    "network_parity",
    "record_chain",
    "relative_l2",
    "score_parity",
    "trajectory_parity",
    "verdict",
]

SEEDS = (0, 1, 2)
SCORES = {"dice_max": "max Dice", "auprc": "AUPRC"}
BOX_SCORES = {"box_f1": "box F1", "froc_mean": "FROC"}  # the same where the truth is boxes


@dataclass(frozen=True)
class Chain:
    """What one run of a method asked of its network.

    levels : of each call, in order
    states : x_t of each call, [B, 1, H, W]
    final : the reconstruction at the end
    """

    levels: tuple[int, ...]
    states: tuple[Tensor, ...]
    final: Tensor


def relative_l2(value: Tensor, reference: Tensor) -> float:
    """|value - reference| / |reference|, over all elements, in float64; infinite where value is not finite."""
    return _ratio(value.detach().double().cpu() - reference.detach().double().cpu(), reference.detach().cpu())


def network_parity(
    reference: Denoiser,
    other: Denoiser,
    images: Tensor,
    seeds: Sequence[int] = SEEDS,
    levels: Sequence[int] = LEVELS,
    schedule: Schedule | None = None,
    noise: str = "gaussian",
    conditioned: bool = False,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Calls of each on the same noised images, at each level and seed.

    images : float32 [B, 1, H, W] in [-1, 1]
    levels : see ``levels.levels_read``
    noise : the kind that the network was trained for, so that its inputs are such as it knows; "none" for a network
        that undoes anomalies: it is shown the images as they are, once at each level, which is a strength
    conditioned : whether the network is also shown the clean images
    batch_size : images in a call; all, by default

    Each of "calls" has t, seed, "max_abs" and "rel_l2" of all that the network gives; "rel_image": what the error of
    eps does to the image, |sqrt(1 - abar_t) (eps' - eps)| / |x_t|, or that of the change, |change' - change| / |x|; and
    "probability": the largest difference of a pixel's probability, null where there is no logit. The gates are on the
    last two. At t = 1 the noise is 0.01 of the image and bf16 rounds the input to 0.004, so eps itself cannot be had in
    bf16 to better than some percent (7e-2 measured), which no image ever shows. Returned besides: the worst of each,
    "n_images", "batch_size", "gate", "probability_gate" and "pass".
    """
    schedule = schedule or linear_schedule()
    calls, noisy = [], noise != "none"
    for seed in seeds if noisy else seeds[:1]:
        ids = [f"parity-{i}" for i in range(images.shape[0])]
        draw = noise_source(noise, seed, ids, (images.shape[2], images.shape[3]))
        for level in levels:
            x_t = add_noise(schedule, images, level, draw(level)) if noisy else images
            t = torch.full(images.shape[:1], level, dtype=torch.int64)
            cond = images if conditioned else None
            wanted, found = (_answer(d, x_t, t, cond, batch_size) for d in (reference, other))
            weight = math.sqrt(1 - float(schedule.abar[level])) if noisy else 1.0
            calls.append({"t": level, "seed": seed, **_errors(found, wanted, x_t, weight)})
    gates = gates_of(other.precision)
    odds = [call["probability"] for call in calls if call["probability"] is not None]
    image, probability = max(call["rel_image"] for call in calls), max(odds, default=None)
    return {
        "rel_l2": max(call["rel_l2"] for call in calls),
        "rel_image": image,
        "probability": probability,
        "max_abs": max(call["max_abs"] for call in calls),
        "n_images": images.shape[0],
        "batch_size": batch_size or images.shape[0],
        "calls": calls,
        "gate": gates.network,
        "probability_gate": None if probability is None else gates.probability,
        "pass": image <= gates.network and (probability or 0) <= gates.probability,
    }


def network_fault(network: Mapping[str, Any]) -> str:
    """What keeps the answer of ``network_parity`` from passing, in words; "" where it passes."""
    found = []
    if not network["rel_image"] <= network["gate"]:
        found.append(
            f"one call is off by {network['rel_image']:.1e} of the image, the gate is {network['gate']:.0e}"
        )
    if network["probability"] is not None and not network["probability"] <= network["probability_gate"]:
        found.append(
            f"a pixel's probability is off by {network['probability']:.1e}, the gate is "
            f"{network['probability_gate']:.0e}"
        )
    return " and ".join(found)


def _errors(found: Tensor, wanted: Tensor, x: Tensor, weight: float) -> dict[str, Any]:
    """Of one call. The first output is in the image, times ``weight``; a second one is a logit, and in no image."""
    odds = (found[:, 1:].double().sigmoid() - wanted[:, 1:].double().sigmoid()).abs()
    return {
        "rel_l2": relative_l2(found, wanted),
        "rel_image": _ratio(weight * (found - wanted)[:, :1], x),
        "probability": _finite(float(odds.max())) if odds.numel() else None,
        "max_abs": _finite(float((found - wanted).abs().max())),
    }


def _answer(
    denoiser: Denoiser, x_t: Tensor, t: Tensor, cond: Tensor | None, batch_size: int | None
) -> Tensor:
    """The answers of calls with everything on the denoiser's device, on the CPU."""
    device, size = denoiser.device, batch_size or len(x_t)
    answers = []
    for start in range(0, len(x_t), size):
        x, levels, shown = (
            None if value is None else value[start : start + size].to(device) for value in (x_t, t, cond)
        )
        answers.append(denoiser.denoise(x, levels, shown).cpu())  # type: ignore[arg-type]
    return torch.cat(answers)


def record_chain(denoiser: Denoiser, walk: Callable[[Denoiser], Tensor]) -> Chain:
    """Run ``walk`` with a denoiser that keeps a copy of every x_t that it is shown.

    walk : runs one method with the denoiser that it is given, the same noise at every call of ``walk``; returns the
        reconstruction [B, 1, H, W]
    """
    recorder = Recorder(denoiser)
    final = walk(recorder).detach().cpu()
    return Chain(tuple(recorder.levels), tuple(recorder.states), final)


def compare_chains(reference: Chain, other: Chain, precision: str) -> dict[str, Any]:
    """How far a chain strays from the reference's.

    Returns "levels" and "rel_l2" of x_t at each call, "max" and "max_t" (where it is largest), "final" (the
    reconstruction's relative L2), "gate" (of the final) and "pass".
    """
    if reference.levels != other.levels:
        raise ValueError(
            f"the chains visit {len(reference.levels)} and {len(other.levels)} levels, or others; "
            "parity needs the same method"
        )
    errors = [relative_l2(b, a) for a, b in zip(reference.states, other.states, strict=True)]
    worst = max(range(len(errors)), key=errors.__getitem__)
    final = relative_l2(other.final, reference.final)
    gate = gates_of(precision).trajectory
    return {
        "levels": list(reference.levels),
        "rel_l2": errors,
        "max": max(errors[worst], final),
        "max_t": reference.levels[worst] if errors[worst] >= final else 0,
        "final": final,
        "n_cases": other.final.shape[0],
        "gate": gate,
        "pass": final <= gate,
    }


def trajectory_parity(
    reference: Denoiser, other: Denoiser, walk: Callable[[Denoiser], Tensor]
) -> dict[str, Any]:
    """``record_chain`` of both and ``compare_chains``; keep the reference's chain instead where there are several."""
    return compare_chains(record_chain(reference, walk), record_chain(other, walk), other.precision)


def score_parity(reference: Mapping[str, Any], metrics: Mapping[str, Any], margin: float) -> dict[str, Any]:
    """The differences in pooled max Dice and AUPRC, or in F1 and FROC of boxes, of two cells on the same cases.

    reference, metrics : metrics.json of the reference's cell and of the other's; fractions
    margin : largest difference that passes, either way
    Returns per score "reference", "value", "difference", and "margin", "n_cases", "pass" and "reason" (null when all
    is well). Scores that neither cell has (no lesions) are null; with none to compare it does not pass.
    """
    record: dict[str, Any] = {
        "margin": margin,
        "n_cases": metrics.get("n_cases"),
        "pass": False,
        "reason": None,
    }
    titles = BOX_SCORES if reference.get("truth") == "boxes" else SCORES
    for name in titles:
        a, b = _value(reference, name), _value(metrics, name)
        record[name] = {
            "reference": a,
            "value": b,
            "difference": None if a is None or b is None else b - a,
        }
    if set(reference.get("per_case", {})) != set(metrics.get("per_case", {})):
        return record | {"reason": "the cells hold scores of different cases"}
    differences = {name: record[name]["difference"] for name in titles}
    one_sided = [
        titles[n] for n in titles if (record[n]["reference"] is None) != (record[n]["value"] is None)
    ]
    if one_sided:
        return record | {"reason": f"only one of the cells has a {one_sided[0]}"}
    known = {name: value for name, value in differences.items() if value is not None}
    if not known:
        return record | {
            "reason": f"neither cell has a {' or '.join(titles.values())} to compare (no case with a lesion)"
        }
    name = max(known, key=lambda key: abs(known[key]))
    if not abs(known[name]) <= margin:
        points = f"{known[name] * 100:+.2f} points, the margin is {margin * 100:g}"
        return record | {"reason": f"{titles[name]} differs by {points}"}
    return record | {"pass": True}


def verdict(
    network: Mapping[str, Any] | None, trajectory: Mapping[str, Any] | None, scores: Mapping[str, Any] | None
) -> tuple[str, str]:
    """("pass" | "fail", why), from what ``network_parity``, ``compare_chains`` and ``score_parity`` returned.

    A part that is None was not measured, and nothing passes on parts that were not.
    """
    reasons = []
    missing = [
        name
        for name, part in (("network", network), ("trajectory", trajectory), ("scores", scores))
        if part is None
    ]
    if missing:
        reasons.append(f"{' and '.join(missing)} could not be compared")
    if network is not None and not network["pass"]:
        reasons.append(f"network: {network_fault(network)}")
    if trajectory is not None and not trajectory["pass"]:
        reasons.append(
            f"trajectory: relative L2 {trajectory['final']:.1e} at the end, the gate is {trajectory['gate']:.0e}"
        )
    if scores is not None and not scores["pass"]:
        reasons.append(f"scores: {scores['reason']}")
    if reasons or network is None or trajectory is None or scores is None:
        return "fail", "; ".join(reasons)
    differences = ", ".join(
        f"{title} {scores[name]['difference'] * 100:+.2f}"
        for name, title in {**SCORES, **BOX_SCORES}.items()
        if name in scores and scores[name]["difference"] is not None
    )
    return "pass", (
        f"off by {network['rel_image']:.1e} a call and {trajectory['final']:.1e} after the chain; "
        f"{differences} points (margin {scores['margin'] * 100:g})"
    )


def _ratio(error: Tensor, reference: Tensor) -> float:
    """|error| / |reference| in float64."""
    size = reference.double().norm().clamp_min(torch.finfo(torch.float64).tiny)
    return _finite(float(error.double().norm() / size))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _value(metrics: Mapping[str, Any], name: str) -> float | None:
    entry = metrics.get(name)
    return entry.get("value") if isinstance(entry, Mapping) else None
