"""Single lesions of a volume, and how far what is found lies from them.

Lesions are counted as the WMH challenge 2017 counts them: connected components in three dimensions, all 26 neighbours
connected. Distances are MONAI's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEEDS_MONAI", "Objects", "count_objects", "surface_distances", "surfaces_known"]

NEEDS_MONAI = (
    "no surface distances, as MONAI is not installed: `pip install 'uadbench[volumes]'`, then `bench rescore`"
)

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Objects:
    """One volume with lesion at one threshold.

    lesions, found : its lesions, and those of which any voxel is above
    components, true : components of what is above, and those that touch a lesion
    hausdorff95, surface_distance : mm; None where the spacing is unknown or MONAI is not installed
    """

    lesions: int
    found: int
    components: int
    true: int
    hausdorff95: float | None = None
    surface_distance: float | None = None

    @property
    def recall(self) -> float:
        """The share of lesions found."""
        return self.found / self.lesions

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and the share of components that are true; 0 where nothing is found."""
        precision = self.true / self.components if self.components else 0.0
        total = precision + self.recall
        return 2 * precision * self.recall / total if total else 0.0


def count_objects(above: Mask, truth: Mask, spacing: Spacing | None) -> Objects:
    """Count lesions and components and measure distances; above, truth : bool [D, H, W], truth with a voxel."""
    both = above & truth
    (lesions, found), (components, true) = (_touched(one, both) for one in (truth, above))
    distances = None if spacing is None else surface_distances(above, truth, spacing)
    return Objects(lesions, found, components, true, *(distances or (None, None)))


def _touched(volume: Mask, both: Mask) -> tuple[int, int]:
    """(components, those with a voxel of ``both``)."""
    from scipy.ndimage import label

    labels, count = label(volume, structure=np.ones((3, 3, 3), dtype=bool))
    return int(count), int(np.unique(labels[both]).size)


def surfaces_known() -> bool:
    """Whether MONAI is installed."""
    from importlib.util import find_spec

    return find_spec("monai") is not None


def surface_distances(above: Mask, truth: Mask, spacing: Spacing) -> tuple[float, float] | None:
    """(Hausdorff 95, average surface distance, both symmetric) in mm; None without MONAI.

    spacing : mm a voxel along the axes of the arrays
    Where nothing is above there is no surface: both are the volume's diagonal, which no distance exceeds.
    """
    if not surfaces_known():
        return None
    if not above.any():
        diagonal = float(np.linalg.norm(np.array(above.shape) * spacing))
        return diagonal, diagonal
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    found, lesion = (torch.from_numpy(one)[None, None] for one in (above, truth))
    like = {"include_background": True, "spacing": spacing}  # one channel, which is no background
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI's, of its own calls
        hausdorff = compute_hausdorff_distance(found, lesion, percentile=95, **like)
        average = compute_average_surface_distance(found, lesion, symmetric=True, **like)
    return float(hausdorff), float(average)
