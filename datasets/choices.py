"""Choices behind the name of a data set of volumes, by name: several slices a volume, and what scales grey values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uadbench.datasets.volumes import BRAIN, Measured

__all__ = ["INNER_MM", "LEAST_TISSUE", "SCALINGS", "SEVERAL", "Scaling", "Several"]

LEAST_TISSUE = 0.25  # of the tissue of the volume's fullest slice; what has less is left out of "all"
INNER_MM = 100  # of the brain's height that pDDPM and cDDPM keep: 80 slices of 2 mm but 15 at each end


@dataclass(frozen=True)
class Several:
    """A choice of several slices a volume.

    title : in words, as a data set's title has it; caveat : in a sentence without its end, for reports
    positions : of the slices, from the lowest
    record : what else the run's manifest holds of it, as plain values
    """

    title: str
    caveat: str
    positions: Callable[[Measured], list[int]]
    record: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Scaling:
    """Which grey values become 0 and 1.

    title : by what, in words
    window : both, of a volume; None where each slice has its own
    record : as ``Several.record``
    """

    title: str
    window: Callable[[Measured], tuple[float, float] | None]
    record: Mapping[str, object] = field(default_factory=dict)


def full(measured: Measured) -> list[int]:
    """The slices with at least LEAST_TISSUE of the fullest one's."""
    least = LEAST_TISSUE * max(measured.tissue)
    return [z for z, tissue in enumerate(measured.tissue) if tissue >= least]


def inner(measured: Measured) -> list[int]:
    """The slices in the middle INNER_MM of those with tissue, all of these where they are fewer."""
    held = [z for z, tissue in enumerate(measured.tissue) if tissue]
    count = max(1, round(INNER_MM / measured.spacing[2]))
    first = (held[0] + held[-1] + 1 - count) / 2
    return [z for z in range(held[0], held[-1] + 1) if first <= z < first + count]


SEVERAL: Mapping[str, Several] = {
    "all": Several(
        "all slices with tissue",
        f"All slices with at least {100 * LEAST_TISSUE:g} % of the tissue of their volume's fullest slice",
        full,
    ),
    "behrendt": Several(
        f"slices of the brain's middle {INNER_MM} mm",
        f"Slices of the middle {INNER_MM} mm of each brain, as pDDPM and cDDPM have them",
        inner,
        {"slices_mm": INNER_MM},
    ),
}
SCALINGS: Mapping[str, Scaling] = {
    "slice": Scaling("slice", lambda measured: None),
    "volume": Scaling("volume", lambda measured: measured.window),
    "volume-brain": Scaling(
        "the volume's brain", lambda measured: measured.brain, {"brain_percentiles": list(BRAIN)}
    ),
}
