"""AnoDDPM (Wyatt et al. 2022, doi:10.1109/CVPRW56347.2022.00080): partial diffusion with simplex noise.

The loop is DDPM's; what makes it AnoDDPM is the noise, in training and in sampling, and so the lower start level.
"""

from __future__ import annotations

from dataclasses import dataclass

from uadbench.engine.methods.ddpm import DDPM

__all__ = ["AnoDDPM"]


@dataclass(frozen=True)
class AnoDDPM(DDPM):
    """DDPM started from simplex noise at level 250."""

    t_start: int = 250
