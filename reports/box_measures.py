"""The measures of data sets whose truth is boxes; part of the vocabulary."""

from __future__ import annotations

from uadbench.reports.measure import Measure

__all__ = ["BOX_MEASURES"]

_RATES = ("0.125", "0.25", "0.5", "1", "2", "4", "8")
"""False positives an image of the FROC curve, as they are named."""

BOX_MEASURES = (
    Measure(
        "box_f1",
        "Box F1",
        "F1",
        "Mean over images with boxes of 2 found / (found + boxes + false positives), at the threshold that 5 % of all "
        "pixels of healthy validation images exceed. A box is found where more than 10 % of it is above; false "
        "positives are connected components above of which 10 % or less lies in boxes, at most 10 an image.",
        truth="boxes",
    ),
    Measure(
        "box_f1_papers",
        "Box F1, authors' count",
        "F1p",
        "The same with THOR's authors' count of false positives: how many whole times the pixels above outside all "
        "boxes outweigh those inside, at most 10 an image.",
        truth="boxes",
    ),
    Measure(
        "box_recall",
        "Box recall",
        "rec.",
        "Mean over images with boxes of the share of the image's boxes that are found, at the same threshold. A map "
        "that is high everywhere finds all.",
        truth="boxes",
    ),
    Measure(
        "box_precision",
        "Box precision",
        "prec.",
        "Mean over images with boxes of found / (found + false positives), 0 where there are neither.",
        truth="boxes",
    ),
    Measure(
        "froc_mean",
        "FROC",
        "FROC",
        "Mean share of boxes found at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image, healthy images counted.",
        truth="boxes",
    ),
    *(
        Measure(
            f"froc_{rate}".replace(".", "_"),
            f"Found at {rate} FP",
            "",
            "Share of all boxes found at the lowest level with no more than so many false positives an image; "
            "candidates are the components above the 5 % threshold, each with its highest value.",
            place="further",
            ranked=False,
            truth="boxes",
        )
        for rate in _RATES
    ),
    Measure(
        "box_false_positives",
        "False positives",
        "",
        "False components an image at the 5 % threshold, healthy images counted, without a limit.",
        better=-1,
        unit="",
        digits=2,
        place="further",
        ranked=False,
        truth="boxes",
    ),
)
