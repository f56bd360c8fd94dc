"""The measures of whole volumes, where a run's cases are several slices of each; part of the vocabulary."""

from __future__ import annotations

from functools import partial

from uadbench.reports.measure import Measure

__all__ = ["VOLUME_MEASURES"]

_measure = partial(Measure, place="volumes", ranked=False, volumes=True)
_BEST = "at the threshold of the best mean Dice by volume, so the truth is known"

VOLUME_MEASURES = (
    _measure(
        "volume_dice_max",
        "Best Dice by volume",
        "v.Dice",
        "Mean over volumes with lesion of each volume's Dice, at the best of the thresholds 0, 0.01, .. 1, one for all "
        "volumes. An upper bound of the figure in the papers of pDDPM and cDDPM, whose threshold is from validation "
        "lesions.",
    ),
    _measure(
        "volume_dice_healthy_fpr5",
        "Dice by volume at 5 % FPR",
        "v.Dice5",
        "The same mean at the threshold that 5 % of all pixels of healthy validation slices exceed.",
    ),
    _measure(
        "volume_dice_fitted",
        "Dice by volume at the fitted threshold",
        "v.fit.",
        "Of post-processed maps: the same mean at the threshold that was fitted on slices with validation lesions, "
        "components of fewer than component_px voxels (7; 26 neighbours) removed from the volume. What pDDPM and cDDPM "
        "report.",
        optional=True,
    ),
    _measure(
        "volume_auprc",
        "AUPRC by volume",
        "v.AUPRC",
        "Mean over volumes with lesion of each volume's average precision, every distinct value a threshold.",
    ),
    _measure(
        "volume_lesion_f1",
        "Lesion F1",
        "les.F1",
        "Mean over volumes of the F1 of single lesions, as the WMH challenge counts them: recall of lesions, of which "
        f"any voxel is found, and share of found components that touch a lesion; {_BEST}.",
    ),
    _measure(
        "volume_lesion_recall",
        "Lesion recall",
        "les.rec.",
        "Mean over volumes of the share of lesions (components of 26 neighbours) of which any voxel is found, "
        f"{_BEST}. A map that is high everywhere finds all.",
    ),
    _measure(
        "volume_hausdorff95",
        "Hausdorff 95, mm",
        "HD95",
        "Mean over volumes of the larger of the two 95th percentiles of distances between the surfaces of what is "
        f"found and of the lesions, {_BEST}. Where nothing is found, the diagonal of the volume.",
        better=-1,
        unit="mm",
    ),
    _measure(
        "volume_surface_distance",
        "Surface distance, mm",
        "ASD",
        "Mean over volumes of the mean distance between these surfaces, of both directions together. Where nothing is "
        "found, the diagonal of the volume.",
        better=-1,
        unit="mm",
    ),
)
