"""Cases are chosen once, read once, and whatever breaks the contract is a reason in one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cells import SIZE, make_dataset
from support.stored import change_blob, stored

from uadbench.bench.plan.plan import choose_cases, spread
from uadbench.bench.run.fitting import lesions_to_fit
from uadbench.bench.run.inputs import Loader, healthy_median, in_batches, kept_healthy, mean_and_spread
from uadbench.datasets.case import Box, Case, Dataset, Sample
from uadbench.engine.interfaces import to_unit
from uadbench.reports.store import RunDirectory


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"image": np.full((SIZE, SIZE), np.nan, np.float32)}, "image holds NaN", id="NaN"),
        pytest.param({"image": np.full((SIZE, SIZE), 2, np.float32)}, "image values span 2 to 2", id="range"),
        pytest.param({"image": np.zeros((4, 4), np.float32)}, "must be of one size", id="mask size"),
        pytest.param(
            {"mask": np.ones((SIZE, SIZE), bool)}, "is called healthy, but its mask has 576", id="mask"
        ),
    ],
)
def test_a_sample_that_breaks_the_contract_is_a_reason_not_a_crash(
    tmp_path: Path, change: dict, reason: str
) -> None:
    whole = make_dataset()

    def load(case: Case) -> Sample:
        sample = whole.load(case)
        return dataclasses.replace(sample, **change) if case.case_id == "case6" else sample

    dataset = dataclasses.replace(whole, load=load)
    found = Loader(RunDirectory(tmp_path), dataset).read(dataset.split("test")[6])
    assert isinstance(found, str)
    assert reason in found


def test_a_data_set_of_others_may_raise_anything_and_no_folder_is_named(tmp_path: Path) -> None:
    def load(case: Case) -> Sample:
        raise ZeroDivisionError("in /home/anna/brains/x.png")

    dataset = dataclasses.replace(make_dataset(), load=load)
    assert Loader(RunDirectory(tmp_path), dataset).read(dataset.cases[0]) == "ZeroDivisionError: in x.png"


@pytest.mark.parametrize("content", [b"", b"{} torn", b"text"])
def test_a_damaged_input_is_read_again_from_the_data_set_and_kept(tmp_path: Path, content: bytes) -> None:
    dataset, run = make_dataset(), RunDirectory(tmp_path)
    case = dataset.split("test")[0]
    first = Loader(run, dataset).read(case)
    assert isinstance(first, Sample)
    whole = stored(tmp_path / "inputs")
    change_blob(tmp_path / "inputs", "case0", lambda blob: content)
    again = Loader(run, dataset).read(case)
    assert isinstance(again, Sample)
    np.testing.assert_array_equal(again.image, first.image)
    assert stored(tmp_path / "inputs") == whole


BOX = Box("metal", 2, 3, 8, 9)


def boxed(**change: object) -> Dataset:
    """The data set with a box for every lesion; change : of each sample."""
    whole = make_dataset()

    def load(case: Case) -> Sample:
        sample = whole.load(case)
        boxes = (BOX,) if case.lesion else ()
        return dataclasses.replace(sample, mask=np.zeros_like(sample.mask), boxes=boxes, **change)

    return dataclasses.replace(whole, load=load, truth="boxes")


def test_boxes_are_kept_with_the_input_and_read_from_there(tmp_path: Path) -> None:
    dataset, run = boxed(), RunDirectory(tmp_path)
    lesion = next(case for case in dataset.split("test") if case.lesion)
    healthy = next(case for case in dataset.split("test") if not case.lesion)
    for case in (lesion, healthy):
        Loader(run, dataset).read(case)

    def refuse(case: Case) -> Sample:
        raise AssertionError("read again")

    kept = Loader(run, dataclasses.replace(dataset, load=refuse))
    found, none = kept.read(lesion), kept.read(healthy)
    assert isinstance(found, Sample)
    assert isinstance(none, Sample)
    assert (found.boxes, none.boxes) == ((BOX,), ())


def test_an_input_that_was_kept_without_its_boxes_is_read_again(tmp_path: Path) -> None:
    dataset, run = boxed(), RunDirectory(tmp_path)
    case = next(case for case in dataset.split("test") if case.lesion)
    sample = dataset.load(case)
    run.write_input(case.case_id, sample.image, sample.mask)
    found = Loader(run, dataset).read(case)
    assert isinstance(found, Sample)
    assert found.boxes == (BOX,)
    assert run.read_boxes(case.case_id) == [dataclasses.astuple(BOX)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"boxes": ()}, "is called a lesion, but has 0 boxes", id="none"),
        pytest.param({"boxes": (Box("x", 0, 0, 0, 5),)}, "does not lie in the image", id="empty"),
        pytest.param({"boxes": (Box("x", 0, 0, 5, SIZE + 1),)}, "does not lie in the image", id="outside"),
        pytest.param({"mask": np.ones((SIZE, SIZE), bool)}, "a mask that is not empty", id="both"),
        pytest.param({"boxes": None}, "its truth is a mask, its data set's boxes", id="mask"),
    ],
)
def test_boxes_that_break_the_contract_are_a_reason(tmp_path: Path, change: dict, reason: str) -> None:
    whole = boxed()
    dataset = dataclasses.replace(whole, load=lambda case: dataclasses.replace(whole.load(case), **change))
    case = next(case for case in dataset.split("test") if case.lesion)
    found = Loader(RunDirectory(tmp_path), dataset).read(case)
    assert isinstance(found, str)
    assert reason in found


def test_nothing_is_fitted_on_boxes() -> None:
    assert lesions_to_fit(boxed()) == []


def test_the_median_is_of_healthy_training_slices_and_is_computed_once(tmp_path: Path) -> None:
    dataset, run = make_dataset(), RunDirectory(tmp_path)
    healthy = healthy_median(run, dataset)
    assert healthy.median is not None
    assert healthy.record == {"split": "train", "n": 3, "failed": []}
    images = np.stack([dataset.load(case).image for case in dataset.split("train")])
    np.testing.assert_allclose(to_unit(healthy.median)[0, 0].numpy(), np.median(images, axis=0), atol=1e-6)

    def refuse(case: Case) -> Sample:
        raise AssertionError("read again")

    again = healthy_median(run, dataclasses.replace(dataset, load=refuse))
    assert again.median is not None
    assert again.record == healthy.record
    assert torch.equal(again.median, healthy.median)


def test_the_mean_and_the_spread_are_those_of_the_same_slices_and_are_kept(tmp_path: Path) -> None:
    dataset, run = make_dataset(), RunDirectory(tmp_path)
    healthy = healthy_median(run, dataset)
    assert healthy.mean is not None
    assert healthy.spread is not None
    images = np.stack([dataset.load(case).image for case in dataset.split("train")]).astype(np.float64)
    np.testing.assert_allclose(to_unit(healthy.mean)[0, 0].numpy(), images.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(healthy.spread[0, 0].numpy(), images.std(axis=0), atol=1e-6)
    again = kept_healthy(run)
    assert again.spread is not None
    assert torch.equal(again.spread, healthy.spread)


def test_running_sums_keep_a_small_spread_beside_a_large_mean() -> None:
    images = [np.full((2, 2), 1e6, dtype=np.float64) + step for step in (0.0, 1e-3, 2e-3)]
    mean, spread = mean_and_spread(images)
    np.testing.assert_allclose(mean, 1e6 + 1e-3)
    np.testing.assert_allclose(spread, np.std([0.0, 1e-3, 2e-3]), rtol=1e-6)


def test_without_training_slices_validation_ones_serve_and_without_any_there_is_no_median(
    tmp_path: Path,
) -> None:
    dataset = make_dataset(train=0)
    healthy = healthy_median(RunDirectory(tmp_path / "a"), dataset)
    assert healthy.median is not None
    assert healthy.record == {"split": "val", "n": 3, "failed": []}
    only_test = dataclasses.replace(dataset, cases=dataset.split("test"))
    nothing = healthy_median(RunDirectory(tmp_path / "b"), only_test)
    assert nothing.median is None
    assert nothing.record == {"split": None, "n": 0, "failed": []}


@pytest.mark.parametrize(
    ("bad", "split", "n"),
    [
        pytest.param(("train1",), "train", 2, id="one"),
        pytest.param(("train0", "train1", "train2"), "val", 3, id="all training slices"),
    ],
)
def test_healthy_slices_that_cannot_be_read_are_counted_and_named(
    tmp_path: Path, bad: tuple[str, ...], split: str, n: int
) -> None:
    record = healthy_median(RunDirectory(tmp_path), make_dataset(bad=bad)).record
    assert (record["split"], record["n"]) == (split, n)
    assert record["failed"] == [
        {"case_id": name, "reason": f"{name}.png: is empty; copy it again"} for name in bad
    ]


def test_a_damaged_median_is_made_again(tmp_path: Path) -> None:
    first = healthy_median(RunDirectory(tmp_path), make_dataset())
    (tmp_path / "median.npz").write_bytes(b"PK\x03\x04 torn")
    again = healthy_median(RunDirectory(tmp_path), make_dataset())
    assert first.median is not None
    assert again.median is not None
    assert torch.equal(first.median, again.median)
    assert again.record == first.record


def test_cases_are_the_healthy_validation_ones_then_the_test_ones_in_fixed_batches() -> None:
    dataset = make_dataset()
    chosen = choose_cases(dataset, 2)
    assert [case.case_id for case in chosen[:3]] == ["val0", "val1", "case0"]
    assert len(choose_cases(dataset, 0)) == 7
    assert [len(batch) for batch in in_batches(chosen, 4)] == [4, 4, 1]
    assert [case.case_id for case in spread(dataset.split("test"), 3)] == ["case0", "case2", "case4"]
