"""What a precision may be off by, for all who judge it: `bench run`, `bench profile`, `bench export`, and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from uadbench.engine.backends.form import IN_8_BITS

__all__ = ["GATES", "Gates", "gates_of"]


@dataclass(frozen=True)
class Gates:
    """The most that passes, all against torch fp32.

    network : what one call's error does to the image, see ``parity.network_parity``. Measured: fp32 5e-7, fp16 4e-4,
        bf16 3e-3, int8 7e-3; a timestep that is off by one gives 2e-3, so the gates of fp32 and fp16 find it
    probability : difference of any pixel's probability, where a network gives its logit. At an even chance the mean of
        three factors that Mend takes moves by two thirds of it: by 3 % in bf16, as much as the image may. Measured on
        mend-unet: fp32 4e-6, fp16 1e-3, bf16 2e-2, int8 0.15
    trajectory : relative L2 of a chain's last image. With 25 steps: fp32 2e-7, fp16 2e-4, bf16 2e-3, int8 5e-3, off by
        one 2e-3
    scores : difference of a score, as a fraction: 1 and 2 points
    step : relative L2 of what an exported step of a chain gives
    features, distance : the same of the perceptual net's two files. It scales its features to unit length, which makes
        rounding of near-zero ones visible (bf16 9e-2 measured, and 1e-3 of the distance that is made of them)
    None is of what is not exported in that precision.
    """

    network: float
    probability: float
    trajectory: float
    scores: float
    step: float | None
    features: float | None
    distance: float | None


# Those in 8 bits have the gates of bf16 in every part: they may not be worse for whoever reads the scores.
GATES: Mapping[str, Gates] = MappingProxyType(
    {
        "fp32": Gates(1e-5, 2e-5, 1e-4, 0.01, step=1e-5, features=1e-4, distance=1e-4),
        "tf32": Gates(1.5e-3, 5e-3, 1e-3, 0.01, step=None, features=None, distance=None),  # fp16's mantissa
        "fp16": Gates(1.5e-3, 5e-3, 1e-3, 0.01, step=3e-3, features=3e-2, distance=3e-3),
        "bf16": Gates(3e-2, 5e-2, 2e-2, 0.02, step=3e-2, features=0.3, distance=3e-2),
        **dict.fromkeys(IN_8_BITS, Gates(3e-2, 5e-2, 2e-2, 0.02, step=None, features=None, distance=None)),
    }
)
"""By precision."""


def gates_of(precision: str) -> Gates:
    """Those of a precision; ValueError where it has none."""
    if precision not in GATES:
        raise ValueError(f"no parity gate is set for precision {precision!r}; there are {', '.join(GATES)}")
    return GATES[precision]
