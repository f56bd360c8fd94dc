"""FROC against hand-made maps, and against counting again at every level."""

from __future__ import annotations

import numpy as np
import pytest

from uadbench.bench.score.boxes import components, filled, is_false
from uadbench.bench.score.froc import RATES, Events, curve, events_of, join, sensitivities
from uadbench.datasets.case import Box

BOXES = [Box("a", 2, 2, 6, 6), Box("b", 10, 10, 14, 14)]  # 16 pixels each: found from 2 pixels on


def one_image() -> Events:
    """Box a found at level 5, b by 3 + 2 pixels at level 2; false ones at 4 and 3; all above the threshold 1."""
    anomaly = np.zeros((20, 20), dtype=np.float32)
    anomaly[3:5, 3:5] = 5
    anomaly[10, 10], anomaly[13, 13] = 6, 2  # one pixel of 16 is too few, two are enough
    anomaly[0, 19], anomaly[19, 0], anomaly[17, 17] = 4, 3, 1
    return events_of(anomaly, BOXES, 1.0)


def test_the_events_of_an_image_are_the_levels_at_which_things_begin_to_count() -> None:
    events = one_image()
    assert events.box.tolist() == [5, 2]
    assert sorted(events.false.tolist()) == [3, 4]


def test_a_box_that_candidates_never_cover_is_never_found() -> None:
    anomaly = np.zeros((20, 20), dtype=np.float32)
    anomaly[3, 3] = 9
    events = events_of(anomaly, BOXES[:1], 1.0)
    assert events.box.tolist() == [-np.inf]
    assert events.false.size == 0  # all of the candidate lies in the box
    assert sensitivities(events, np.ones((1, 1))).tolist() == [[0.0] * len(RATES)]


def test_the_curve_and_its_values_at_rates() -> None:
    events = join([one_image(), events_of(np.zeros((20, 20), np.float32), (), 1.0)])  # and a healthy image
    assert curve(events, 2) == ([0, 0.5, 1, 1], [0.5, 0.5, 0.5, 1])
    found = sensitivities(events, np.ones((1, 2)), [0.0, 0.25, 0.5, 0.99, 1, 8])
    assert found.tolist() == [[0.5, 0.5, 0.5, 0.5, 1, 1]]


def test_a_healthy_image_halves_the_rate_of_false_positives() -> None:
    healthy = np.zeros((20, 20), dtype=np.float32)
    healthy[8, 8] = 4.5
    alone, both = (
        join([one_image()]),
        join([one_image(), events_of(healthy, (), 1.0)]),
    )
    assert curve(alone, 1)[0] == [0, 1, 2, 2]
    assert curve(both, 2)[0] == [0, 0.5, 1, 1.5, 1.5]


def test_a_map_that_is_high_everywhere_has_a_false_positive_and_finds_everything_only_with_it() -> None:
    events = join([events_of(np.full((20, 20), 3, np.float32), BOXES, 1.0)])
    assert sensitivities(events, np.ones((1, 1)), [0.5, 1]).tolist() == [[0.0, 1.0]]


def test_a_resample_is_the_same_as_repeating_its_cases() -> None:
    rng = np.random.default_rng(0)
    parts = [events_of(rng.random((20, 20)).astype(np.float32), BOXES[: i % 3], 0.9) for i in range(6)]
    drawn = np.array([2, 0, 1, 3, 0, 0])
    repeated = join([part for part, n in zip(parts, drawn, strict=True) for _ in range(n)])
    wanted = sensitivities(repeated, np.ones((1, int(drawn.sum()))))
    assert sensitivities(join(parts), drawn[None].astype(float)).tolist() == wanted.tolist()
    none = np.array([[1.0, 0, 0, 1, 0, 0]])  # images without a box alone
    assert np.isnan(sensitivities(join(parts), none)).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_counting_again_at_every_level(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = [np.round(rng.random((20, 20)), 2).astype(np.float32) for _ in range(4)]  # with ties
    boxes = [BOXES, BOXES[:1], [], BOXES[1:]]
    events = join([events_of(m, b, 0.8) for m, b in zip(maps, boxes, strict=True)])
    levels = np.unique(np.concatenate(maps))[::-1]
    false, found = (np.array(values) for values in zip(*(_at(maps, boxes, v) for v in levels), strict=True))
    for rate in (0.25, 0.5, 1, 2, 4):
        within = false <= rate * len(maps)
        wanted = found[within].max() / 4 if within.any() else 0.0
        assert sensitivities(events, np.ones((1, 4)), [rate])[0, 0] == pytest.approx(wanted)


def _at(maps: list, boxes: list, level: float) -> tuple[int, int]:
    """(false candidates, boxes found) with the candidates above 0.8 of which some pixel reaches the level."""
    false = found = 0
    for anomaly, truth in zip(maps, boxes, strict=True):
        labels, count = components(anomaly > np.float32(0.8))
        kept = [k for k in range(1, count + 1) if anomaly[labels == k].max() >= level]
        wrong = is_false(labels, count, filled(truth, anomaly.shape))
        false += sum(bool(wrong[k - 1]) for k in kept)
        found += sum(10 * np.isin(labels[box.where], kept).sum() > labels[box.where].size for box in truth)
    return false, found
