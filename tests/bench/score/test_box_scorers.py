"""Scores of boxes over cases, by hand; which measures a data set has."""

from __future__ import annotations

import json

import numpy as np
import pytest

from uadbench.bench.score.cases import Scored
from uadbench.bench.score.scorers import SCORERS
from uadbench.bench.score.summary import score_differences, summarize
from uadbench.datasets.case import Box
from uadbench.reports.vocabulary import MEASURES

SIZE = 20
FRACTURE, METAL = Box("fracture", 2, 2, 6, 6), Box("metal", 10, 10, 14, 14)
EMPTY = np.zeros((SIZE, SIZE), dtype=bool)


def case(name: str, boxes: tuple[Box, ...], *blobs: tuple[int, int, int, int, float]) -> Scored:
    anomaly = np.zeros((SIZE, SIZE), dtype=np.float32)
    for top, left, bottom, right, value in blobs:
        anomaly[top:bottom, left:right] = value
    return Scored(name, name, bool(boxes), anomaly, EMPTY, boxes=boxes)


def healthy_val() -> list[Scored]:
    """400 pixels, 20 of them 1, the rest 0: the 5 % threshold is 0."""
    return [case("val", (), (0, 0, 1, 20, 1.0))]


def images() -> list[Scored]:
    return [
        case("both", (FRACTURE, METAL), (2, 2, 6, 6, 5.0), (18, 18, 20, 20, 3.0)),  # one of two, one false
        case("metal", (METAL,), (10, 10, 14, 14, 4.0)),  # perfect
        case("missed", (FRACTURE,), (0, 10, 1, 12, 2.0), (18, 0, 19, 1, 1.0)),  # none, two false
        case("healthy", (), (5, 5, 6, 6, 1.5)),
    ]


def test_the_scores_are_means_over_images_with_boxes() -> None:
    found = summarize(images(), healthy_val(), seed=0, n_boot=50)
    values = {name: found[name]["value"] for name in SCORERS if name in found}
    assert found["box_f1"]["threshold"] == 0
    assert values["box_recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert values["box_precision"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert values["box_f1"] == pytest.approx((2 / 4 + 1 + 0) / 3)
    # by the authors' count: 4 // 16 = 0 false in "both", 3 // 1 = 3 in "missed"
    assert values["box_f1_papers"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert values["box_false_positives"] == pytest.approx((1 + 0 + 2 + 1) / 4)
    # levels 5 | 4 | 3 false | 2 false | 1.5 false | 1 false: two of four boxes before any false positive
    assert values["froc_0_125"] == values["froc_mean"] == values["froc_8"] == 0.5
    assert found["froc_curve"] == {
        "false_positives": [0, 0, 0.25, 0.5, 0.75, 1],
        "sensitivity": [0.25, 0.5, 0.5, 0.5, 0.5, 0.5],
    }


def test_a_class_is_scored_on_the_images_that_have_it() -> None:
    classes = summarize(images(), healthy_val(), seed=0, n_boot=50)["by_class"]
    assert {name: (entry["n_boxes"], entry["n_images"]) for name, entry in classes.items()} == {
        "fracture": (2, 2),
        "metal": (2, 2),
    }
    assert classes["fracture"]["recall"]["value"] == pytest.approx((1 + 0) / 2)
    assert classes["metal"]["recall"]["value"] == pytest.approx((0 + 1) / 2)
    assert classes["fracture"]["f1"]["value"] == pytest.approx((2 / 3 + 0) / 2)
    assert classes["fracture"]["f1_papers"]["value"] == pytest.approx((1 + 0) / 2)
    assert classes["fracture"]["recall"]["lo"] is None  # two subjects give no interval


def test_boxes_get_the_measures_of_boxes_and_none_of_masks_and_masks_the_reverse() -> None:
    found = summarize(images(), healthy_val(), seed=0, n_boot=20)
    assert {name for name in MEASURES if name in found} == {
        name for name, measure in MEASURES.items() if measure.truth in ("boxes", "any")
    }
    assert found["truth"] == "boxes"
    assert "pr_curve" not in found
    mask = EMPTY.copy()
    mask[2:6, 2:6] = True
    maps = [
        Scored("a", "a", True, images()[0].anomaly, mask),
        Scored("h", "h", False, images()[3].anomaly, EMPTY),
    ]
    plain = summarize(maps, [Scored("v", "v", False, images()[3].anomaly, EMPTY)], seed=0, n_boot=20)
    assert not {name for name, measure in MEASURES.items() if measure.truth == "boxes"} & set(plain)
    assert not {"truth", "by_class", "froc_curve"} & set(plain)


def test_each_case_keeps_what_was_found_of_it_and_all_of_it_is_json() -> None:
    found = summarize(images(), healthy_val(), seed=0, n_boot=20)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["per_case"]["both"] == {
        "boxes": ["fracture", "metal"],
        "found": [True, False],
        "false_positives": 1,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "score": found["per_case"]["both"]["score"],
    }
    assert found["per_case"]["healthy"]["f1"] is None


def test_without_a_healthy_case_there_is_no_threshold_and_no_number_is_made_up() -> None:
    found = summarize(images(), [], seed=0, n_boot=20)
    assert found["box_f1"] == {"value": None, "lo": None, "hi": None, "threshold": None}
    assert found["froc_mean"]["value"] is None
    assert found["froc_curve"]["sensitivity"] == []
    assert found["by_class"]["metal"]["recall"]["value"] is None
    assert found["per_case"]["both"]["found"] is None


def test_the_interval_is_the_bootstrap_of_the_images_values() -> None:
    cases = [case(f"c{i}", (METAL,), *([(10, 10, 14, 14, 1.0)] if i < 6 else [])) for i in range(12)]
    found = summarize(cases, healthy_val(), seed=0, n_boot=2000)["box_recall"]
    draws = np.random.default_rng(1).binomial(12, 0.5, 100_000) / 12
    assert found["value"] == 0.5
    assert (found["lo"], found["hi"]) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=1 / 12)


def test_two_methods_are_compared_on_the_same_images() -> None:
    better = [case(c.case_id, c.boxes or (), *[(b.top, b.left, b.bottom, b.right, 1.0) for b in c.boxes or ()])
              for c in images()]  # fmt: skip
    thresholds = summarize(images(), healthy_val(), seed=0, n_boot=20)["box_f1"]["threshold"]
    from uadbench.bench.score.cases import Thresholds

    both = (Thresholds(thresholds), Thresholds(thresholds))
    change = score_differences(["box_f1", "dice_max"], images(), better, 0, 50, both)
    assert change["dice_max"] is None  # masks have it, boxes do not
    assert change["box_f1"] is not None
    assert change["box_f1"].value == pytest.approx(1 - 0.5)


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        pytest.param(
            [case("a", (METAL,)), Scored("b", "b", False, images()[3].anomaly, EMPTY)], "mask", id="mixed"
        ),
        pytest.param([Scored("a", "a", True, images()[0].anomaly, EMPTY, boxes=())], "0 boxes", id="no box"),
        pytest.param(
            [Scored("a", "a", False, images()[0].anomaly, EMPTY, boxes=(METAL,))], "healthy", id="healthy"
        ),
    ],
)
def test_a_case_whose_boxes_contradict_it_is_refused(cases: list[Scored], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarize(cases, [], seed=0, n_boot=10)
