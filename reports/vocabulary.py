"""What is reported: every measure once, with its title, direction, unit and meaning; stages and limits besides.

Tables, the page, the CSV, comparisons and the README follow from here. A new score is one entry here and one scorer
in ``bench.score.scorers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from uadbench.reports.box_measures import BOX_MEASURES
from uadbench.reports.measure import Measure
from uadbench.reports.volume_measures import VOLUME_MEASURES

__all__ = [
    "FURTHER",
    "HEADLINE",
    "HEADLINES",
    "LOAD_LIMIT",
    "MEASURES",
    "RANKED",
    "SCORES",
    "SIZE_NAMES",
    "STAGES",
    "TABLE",
    "TERMS",
    "VOLUMES",
    "Measure",
]


SIZE_NAMES = ("small", "medium", "large")
"""The papers' groups of lesions by size; their bounds are in ``datasets.case``."""

_SIZE = (
    "The same within one group of lesion sizes at 128 × 128: small 4 to 71, medium 72 to 570, large above 570 px (no "
    "upper limit); lesions of 3 pixels or fewer are left out."
)
_OWN_SCALE = (
    "THOR and AutoDDPM scale each map by the image itself, as published, so levels are not comparable between "
    "images"
)

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "dice_max",
            "Max Dice",
            "Dice",
            "Ours: one Dice over all pixels of all lesion images pooled, whatever their size, at the best of the "
            "thresholds 0, 0.01, .. 1. It knows the truth and so is an upper bound.",
        ),
        Measure(
            "dice_average",
            "Average Dice",
            "avg.",
            "The papers' 'Average': the mean of the size groups' max Dice, weighted by their numbers of cases.",
        ),
        Measure(
            "dice_average_papers",
            "Average, papers' weights",
            "avg.p",
            "The same weighted as the papers' cases are spread (0.471 small, 0.381 medium, 0.147 large), whatever "
            "the data's own spread; none where a group is empty.",
        ),
        *(
            Measure(f"dice_{size}", size.capitalize(), size if len(size) < 6 else f"{size[:3]}.", _SIZE)
            for size in SIZE_NAMES
        ),
        Measure("auprc", "AUPRC", "AUPRC", "Average precision over the pooled pixels."),
        Measure(
            "dice_healthy_fpr5",
            "Dice at 5 % FPR, image",
            "Dice5",
            "Pooled Dice at the threshold that 5 % of all pixels of healthy validation slices exceed, background "
            f"counted (that is 9 to 10 % of the head's pixels): no truth needed. {_OWN_SCALE} and one fixed threshold "
            "does not suit them.",
        ),
        Measure(
            "dice_healthy_fpr5_head",
            "Dice at 5 % FPR, head",
            "Dice5h",
            "The same at the threshold that 5 % of the head's pixels of healthy validation slices exceed; the head is "
            "what is brighter than 0.1 in the input, with what that encloses.",
        ),
        Measure(
            "auroc_image",
            "AUROC",
            "AUROC",
            "Of whole images, healthy against lesion, by the mean of the map's top 1 % of pixels: the chance that a "
            "lesion image scores higher.",
            truth="any",
        ),
        Measure(
            "dice_max_exact",
            "Max Dice, all thresholds",
            "",
            "As max Dice, at the best of all distinct values of the maps instead of 101 fixed thresholds.",
            place="further",
            ranked=False,
        ),
        Measure(
            "dice_case",
            "Dice a case",
            "",
            "Mean over lesion cases of each case's Dice at the 5 % threshold.",
            place="further",
            ranked=False,
        ),
        Measure(
            "fpr_healthy_test",
            "Healthy FPR, image",
            "",
            "Share of all pixels of healthy test slices, background counted, above the image's 5 % threshold; 5 % "
            "where it carries over.",
            better=-1,
            place="further",
            ranked=False,
            truth="any",
        ),
        Measure(
            "fpr_healthy_test_head",
            "Healthy FPR, head",
            "",
            "Share of the head's pixels of healthy test slices above the head's 5 % threshold.",
            better=-1,
            place="further",
            ranked=False,
        ),
        Measure(
            "ssim_healthy",
            "SSIM",
            "",
            "Structural similarity of healthy test slices and their reconstructions.",
            unit="",
            digits=3,
            place="further",
            ranked=False,
            truth="any",
        ),
        Measure(
            "psnr_healthy",
            "PSNR dB",
            "",
            "Peak signal-to-noise ratio of healthy test slices' reconstructions.",
            unit="dB",
            place="further",
            ranked=False,
            truth="any",
        ),
        Measure(
            "lpips_healthy",
            "LPIPS",
            "",
            "Perceptual distance of healthy test slices and their reconstructions, by the run's first perceptual net.",
            better=-1,
            unit="",
            digits=3,
            place="further",
            ranked=False,
            truth="any",
        ),
        Measure(
            "dice_fitted",
            "Dice at the fitted threshold",
            "",
            "Of post-processed maps: pooled Dice at the threshold that gives the best on validation lesions, "
            "components of fewer than component_px pixels (7) removed; no test case touches the threshold.",
            place="further",
            ranked=False,
            optional=True,
        ),
        Measure(
            "precision_fitted",
            "Precision there",
            "",
            "Share of the pixels found at the fitted threshold that are lesion, pooled over lesion cases.",
            place="further",
            ranked=False,
            optional=True,
        ),
        Measure(
            "recall_fitted",
            "Recall there",
            "",
            "Share of the lesion pixels found at the fitted threshold, pooled over lesion cases.",
            place="further",
            ranked=False,
            optional=True,
        ),
        *BOX_MEASURES,
        *VOLUME_MEASURES,
    )
}
"""Every score, in the order of the columns."""

HEADLINE = MEASURES["dice_max"]
"""The score that methods are compared by first, where the truth is masks."""

HEADLINES = {"mask": HEADLINE, "boxes": MEASURES["box_f1"]}
"""The same by the data set's truth."""


class _Names(Sequence[str]):
    """Names of the measures that are so, of those that another package adds, too."""

    def __init__(self, are_so: Callable[[Measure], bool]) -> None:
        self._are_so = are_so

    def _now(self) -> list[str]:
        return [name for name, measure in MEASURES.items() if self._are_so(measure)]

    def __getitem__(self, index: Any) -> Any:
        return self._now()[index]

    def __len__(self) -> int:
        return len(self._now())

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __contains__(self, name: object) -> bool:
        return name in self._now()


SCORES: Sequence[str] = _Names(lambda measure: True)
TABLE: Sequence[str] = _Names(lambda measure: measure.place == "table")
FURTHER: Sequence[str] = _Names(lambda measure: measure.place == "further")
VOLUMES: Sequence[str] = _Names(lambda measure: measure.place == "volumes")
RANKED: Sequence[str] = _Names(lambda measure: measure.ranked)

STAGES = ("network", "update", "noise", "perceptual", "morphology", "transfers", "other")
"""What a method's time is charged to; every moment belongs to exactly one."""

LOAD_LIMIT = 1.2
"""Load average over threads in use, above which latencies deserve no trust."""

TERMS: tuple[tuple[str, str], ...] = (
    (
        "Intervals",
        "95 %, bootstrap over subjects, none for fewer than 10; the healthy threshold is held fixed in resampling. Of "
        "one row: whether two rows differ is for the ranks to say.",
    ),
    (
        "Seeds",
        "Of the noise only. The variance over training seeds is not covered: there is one network for each kind of "
        "noise, and neither intervals nor ranks nor the spread over noise seeds hold what another training would give.",
    ),
    ("NFE", "Network calls a case, counted from outside the method."),
    (
        "ms/image",
        "Milliseconds an image by the host's clock, a case's share of its batch; first call and warm-up kept apart. "
        "A batch is one measurement: p90 only from 29 timed batches, p95 from 59, p99 from 299.",
    ),
    (
        "Speed-up",
        "Median latency of the same method on torch fp32 in the same run, divided by the cell's. Shown only where "
        "parity passed.",
    ),
    (
        "Parity",
        "Network, trajectory and scores held against torch fp32 on the same cases and the same noise; not judged "
        "where the run has no torch fp32 cell of the method.",
    ),
    (
        "AutoDDPM",
        "The threshold of its mask is fitted so that the mask covers 90 % of the pixels of the validation lesions, "
        "where the data set has some (a note below the table says what was reached, and how much of an image the mask "
        "covers); else the mask is each image's own top 5 %.",
    ),
    (
        "Floors",
        "Trivial maps with no diffusion model. A method below the best of them is not worth its cost. "
        "Zscore, intensity, asymmetry and the product of the last two are told whether lesions are bright or dark, and "
        "residual-median-fitted where validation lesions choose so; all "
        "but the two blurs are smoothed (sigma 1.5 px, fitted ones by their own). Of the methods Mend alone is told, "
        "and smooths so; the others get neither.",
    ),
)
"""What else stands in tables, explained."""
