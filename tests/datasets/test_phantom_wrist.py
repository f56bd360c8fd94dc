"""The synthetic wrists: the same everywhere, boxes exact, healthy ones without."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from uadbench.datasets import DATASETS
from uadbench.datasets.case import Case, CaseError
from uadbench.datasets.deform import case_rng
from uadbench.datasets.phantom_wrist import GENERATOR, generate
from uadbench.datasets.wrist_anatomy import draw_wrist
from uadbench.datasets.wrist_anomalies import KINDS, VISIBLE, compose


@pytest.fixture(scope="module")
def wrists():
    return DATASETS["phantom-wrist"](None, 0, None)


def test_the_counts_and_that_no_subject_is_in_two_splits(wrists) -> None:
    counts = {
        split: (sum(not c.lesion for c in wrists.split(split)), sum(c.lesion for c in wrists.split(split)))
        for split in ("train", "val", "test")
    }
    assert counts == {"train": (64, 0), "val": (8, 5), "test": (8, 30)}
    assert len({case.subject for case in wrists.cases}) == len(wrists.cases)
    assert (wrists.truth, wrists.n_test) == ("boxes", 38)


def test_every_prefix_of_the_test_cases_has_all_kinds_and_more_may_be_asked_for() -> None:
    few = DATASETS["phantom-wrist"](None, 0, 8).split("test")
    kinds = [case.case_id.rsplit("-", 1)[1] for case in few]
    assert set(KINDS) <= set(kinds)
    assert "healthy" in kinds
    assert len(few) == 8
    assert len(DATASETS["phantom-wrist"](None, 0, 50).split("test")) == 50


@pytest.mark.parametrize("kind", [None, *KINDS])
def test_a_case_keeps_the_contract_and_has_its_kind(wrists, kind: str | None) -> None:
    case = next(c for c in wrists.split("test") if c.case_id.endswith(kind or "healthy"))
    sample = wrists.load(case)
    assert sample.image.shape == (128, 128)
    assert sample.image.dtype == np.float32
    assert sample.image.min() >= 0
    assert sample.image.max() == 1
    assert not sample.mask.any()
    assert sample.boxes is not None
    labels = [box.label for box in sample.boxes]
    assert kind in labels if kind else not labels
    for box in sample.boxes:
        assert 0 <= box.top < box.bottom <= 128
        assert 0 <= box.left < box.right <= 128


def test_the_same_case_has_the_same_bytes_whatever_was_drawn_before(wrists) -> None:
    case = wrists.split("test")[3]
    first = wrists.load(case).image.tobytes()
    wrists.load(wrists.split("test")[0])
    assert DATASETS["phantom-wrist"](None, 99, 5).load(case).image.tobytes() == first
    other = DATASETS["phantom-wrist"](None, 0, None).load(wrists.split("test")[8]).image.tobytes()
    assert hashlib.sha256(other).digest() != hashlib.sha256(first).digest()


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_box_holds_every_pixel_that_is_changed_and_touches_one_on_each_side(kind: str) -> None:
    for number in range(4):
        wrist = draw_wrist(case_rng("test", number))
        healthy, none = compose(wrist, (), case_rng("test", number, kind))
        changed, ((label, top, left, bottom, right),) = compose(
            wrist, (kind,), case_rng("test", number, kind)
        )
        there = np.abs(changed - healthy) > VISIBLE
        assert (label, none) == (kind, [])
        assert there[top:bottom, left:right].sum() == there.sum() > 0
        for side in (there[top, :], there[bottom - 1, :], there[:, left], there[:, right - 1]):
            assert side.any()


def test_a_case_with_an_anomaly_is_the_healthy_case_of_its_name_with_it_put_in() -> None:
    healthy, _ = generate(3, "a")
    sick, boxes = generate(3, "a", "foreignbody")
    assert GENERATOR
    assert healthy.shape == sick.shape
    outside = np.ones(healthy.shape, dtype=bool)
    for _, top, left, bottom, right in boxes:  # blur and scatter reach a little farther than a box
        outside[max(0, top - 8) : bottom + 8, max(0, left - 8) : right + 8] = False
    assert np.abs(healthy - sick)[outside].max() < 0.02 < np.abs(healthy - sick).max()


def test_wrists_differ_from_each_other(wrists) -> None:
    images = [wrists.load(case).image for case in wrists.split("train")[:6]]
    assert min(np.abs(a - b).mean() for a, b in pairwise(images)) > 0.02


def test_training_images_are_of_a_population_of_their_own(wrists) -> None:
    images = wrists.training_slices()
    first, second = next(images), next(images)
    assert first.shape == (128, 128)
    assert first.min() >= 0
    assert first.max() == 1
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, wrists.native(wrists.split("train")[0]))


def test_a_case_that_is_none_is_refused() -> None:
    with pytest.raises(CaseError, match="no wrist phantom"):
        DATASETS["phantom-wrist"](None, 0, None).load(Case("x", "x", "test", True))
