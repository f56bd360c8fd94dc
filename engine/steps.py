"""One step of a diffusion chain, forward or back, as pure functions of tensors.

Levels count from the clean image (see ``interfaces``). Images are [B, 1, H, W] in [-1, 1].
"""

from __future__ import annotations

import math

from torch import Tensor

from uadbench.engine.schedule import Schedule

__all__ = ["add_noise", "ddim_step", "ddpm_step", "diffuse", "predict_x0", "reverse_weights"]


def add_noise(schedule: Schedule, x0: Tensor, t: int, noise: Tensor) -> Tensor:
    """Noise a clean image to level t in one go: Ho et al. 2020, eq. 4."""
    abar = float(schedule.abar[t])
    return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise


def diffuse(schedule: Schedule, x: Tensor, t_from: int, t_to: int, noise: Tensor) -> Tensor:
    """Carry an image that is already at level t_from forward to the noisier level t_to: Ho et al. 2020, eq. 2."""
    keep = float(schedule.abar[t_to] / schedule.abar[t_from])
    return math.sqrt(keep) * x + math.sqrt(1 - keep) * noise


def predict_x0(schedule: Schedule, x_t: Tensor, eps: Tensor, t: int) -> Tensor:
    """The clean image that eps implies, clipped to the range of images: Ho et al. 2020, eq. 15."""
    abar = float(schedule.abar[t])
    return ((x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)).clamp(-1, 1)


def ddpm_step(
    schedule: Schedule,
    x_t: Tensor,
    eps: Tensor,
    t: int,
    t_prev: int,
    noise: Tensor | None,
    x0_variance: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Draw x at level t_prev from the posterior given x_t and the predicted x0; returns (x_prev, x0_hat).

    x0_variance : Var[x0 | x_t] of a pixel, images in [-1, 1], divided by the variance of the noise (1 for Gaussian)

    Posterior mean and "fixed small" variance of Ho et al. 2020, eqs. 6 and 7, for any t_prev < t (a respaced chain
    has its own betas). That is the variance given x0; as x0 is predicted only, c^2 x0_variance belongs to it, with c
    the weight of x0 in the mean (Bao et al. 2022, arXiv 2201.06503). Without it the variance is 0 at t_prev = 0 and
    noise may be None.
    """
    abar, abar_prev = float(schedule.abar[t]), float(schedule.abar[t_prev])
    alpha = abar / abar_prev
    x0 = predict_x0(schedule, x_t, eps, t)
    mean = (math.sqrt(abar_prev) * (1 - alpha) * x0 + math.sqrt(alpha) * (1 - abar_prev) * x_t) / (1 - abar)
    variance = (1 - abar_prev) / (1 - abar) * (1 - alpha) + abar_prev * (
        (1 - alpha) / (1 - abar)
    ) ** 2 * x0_variance
    if variance == 0:  # at t_prev = 0, where x0 counts as known
        return mean, x0
    if noise is None:
        raise ValueError("an ancestral step to a noisy level, or with x0_variance, needs noise")
    return mean + math.sqrt(variance) * noise, x0


def ddim_step(
    schedule: Schedule, x_t: Tensor, eps: Tensor, t: int, t_prev: int, noise: Tensor | None, eta: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Song et al. 2021 (doi:10.48550/arXiv.2010.02502), eqs. 12 and 16; returns (x_prev, x0_hat).

    eta = 0 is deterministic, eta = 1 has the ancestral step's distribution. The direction to x_t is recomputed from
    the clipped x0, so that x0, eps and x_t stay consistent.
    """
    abar, abar_prev = float(schedule.abar[t]), float(schedule.abar[t_prev])
    x0 = predict_x0(schedule, x_t, eps, t)
    eps = (x_t - math.sqrt(abar) * x0) / math.sqrt(1 - abar)
    sigma = eta * math.sqrt((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev))
    x_prev = math.sqrt(abar_prev) * x0 + math.sqrt(max(1 - abar_prev - sigma**2, 0.0)) * eps
    if sigma == 0:
        return x_prev, x0
    if noise is None:
        raise ValueError(f"a step with eta = {eta} needs noise")
    return x_prev + sigma * noise, x0


def reverse_weights(
    schedule: Schedule, t: int, t_prev: int, eta: float = 1.0, x0_variance: float = 0.0
) -> tuple[float, float, float]:
    """A step back as a sum: the weights of x0, x_t and noise in x at level t_prev.

    eta = 1 is ``ddpm_step``, which alone takes x0_variance; less is ``ddim_step``. One formula serves both, as eq. 12
    of Song et al. 2021 with eta = 1 is the posterior's mean.
    """
    abar, abar_prev = float(schedule.abar[t]), float(schedule.abar[t_prev])
    alpha = abar / abar_prev
    variance = eta**2 * (1 - abar_prev) / (1 - abar) * (1 - alpha)
    towards = math.sqrt(max(1 - abar_prev - variance, 0.0) / (1 - abar))  # the weight of x_t
    uncertain = abar_prev * ((1 - alpha) / (1 - abar)) ** 2 * x0_variance
    return math.sqrt(abar_prev) - towards * math.sqrt(abar), towards, math.sqrt(variance + uncertain)
