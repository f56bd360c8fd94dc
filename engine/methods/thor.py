"""THOR: temporal harmonization for optimal restoration (Bercea et al. 2024, arXiv 2403.08464)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from uadbench.engine.anomaly import anomaly_map, gaussian_smooth, harmonic_mean, normalize_max
from uadbench.engine.interfaces import Result, Tools, to_signed

__all__ = ["Thor"]

WIDEST = 1024  # pixels; no image here is wider
PRACTICE = {
    "map_at": ("harmonize", "every-50"),
    "renoise": ("t_prev", "t"),
    "perceptual_norm": ("once", "twice"),
}


@dataclass(frozen=True)
class Thor:
    """Denoising that is led back to the input wherever an intermediate anomaly map finds it healthy.

    t_start : start level; 350 for Gaussian, 250 for simplex noise (section 4.1)
    harmonize_at : levels at which maps are taken and the chain is harmonized; those above t_start are left out. The
        paper names none; these, the window, sigma and the averaging of the mask are the authors' implementation's
    steps : network calls, of which some fall on the levels of the maps; None visits every level, as the paper does
    window : side of the square for closing and dilation, pixels
    sigma : of the Gaussian that smooths the perceptual map, pixels

    Three more in which the authors' implementation (the second choice of each) departs from the equations:

    map_at : "every-50" also takes maps, without harmonizing, at t_start, at every 50th level and of the chain's result
    renoise : "t" noises a harmonized estimate to the level that the chain has just left, but goes on from t_prev
    perceptual_norm : "twice" shows the perceptual net 2 x - 1 of images that are in [-1, 1] already
    """

    t_start: int = 350
    harmonize_at: tuple[int, ...] = (300, 150, 50)
    steps: int | None = 25
    window: int = 13
    sigma: float = 2.0
    map_at: Literal["harmonize", "every-50"] = "harmonize"
    renoise: Literal["t_prev", "t"] = "t_prev"
    perceptual_norm: Literal["once", "twice"] = "once"

    def __post_init__(self) -> None:
        if not 1 <= self.window <= WIDEST or not 0 <= self.sigma <= WIDEST:
            raise ValueError(
                f"window is {self.window} and sigma {self.sigma}; allowed: 1 to {WIDEST} px and 0 to {WIDEST} px"
            )
        if not any(0 < t <= self.t_start for t in self.harmonize_at):
            raise ValueError(
                f"none of harmonize_at = {self.harmonize_at} lies in 1 .. t_start = {self.t_start}"
            )
        for name, choices in PRACTICE.items():
            if (value := getattr(self, name)) not in choices:
                raise ValueError(f"{name} is {value!r}; allowed: {' or '.join(map(repr, choices))}")

    @classmethod
    def preset(cls, noise: str) -> Thor:
        """The authors' levels for a noise kind."""
        return cls() if noise == "gaussian" else cls(t_start=250, harmonize_at=(200, 150, 100, 50))

    def respaced(self, steps: int | None) -> Thor:
        """The same with so many network calls; None visits every level."""
        return replace(self, steps=steps)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        compare, map_levels, maps = self._comparison(x, tools), self._map_levels(), {}
        noise = tools.noise(self.t_start)
        x_t = tools.add_noise(x, self.t_start, noise)
        for t, t_prev in tools.schedule.pairs(self.t_start, self.steps, through=map_levels):
            x_t, x0 = tools.reverse(x_t, t, t_prev)
            if t in map_levels:
                m = maps[f"map_{t}"] = compare(x0)
            if t in self.harmonize_at:
                # cd(m): closing, then dilation. The paper has no more; the average with m is the authors' practice.
                cd = ((tools.dilate(tools.close(m, self.window), self.window) + m) / 2).clamp(0, 1)
                # Eq. 4: the estimate where it is anomalous, the input where it is healthy, ...
                x0 = cd * x0 + (1 - cd) * x
                # ... noised with the noise of the start. Noising to t and going on along that same noise arrives
                # at t_prev: no second network call and no mismatch of levels in a respaced chain. The authors'
                # code is one level noisier than it believes; not at the end, where nothing would take that away.
                level = t if self.renoise == "t" and t_prev > 0 else t_prev
                x_t = tools.add_noise(x0, level, noise)
        reconstruction = x_t.clamp(-1, 1)
        if 0 in map_levels:
            maps["map_0"] = compare(reconstruction)
        # Eq. 5.
        return Result(harmonic_mean(list(maps.values())), reconstruction, maps)

    def _map_levels(self) -> set[int]:
        """Levels whose estimates are held against the input; 0 stands for the chain's result."""
        levels = {t for t in self.harmonize_at if 0 < t <= self.t_start}
        return levels if self.map_at == "harmonize" else levels | {self.t_start, *range(0, self.t_start, 50)}

    def _comparison(self, x: Tensor, tools: Tools) -> Callable[[Tensor], Tensor]:
        """Eq. 3: where an estimate of the clean image differs from x, in grey value and to the eye; in [0, 1]."""

        def seen(image: Tensor) -> Tensor:
            return to_signed(image) if self.perceptual_norm == "twice" else image

        perceptual = tools.against(seen(x))

        def compare(x0: Tensor) -> Tensor:
            s = gaussian_smooth(perceptual(seen(x0)), self.sigma).clamp(0, 1)
            return normalize_max(anomaly_map(x, x0, s))

        return compare
