"""Binds the engine's pure functions to one schedule, network, noise and perceptual map: all that a method calls."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from uadbench.engine import steps
from uadbench.engine.interfaces import Denoiser, Perceptual, Tools
from uadbench.engine.kernels.morphology import close, dilate
from uadbench.engine.schedule import Schedule

__all__ = ["make_tools", "stepper_of"]


def make_tools(
    denoiser: Denoiser,
    schedule: Schedule,
    noise: Callable[[int], Tensor],
    perceptual: Perceptual,
    eta: float = 1.0,
    lesion_sign: int = -1,
    median: Tensor | None = None,
    x0_variance: Callable[[int], float] | None = None,
    mean: Tensor | None = None,
    spread: Tensor | None = None,
) -> Tools:
    """Tools for one batch.

    noise : draws one field a case, see ``rng.noise_source``
    eta : 1 is the ancestral chain of the papers, 0 the deterministic one (DDIM); between is allowed
    lesion_sign, median, mean, spread : see ``Tools``
    x0_variance : level -> what ``steps.ddpm_step`` takes for it; None for the "fixed small" variance. Only with eta = 1
    """
    if x0_variance and eta != 1.0:
        raise ValueError(f"x0_variance belongs to the ancestral chain, and eta is {eta}; 1 is needed")

    step = stepper_of(denoiser, schedule, eta, x0_variance)

    def denoise(x_t: Tensor, t: int, cond: Tensor | None = None) -> Tensor:
        levels = torch.full((x_t.shape[0],), t, dtype=torch.int64, device=x_t.device)
        return denoiser.denoise(x_t, levels, cond)

    def predict_x0(x_t: Tensor, t: int, cond: Tensor | None = None) -> Tensor:
        return steps.predict_x0(schedule, x_t, denoise(x_t, t, cond), t)

    def variance_of(t: int) -> float:
        return x0_variance(t) if x0_variance else 0.0

    def drawn(t: int, t_prev: int) -> Tensor | None:
        return noise(t) if eta > 0 and (t_prev > 0 or variance_of(t) > 0) else None

    def reverse(x_t: Tensor, t: int, t_prev: int, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if step is not None:
            return step(x_t, t, t_prev, drawn(t, t_prev), cond)
        eps = denoise(x_t, t, cond)  # before the draw: a GPU computes while the CPU draws
        if eta == 1.0:
            return steps.ddpm_step(schedule, x_t, eps, t, t_prev, drawn(t, t_prev), variance_of(t))
        return steps.ddim_step(schedule, x_t, eps, t, t_prev, drawn(t, t_prev), eta)

    return Tools(
        schedule=schedule,
        denoise=denoise,
        restore=denoise,
        predict_x0=predict_x0,
        reverse=reverse,
        add_noise=lambda x0, t, n: steps.add_noise(schedule, x0, t, n),
        diffuse=lambda x, t_from, t_to: steps.diffuse(schedule, x, t_from, t_to, noise(t_to)),
        noise=noise,
        against=perceptual.against,
        close=close,
        dilate=dilate,
        lesion_sign=lesion_sign,
        median=median,
        mean=mean,
        spread=spread,
    )


def stepper_of(
    denoiser: Denoiser,
    schedule: Schedule,
    eta: float = 1.0,
    x0_variance: Callable[[int], float] | None = None,
) -> Callable[..., tuple[Tensor, Tensor]] | None:
    """A denoiser's whole step, see ``interfaces.Stepping``; None where it has none and ``make_tools`` has its own."""
    bind = getattr(denoiser, "stepper", None)
    step: Callable[..., tuple[Tensor, Tensor]] | None = bind and bind(schedule, eta, x0_variance)
    return step
