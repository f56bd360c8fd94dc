"""Train ``brain-squeeze``: SqueezeNet features for a perceptual distance on brain slices, without any label.

Two stages, both in the geometry of the distance (unit-length features, squared differences):

1. Features, by local instance discrimination (InfoNCE, van den Oord et al. 2018, doi:10.48550/arXiv.1807.03748,
   applied at every stage): a place in one view of a slice must be nearer to the same place in another view than to
   any other place of the batch. The views differ by what a reconstruction may change without meaning it: noise,
   blur, bias field, contrast, displacements below a pixel.
2. Heads, as LPIPS learns its own on fixed features: non-negative channel weights that tell pasted-in tissue (a soft
   patch of another slice) from the same nuisances. No lesion and no darkening is simulated in either stage.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from uadbench.engine.interfaces import to_signed
from uadbench.engine.perceptual.distance import PerceptualDistance, PerceptualFeatures
from uadbench.engine.perceptual.squeezenet import STAGE_CHANNELS
from uadbench.engine.post import FOREGROUND
from uadbench.engine.training.state import load_state, save_state
from uadbench.engine.training.views import augment_geometry, cut_paste, nuisance_view

__all__ = [
    "Keeping",
    "PerceptualTraining",
    "calibrate",
    "local_contrast",
    "train_distance",
    "train_features",
    "train_heads",
]

TEMPERATURE = 0.07
PLACES = 24  # compared places a slice and stage


def local_contrast(f: Tensor, g: Tensor, tissue: Tensor, rng: torch.Generator) -> Tensor:
    """InfoNCE between the places of two views, both ways; f, g : [B, C, h, w] unit length, tissue [B, 1, S, S]."""
    share = functional.adaptive_avg_pool2d(tissue, (f.shape[2], f.shape[3])).flatten(1)
    places = torch.multinomial(share + 1e-4, PLACES, generator=rng).unsqueeze(1).expand(-1, f.shape[1], -1)
    a, b = (v.flatten(2).gather(2, places).permute(0, 2, 1).reshape(-1, v.shape[1]) for v in (f, g))
    logits = a @ b.T / TEMPERATURE
    target = torch.arange(len(logits))
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2


def feature_loss(net: PerceptualFeatures, image: Tensor, rng: torch.Generator) -> Tensor:
    """Stage losses [7] of one batch of slices [B, 1, S, S] in [0, 1]."""
    image = augment_geometry(image, rng)
    views = torch.cat([nuisance_view(image, rng, 0.5), nuisance_view(image, rng)])
    with torch.autocast("cpu", torch.bfloat16):
        features = net(to_signed(views))
    tissue = (image > FOREGROUND).float()
    pairs = (f.float().chunk(2) for f in features)
    return torch.stack([local_contrast(a, b, tissue, rng) for a, b in pairs])


def initial_features(seed: int) -> PerceptualFeatures:
    """He initialisation (He et al. 2015) from a seed, without touching the global generator."""
    net, rng = PerceptualFeatures(), torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net


@dataclass(frozen=True)
class Keeping:
    """How stage 1 survives an interruption.

    begun : what ``keep`` was given last, to go on from; None to begin
    keep : told net, optimizer, generator and the number of steps done, every 50 steps and when stopped
    stop : called before every step of both stages; what it raises ends the training
    """

    begun: Mapping[str, Any] | None = None
    keep: Callable[[dict[str, Any]], None] = lambda state: None
    stop: Callable[[], None] = lambda: None


def train_features(
    slices: Tensor,
    steps: int,
    batch_size: int,
    seed: int,
    note: Callable[[dict[str, Any]], None],
    keeping: Keeping | None = None,
) -> PerceptualFeatures:
    """Stage 1; slices [N, 1, S, S] in [0, 1]. AdamW, 2e-3 with warm-up and cosine decay. ``note`` is told
    the losses every 50 steps. Goes on from a state to the same result as if it had never stopped."""
    keeping = keeping or Keeping()
    net, rng = initial_features(seed), torch.Generator().manual_seed(seed + 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-4)
    if begun := keeping.begun:
        net.load_state_dict(begun["net"])
        optimizer.load_state_dict(begun["optimizer"])
        rng.set_state(begun["rng"])

    def state(step: int) -> dict[str, Any]:
        parts = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng.get_state()}
        return {"step": step, **parts}

    for step in range(begun["step"] if begun else 0, steps):
        try:
            keeping.stop()
        except KeyboardInterrupt:
            keeping.keep(state(step))
            raise
        rate = 2e-3 * min(1.0, (step + 1) / 50) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = feature_loss(net, slices[torch.randint(len(slices), (batch_size,), generator=rng)], rng)
        optimizer.zero_grad()
        losses.mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            note({"step": step, "stages": [round(v, 4) for v in losses.tolist()]})
            keeping.keep(state(step + 1))
    return net.eval().requires_grad_(False)


def train_heads(
    net: PerceptualDistance,
    slices: Tensor,
    steps: int,
    batch_size: int,
    seed: int,
    stop: Callable[[], None] = lambda: None,
) -> list[float]:
    """Stage 2; sets the heads of ``net``, whose features stay; logistic loss per pixel, its course is returned."""
    rng = torch.Generator().manual_seed(seed + 2)
    roots = [
        torch.full((1, c, 1, 1), 1.0, requires_grad=True) for c in STAGE_CHANNELS
    ]  # heads are their squares
    scale = torch.tensor([2.0, -3.0], requires_grad=True)  # logit = exp(scale[0]) * S + scale[1]
    optimizer = torch.optim.Adam([*roots, scale], lr=0.02)
    course = []
    for _ in range(steps):
        stop()
        image = augment_geometry(slices[torch.randint(len(slices), (batch_size,), generator=rng)], rng)
        pasted, mask = cut_paste(image, rng)
        with torch.no_grad():
            views = torch.cat([nuisance_view(pasted, rng, 0.5), nuisance_view(image, rng)])
            squares = [torch.sub(*f.chunk(2)).square() for f in net.features(to_signed(views))]
        maps = [functional.conv2d(d, r.square() / r.shape[1]) for d, r in zip(squares, roots, strict=True)]
        size = image.shape[2:]
        total = sum(functional.interpolate(m, size=size, mode="bilinear", align_corners=False) for m in maps)
        logit = (scale[0].exp() * total + scale[1]).permute(0, 2, 3, 1)
        inside, wanted = image.permute(0, 2, 3, 1) > FOREGROUND, mask.permute(0, 2, 3, 1)
        loss = functional.binary_cross_entropy_with_logits(
            logit[inside], wanted[inside], pos_weight=torch.tensor(10.0)
        ) + 1e-3 * sum(r.square().mean() for r in roots)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(float(loss.detach()))
    for k, root in enumerate(roots):
        net.get_buffer(f"head{k}").copy_(root.detach().square() / root.shape[1])
    return course


@torch.no_grad()
def calibrate(net: PerceptualDistance, slices: Tensor, level: float, seed: int) -> float:
    """Multiply the heads so that the 95th percentile of the map over tissue is ``level``; returns the factor.

    The pairs are those of stage 2 (tissue pasted in, nuisances), from slices that training did not see.
    """
    rng = torch.Generator().manual_seed(seed + 3)
    x, _ = cut_paste(slices, rng)
    x, x_rec = (to_signed(v) for v in (nuisance_view(x, rng, 0.5), nuisance_view(slices, rng)))
    found = torch.quantile(net(net.features(x), x_rec)[slices > FOREGROUND], 0.95).item()
    for k in range(len(STAGE_CHANNELS)):
        net.get_buffer(f"head{k}").mul_(level / found)
    return level / found


def check_slices(slices: NDArray[np.float32]) -> None:
    """ValueError unless they are 40 or more slices [N, S, S] in [0, 1]; S >= 96, so that every stage has more than
    PLACES pixels."""
    square = slices.ndim == 3 and slices.shape[1] == slices.shape[2] >= 96
    if not square or len(slices) < 40 or not (slices.min() >= 0 and slices.max() <= 1):
        raise ValueError(
            f"40 or more slices [N, S, S], S >= 96, in [0, 1] are needed to train with, not {slices.shape}"
        )


@dataclass(frozen=True)
class PerceptualTraining:
    """Everything that determines the weights. level : see ``calibrate``."""

    steps: int = 700
    head_steps: int = 150
    batch_size: int = 24
    level: float = 0.5
    seed: int = 0


def train_distance(
    slices: NDArray[np.float32],
    config: PerceptualTraining,
    report: Callable[[dict[str, Any]], None] = lambda entry: None,
    state: Path | None = None,
    stop: Callable[[], None] = lambda: None,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train, set the heads, calibrate; returns (half-precision weights by name, what goes into the card).

    slices : healthy, [N, S, S] in [0, 1]; a twentieth is kept aside for the losses in the card
    report : told {"step", "stages"} every 50 steps
    state : written every 50 steps of the features; if it exists, training goes on from it, to the same result
    stop : called before every step; what it raises ends the training, with the state kept
    Raises ValueError on other slices, CheckpointError when the state belongs to other settings or is damaged.
    """
    check_slices(slices)
    order = np.random.default_rng(config.seed).permutation(len(slices))
    images = torch.from_numpy(slices[order]).unsqueeze(1)
    kept, train = images[: max(20, len(images) // 20)], images[max(20, len(images) // 20) :]
    data = hashlib.sha256(slices.astype("<f4").tobytes()).hexdigest()
    identity = json.dumps([config.steps, config.batch_size, config.seed, data])
    begun = load_state(state, identity) if state else None
    log: list[dict[str, Any]] = list(begun["log"]) if begun else []

    def note(entry: dict[str, Any]) -> None:
        log.append(entry)
        report(entry)

    def keep(values: dict[str, Any]) -> None:
        if state:
            save_state(state, identity, {**values, "log": log})

    net = PerceptualDistance()
    net.features = train_features(
        train, config.steps, config.batch_size, config.seed, note, Keeping(begun, keep, stop)
    )
    with torch.no_grad():
        held_out = feature_loss(net.features, kept, torch.Generator().manual_seed(config.seed + 4))
    course = train_heads(net, train, config.head_steps, config.batch_size, config.seed, stop)
    factor = calibrate(net, kept, config.level, config.seed)
    tensors = {key.removeprefix("stages."): value for key, value in net.features.state_dict().items()}
    tensors |= {f"head{k}": net.get_buffer(f"head{k}").flatten() for k in range(len(STAGE_CHANNELS))}
    record = {
        "task": "local instance discrimination under nuisances; heads from cut-and-paste",
        "data_sha256": data,
        "slices": len(train),
        "slices_kept_aside": len(kept),
        "training": asdict(config),
        "losses": log,
        "loss_kept_aside": [round(v, 4) for v in held_out.tolist()],
        "head_loss": {"first": round(course[0], 4), "last": round(course[-1], 4)},
        "calibration": {"percentile_95_over_tissue": config.level, "factor": factor},
    }
    return {key: value.half().contiguous() for key, value in tensors.items()}, record
