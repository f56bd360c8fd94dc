"""THOR: temporal harmonization for optimal restoration (Bercea et al. 2024, arXiv 2403.08464)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from uadbench.engine.anomaly import anomaly_map, gaussian_smooth, harmonic_mean, normalize_max
from uadbench.engine.interfaces import Result, Tools

__all__ = ["Thor"]


@dataclass(frozen=True)
class Thor:
    """Denoising that is led back to the input wherever an intermediate anomaly map finds it healthy.

    t_start : start level; 350 for Gaussian, 250 for simplex noise (section 4.1)
    harmonize_at : levels at which maps are taken and the chain is harmonized; those above t_start are left out. The
        paper names none; these, the window, sigma and the averaging of the mask are the authors' implementation's
    steps : network calls, of which some fall on ``harmonize_at``; None visits every level, as the paper does
    window : side of the square for closing and dilation, pixels
    sigma : of the Gaussian that smooths the perceptual map, pixels
    """

    t_start: int = 350
    harmonize_at: tuple[int, ...] = (300, 150, 50)
    steps: int | None = 25
    window: int = 13
    sigma: float = 2.0

    def __post_init__(self) -> None:
        if self.window < 1 or self.sigma < 0:
            raise ValueError(
                f"window is {self.window} and sigma {self.sigma}; allowed: from 1 px and from 0 px"
            )
        if not any(0 < t <= self.t_start for t in self.harmonize_at):
            raise ValueError(
                f"none of harmonize_at = {self.harmonize_at} lies in 1 .. t_start = {self.t_start}"
            )

    @classmethod
    def preset(cls, noise: str) -> Thor:
        """The authors' levels for a noise kind."""
        return cls() if noise == "gaussian" else cls(t_start=250, harmonize_at=(200, 150, 100, 50))

    def respaced(self, steps: int | None) -> Thor:
        """The same with so many network calls; None visits every level."""
        return replace(self, steps=steps)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        perceptual, maps = tools.against(x), {}
        noise = tools.noise(self.t_start)
        x_t = tools.add_noise(x, self.t_start, noise)
        for t, t_prev in tools.schedule.pairs(self.t_start, self.steps, through=self.harmonize_at):
            x_t, x0 = tools.reverse(x_t, t, t_prev)
            if t in self.harmonize_at:
                # Eq. 3: where the estimate of the clean image differs from the input, in grey value and to the eye.
                s = gaussian_smooth(perceptual(x0), self.sigma).clamp(0, 1)
                m = maps[f"map_{t}"] = normalize_max(anomaly_map(x, x0, s))
                # cd(m): closing, then dilation. The paper has no more; the average with m is the authors' practice.
                cd = ((tools.dilate(tools.close(m, self.window), self.window) + m) / 2).clamp(0, 1)
                # Eq. 4: the estimate where it is anomalous, the input where it is healthy, ...
                x0 = cd * x0 + (1 - cd) * x
                # ... noised with the noise of the start. Noising to t and going on along that same noise arrives
                # here: this level, with no second network call and no mismatch of levels in a respaced chain.
                x_t = tools.add_noise(x0, t_prev, noise)
        # Eq. 5.
        return Result(harmonic_mean(list(maps.values())), x_t.clamp(-1, 1), maps)
