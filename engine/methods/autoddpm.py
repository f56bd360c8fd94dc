"""AutoDDPM: automatic masking, stitching and re-sampling (Bercea et al. 2023, arXiv 2305.19643)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from uadbench.engine.anomaly import binarize, normalize_percentile, residual
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.methods.ddpm import reverse

__all__ = ["AutoDDPM"]

DILATION = 3  # of the mask, pixels


@dataclass(frozen=True)
class AutoDDPM:
    """A first reconstruction finds a generous mask; only what lies inside is then in-painted, in its context.

    t_start : level of the first reconstruction (section 3.1)
    steps : its network calls; None visits every level, as the paper does
    t_stitch : level at which stitching starts (section 3.2)
    stitch_steps : levels visited from there; None visits every one
    rounds : re-sampling rounds at each of them (section 3.3)
    threshold : of the mask; None = fitted to ``recall`` on validation lesions, or where there are none each map's own
        percentile
    recall : share of the validation lesions' pixels that a fitted mask covers, at least; high, because what the mask
        leaves out is lost (section 3.1)
    percent : the percentile of the fallback; it covers only about half of a large lesion
    """

    t_start: int = 200
    steps: int | None = 20
    t_stitch: int = 50
    stitch_steps: int | None = 5
    rounds: int = 5
    threshold: float | None = None
    recall: float = 0.9
    percent: float = 95.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}; at least 1 is needed")
        if not 0 < self.recall <= 1:
            raise ValueError(f"recall is {self.recall}; a share above 0 and up to 1 is needed")

    @classmethod
    def preset(cls, noise: str) -> AutoDDPM:
        """The same levels for either noise: the paper gives none for simplex."""
        return cls()

    def respaced(self, steps: int | None) -> AutoDDPM:
        """The same with so many calls for the first reconstruction and a quarter as many levels of stitching."""
        return replace(self, steps=steps, stitch_steps=None if steps is None else max(1, steps // 4))

    def wants_fit(self) -> bool:
        """Whether the mask's threshold is open."""
        return self.threshold is None

    def evidence(self, x: Tensor, tools: Tools) -> Tensor:
        """The first map, dilated as the mask is: a dilated mask is the dilated map above the same threshold."""
        return tools.dilate(self._first(x, tools)[1], DILATION)

    def fit(self, evidence: Tensor, lesions: Tensor) -> tuple[AutoDDPM, Mapping[str, float]]:
        """The highest threshold whose masks cover ``recall`` of the lesions' pixels; see ``Fitting.fit``."""
        inside = evidence[lesions].sort().values
        needed = math.ceil(self.recall * len(inside))
        lowest = float(inside[len(inside) - needed])
        threshold = max(0.0, float(np.nextafter(np.float32(lowest), np.float32(-1))))
        covered = evidence > threshold
        record = {
            "threshold": threshold,
            "recall": float(covered[lesions].float().mean()),
            "share_of_image": float(covered.float().mean()),
        }
        return replace(self, threshold=threshold), record

    def _first(self, x: Tensor, tools: Tools) -> tuple[Tensor, Tensor]:
        """The first reconstruction and its map."""
        x_t = tools.add_noise(x, self.t_start, tools.noise(self.t_start))
        first = reverse(x_t, tools, self.t_start, self.steps).clamp(-1, 1)
        return first, normalize_percentile(residual(x, first), 95) * tools.against(x)(first)

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        # 3.1 Masking.
        first, m = self._first(x, tools)
        percent = None if self.threshold is not None else self.percent
        mask = tools.dilate(binarize(m, self.threshold, percent), DILATION)
        # 3.2 Stitching: input outside the mask, reconstruction inside.
        x_t = tools.add_noise(first, self.t_stitch, tools.noise(self.t_stitch))
        for t, t_prev in tools.schedule.pairs(self.t_stitch, self.stitch_steps):
            # 3.3 Re-sampling: denoise, stitch, and noise again, so that both parts come to fit.
            for remaining in reversed(range(self.rounds)):
                unknown, _ = tools.reverse(x_t, t, t_prev)
                known = tools.add_noise(x, t_prev, tools.noise(t_prev))
                x_t = mask * unknown + (1 - mask) * known
                if remaining:
                    x_t = tools.diffuse(x_t, t_prev, t)
        x_rec = x_t.clamp(-1, 1)
        return Result(residual(x, x_rec) * m, x_rec, {"first": first, "mask": mask, "map_first": m})
