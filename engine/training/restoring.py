"""What networks are taught that undo anomalies instead of noise: no chain, and as a rule one call.

Images are [B, 1, H, W] in [-1, 1]; the networks return the change that is to be made, see ``Tools.restore``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uadbench.engine.interfaces import to_signed, to_unit
from uadbench.engine.methods.mend import COARSE_NOISE, PLACED
from uadbench.engine.methods.restored import STRENGTHS
from uadbench.engine.networks.restoration_unet import RestorationUNetConfig
from uadbench.engine.networks.vae import VAEConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.schedule import Schedule
from uadbench.engine.training.contract import Batch, Objective, Step, channels_last
from uadbench.engine.training.corruptions import TISSUE, corrupt, nuisance

__all__ = ["RESTORING"]

COARSE, SPREAD = 16, 0.2  # of DAE's noise: its grid, and its deviation in grey values of [0, 1]
CHANGED = 0.03  # a grey value that differs by more, in [0, 1], counts as changed
WEIGHT_CHANGED = 10.0  # of a changed pixel's error, against 1 for the others
WEIGHT_CODE = 0.02  # of the divergence of a VAE's code: twice the variance that a pixel is taken to have
BEND = 0.2  # error in [-1, 1] up to which an anomaly's error counts squared, beyond it as it is
WEIGHT_RESTORED = 5.0  # of the absolute error, against the cross-entropy


def _generators(step: Step, purpose: str) -> list[np.random.Generator]:
    """One for each of this process's images, so that nothing hangs on how they are shared."""
    return [case_generator(step.config.seed, f"{purpose}-{step.number}-{row}") for row in step.rows]


def _pairs(x: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """(healthy, corrupted), both after the same nuisances."""
    healthy, corrupted = [], []
    for image, rng in zip(to_unit(x)[:, 0].numpy(), _generators(step, "corrupt"), strict=True):
        healthy.append(nuisance(image, rng))
        corrupted.append(corrupt(healthy[-1], rng).image)
    clean, changed = (to_signed(torch.from_numpy(np.stack(i)).unsqueeze(1)) for i in (healthy, corrupted))
    return clean, changed


def _draw_either(x: Tensor, step: Step, network: Any) -> Batch:
    """Every second image with synthetic anomalies, the others with coarse noise; t says which."""
    t = torch.from_numpy(np.where(step.rows % 2 == 0, PLACED, COARSE_NOISE))
    here = (t == PLACED)[:, None, None, None]
    clean, corrupted = _pairs(x, step)
    same, noisy = _draw_coarse(x, step, network)
    return torch.where(here, clean, same), torch.where(here, corrupted, noisy), t


def _restoration_loss(model: nn.Module, clean: Tensor, corrupted: Tensor, t: Tensor) -> Tensor:
    """Absolute error of the restored image; of anomalies more where something was changed, and where that is."""
    change, logit = _call(model, corrupted, t).split(1, dim=1)
    placed = (t == PLACED).float()[:, None, None, None]
    changed = ((clean - corrupted).abs() > 2 * CHANGED).float() * placed
    error = (corrupted + change - clean).abs() * (1 + (WEIGHT_CHANGED - 1) * changed)
    where = F.binary_cross_entropy_with_logits(
        logit, changed, pos_weight=torch.tensor(2.0, device=logit.device), reduction="none"
    )
    return WEIGHT_RESTORED * error.mean() + (placed * where).mean()


def _draw_coarse(x: Tensor, step: Step, network: Any) -> Batch:
    noise = []
    for image, rng in zip(to_unit(x), _generators(step, "coarse"), strict=True):
        coarse = torch.from_numpy(rng.standard_normal((1, 1, COARSE, COARSE), dtype=np.float32)) * SPREAD
        fine = F.interpolate(coarse, size=image.shape[1:], mode="bilinear", align_corners=False)[0]
        rolled = fine.roll(rng.integers(image.shape[-1], size=2).tolist(), (1, 2))
        noise.append(rolled * (image > TISSUE))
    return x, x + 2 * torch.stack(noise)


def _square_loss(model: nn.Module, clean: Tensor, corrupted: Tensor) -> Tensor:
    return (corrupted + _call(model, corrupted, 1) - clean).square().mean()


def _draw_code(x: Tensor, step: Step, network: Any) -> Batch:
    """Healthy images after nuisances, and what their codes are drawn with."""
    images, draws = [], []
    for image, rng in zip(to_unit(x)[:, 0].numpy(), _generators(step, "code"), strict=True):
        images.append(nuisance(image, rng))
        draws.append(rng.standard_normal(network.code_shape(*image.shape), dtype=np.float32))
    return to_signed(torch.from_numpy(np.stack(images)).unsqueeze(1)), torch.from_numpy(np.stack(draws))


def _code_loss(model: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """Squared error of the image and divergence of its code, both a pixel: Kingma and Welling 2014, eq. 10."""
    change, mean, log_variance = model(
        channels_last(x), torch.zeros(len(x), dtype=torch.int64, device=x.device), z
    )
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).float().sum() / 2
    return change.float().square().mean() + WEIGHT_CODE * divergence / x.numel()


def _draw_strength(x: Tensor, step: Step, network: Any) -> Batch:
    """A pair, and the image between them at a strength of its own."""
    clean, corrupted = _pairs(x, step)
    t = torch.from_numpy(step.rng.integers(1, STRENGTHS + 1, step.config.images_a_step)[step.rows])
    return clean, corrupted, clean + (corrupted - clean) * (t / STRENGTHS).float()[:, None, None, None], t


def _cold_loss(model: nn.Module, clean: Tensor, corrupted: Tensor, between: Tensor, t: Tensor) -> Tensor:
    """Error of the clean image: Bansal et al. 2022 (arXiv 2208.09392), eq. 1, with another norm."""
    return _weighed(between + _call(model, between, t) - clean, clean - corrupted)


def _flow_loss(model: nn.Module, clean: Tensor, corrupted: Tensor, between: Tensor, t: Tensor) -> Tensor:
    """Error of the velocity of the straight path: Liu et al. 2022 (arXiv 2209.03003), eq. 1, with another norm."""
    return _weighed(_call(model, between, t) - (clean - corrupted), clean - corrupted)


def _weighed(error: Tensor, undone: Tensor) -> Tensor:
    """Huber's norm, more where something was changed.

    An absolute error alone has no change as its best answer wherever one cannot tell, for few pixels are changed; a
    squared one alone is the error of a few large anomalies.
    """
    weight = 1 + (WEIGHT_CHANGED - 1) * (undone.abs() > 2 * CHANGED).float()
    return (weight * F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=BEND)).mean() / BEND


def _call(model: nn.Module, x: Tensor, t: Tensor | int) -> Tensor:
    levels = torch.full((len(x),), t, device=x.device) if isinstance(t, int) else t
    out: Tensor = model(channels_last(x), levels - 1).float()
    return out


def _restored(model: nn.Module, x: Tensor, t: int, noise: Tensor, schedule: Schedule) -> Tensor:
    """The image after the change that the network makes to it, as it is, at one assumed strength."""
    return (x + _call(model, x, t)[:, :1]).clamp(-1, 1)


def _probability(model: nn.Module, x: Tensor) -> Tensor:
    return _call(model, x, 1)[:, 1:].sigmoid()


def _levels(noise: str) -> tuple[int, int]:
    return 1, STRENGTHS


def _objective(
    title: str,
    network: str,
    shape: Any,
    draw: Callable[[Tensor, Step, Any], Batch],
    loss: Callable[..., Tensor],
    level: int = 1,
    score: Callable[[nn.Module, Tensor], Tensor] | None = None,
    asked: tuple[int, ...] = (1,),
) -> Objective:
    return Objective(
        title,
        network,
        "change",
        {"small": shape},
        draw,
        loss,
        _restored,
        _levels,
        (level,),
        level,
        noisy=False,
        score=score,
        asked=asked,
    )


PLAIN = RestorationUNetConfig(outputs=1, mirrored=False)

RESTORING: dict[str, Objective] = {
    "coarse": _objective("coarse noise, taken out (DAE)", "dae-unet", PLAIN, _draw_coarse, _square_loss),
    "code": _objective(
        "healthy slices through a short code (VAE)", "vae", VAEConfig(), _draw_code, _code_loss
    ),
    "cold": _objective(
        "synthetic anomalies of a known strength, taken out (DISYRE)",
        "cold-unet",
        PLAIN,
        _draw_strength,
        _cold_loss,
        STRENGTHS // 2,
        asked=(12, 25, 38, 50, 75, 100),
    ),
    "flow": _objective(
        "the straight path from synthetic anomalies to none (REFLECT)",
        "flow-unet",
        PLAIN,
        _draw_strength,
        _flow_loss,
        STRENGTHS,
        asked=(STRENGTHS,),
    ),
    "restoration": _objective(
        "synthetic anomalies, taken out and pointed at, and coarse noise, taken out (Mend)",
        "mend-unet",
        RestorationUNetConfig(),
        _draw_either,
        _restoration_loss,
        score=_probability,
        asked=(PLACED, COARSE_NOISE),
    ),
}
