"""The committed splits; ixi-stroke and soop-flair on made-up files and, where they are at hand, on the real ones."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uadbench.datasets import DATASETS
from uadbench.datasets.case import CaseError
from uadbench.datasets.preprocess import preprocess, to_size
from uadbench.datasets.public.ixi_stroke import brain_region, lesion_generator, make_split, open_ixi_stroke
from uadbench.datasets.public.soop_flair import make_split as make_soop_split
from uadbench.datasets.selection import read_split
from uadbench.datasets.sources import SOURCES, content_hash, find_root


def head(side: tuple[int, int] = (233, 197)) -> np.ndarray:
    """A brain of 200, dark skull, bright scalp, with two leaks of the scalp into the brain."""
    y, x = np.mgrid[: side[0], : side[1]]
    radius = np.hypot((y - side[0] / 2) / 105, (x - side[1] / 2) / 85)
    pixels = np.where(radius < 0.8, 200, np.where(radius < 0.9, 20, np.where(radius < 1, 255, 0)))
    pixels[116:119, :] = np.where(radius[116:119] < 1, 230, 0)
    return pixels.astype(np.uint8)


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """The layout of the real data with a few files, for the first cases of each kind."""
    for name in ("ixi-midaxial/png", "stroke-masks", "soop-flair/images", "soop-flair/masks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "stroke-masks" / "index.csv").write_text("mask,pixels,phase\n")
    (tmp_path / "soop-flair" / "index.csv").write_text("case,lesion_px_in_slice\n")
    shape = np.zeros((233, 197), dtype=np.uint8)
    shape[80:110, 60:90] = 255
    row = first_lesion("ixi-stroke")
    Image.fromarray(head()).save(tmp_path / "ixi-midaxial" / "png" / f"{row['subject']}.png")
    Image.fromarray(shape).save(tmp_path / "stroke-masks" / f"{row['mask']}.png")
    case = first_lesion("soop-flair")["case"]
    Image.fromarray(head((189, 157))).save(tmp_path / "soop-flair" / "images" / f"{case}.png")
    Image.fromarray(shape[:189, :157]).save(tmp_path / "soop-flair" / "masks" / f"{case}.png")
    return tmp_path


def first_lesion(name: str) -> dict[str, str]:
    key = "mask" if name == "ixi-stroke" else "lesion"
    return next(row for row in read_split(name) if row["split"] == "test" and row[key] not in ("", "0"))


# The committed splits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "ixi-stroke",
            {("train", 0): 465, ("val", 0): 14, ("val", 1): 42, ("test", 0): 44, ("test", 1): 194},
        ),
        (
            "soop-flair",
            {("train", 0): 220, ("val", 0): 51, ("val", 1): 20, ("test", 0): 100, ("test", 1): 617},
        ),
    ],
)
def test_splits_hold_what_they_should_and_training_is_healthy(
    name: str, expected: dict[tuple[str, int], int]
) -> None:
    rows = read_split(name)
    flag = "mask" if name == "ixi-stroke" else "lesion"
    assert Counter((row["split"], int(row[flag] not in ("", "0"))) for row in rows) == expected


@pytest.mark.parametrize("name", ["ixi-stroke", "soop-flair"])
def test_no_subject_is_in_two_splits_and_no_case_twice(name: str) -> None:
    rows = read_split(name)
    ids = [row.get("case_id") or row["case"] for row in rows]
    assert len(ids) == len(set(ids))
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.get("subject") or row["case"], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_no_stroke_shape_is_used_twice() -> None:
    lesions = [row for row in read_split("ixi-stroke") if row["mask"]]
    assert len({row["mask"] for row in lesions}) == len(lesions)


@pytest.mark.parametrize(
    ("column", "lesions", "least"),
    [
        pytest.param("natural", 176, 4, id="the papers' proportions"),
        pytest.param("balanced", 132, 2, id="balanced"),
    ],
)
def test_each_test_subject_serves_in_either_choice_of_ixi_cases(
    column: str, lesions: int, least: int
) -> None:
    rows = [row for row in read_split("ixi-stroke") if row["split"] == "test" and row[column] == "1"]
    count = Counter(row["subject"] for row in rows if row["mask"])
    assert sum(count.values()) == lesions
    assert len(count) == 44
    assert min(count.values()) >= least
    assert sum(not row["mask"] for row in rows) == 44


# On made-up files


def test_an_ixi_case_has_its_shape_inside_the_brain_and_darker_than_before(made_up: Path) -> None:
    dataset = DATASETS["ixi-stroke"](made_up, 0, None)
    row = first_lesion("ixi-stroke")
    cases = {case.case_id: case for case in dataset.cases}
    lesion, healthy = dataset.load(cases[row["case_id"]]), dataset.load(cases[row["subject"]])
    assert lesion.mask.any()
    assert not healthy.mask.any()
    assert lesion.image[lesion.mask].mean() < 0.97 * healthy.image[lesion.mask].mean()
    changed = np.abs(lesion.image - healthy.image).max(axis=0) > 0
    assert not changed[:10].any(), "far from the lesion nothing changes"
    assert dataset.lesion_sign == -1
    assert any("semi-synthetic" in caveat.lower() for caveat in dataset.caveats)


def test_a_lesion_is_the_same_whatever_the_run_and_the_other_cases(made_up: Path) -> None:
    name = first_lesion("ixi-stroke")["case_id"]

    def image(seed: int, limit: int | None) -> np.ndarray:
        dataset = open_ixi_stroke(made_up, seed, limit)
        return dataset.load(next(case for case in dataset.cases if case.case_id == name)).image

    assert np.array_equal(image(0, None), image(7, 4))


def test_lesions_of_different_cases_are_drawn_differently() -> None:
    assert lesion_generator("a").random() == lesion_generator("a").random()
    assert lesion_generator("a").random() != lesion_generator("b").random()


def test_a_soop_case_brings_its_own_mask_and_caveats(made_up: Path) -> None:
    dataset = DATASETS["soop-flair"](made_up, 0, None)
    case = next(case for case in dataset.cases if case.case_id == first_lesion("soop-flair")["case"])
    assert dataset.load(case).mask.any()
    assert dataset.lesion_sign == 1
    assert dataset.modality == "FLAIR"
    said = " ".join(dataset.caveats)
    for word in ("not T1w", "DWI", "white-matter hyperintensities", "stroke patients", "overlay"):
        assert word in said


@pytest.mark.parametrize("name", ["ixi-stroke", "soop-flair"])
def test_a_missing_file_fails_its_case_alone(made_up: Path, name: str) -> None:
    dataset = DATASETS[name](made_up, 0, None)
    with pytest.raises(CaseError, match="no such file"):
        dataset.load(dataset.split("val")[0])


@pytest.mark.parametrize("name", ["ixi-stroke", "soop-flair"])
def test_the_fingerprint_follows_the_files(made_up: Path, name: str) -> None:
    before = DATASETS[name](made_up, 0, None).fingerprint
    assert DATASETS[name](made_up, 0, None).fingerprint == before
    path = next(made_up.glob("ixi-midaxial/png/*" if name == "ixi-stroke" else "soop-flair/masks/*"))
    Image.fromarray(np.full((5, 5), 9, dtype=np.uint8)).save(path)
    assert DATASETS[name](made_up, 0, None).fingerprint != before


@pytest.mark.parametrize("name", ["ixi-stroke", "soop-flair"])
@pytest.mark.parametrize("limit", [1, 2, 24, 100])
def test_limit_caps_test_cases_in_proportion_and_nothing_else(made_up: Path, name: str, limit: int) -> None:
    full, small = DATASETS[name](made_up, 0, None), DATASETS[name](made_up, 0, limit)
    assert len(small.split("test")) == limit
    assert small.split("val") == full.split("val")
    share = sum(case.lesion for case in full.split("test")) / len(full.split("test"))
    assert abs(sum(case.lesion for case in small.split("test")) - limit * share) <= 1


def test_the_brain_is_found_inside_the_skull_in_spite_of_bridges() -> None:
    image, brain = preprocess(head(), head() == 200)
    found = brain_region(image)
    assert (found & brain).sum() > 0.95 * brain.sum()
    assert (found & ~brain).sum() < 0.05 * brain.sum()


def test_nothing_bright_has_no_brain() -> None:
    assert not brain_region(np.zeros((128, 128), dtype=np.float32)).any()


# Where the data are looked for


def test_the_given_folder_comes_before_the_environment(
    made_up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UADBENCH_DATA", str(made_up))
    assert find_root("soop-flair", None) == made_up / "soop-flair"
    with pytest.raises(CaseError, match=r"'soop-flair' not found \(--data-root"):
        find_root("soop-flair", made_up / "stroke-masks" / "none")


@pytest.mark.parametrize("inner", ["", "ixi-midaxial", "soop-flair"])
def test_the_root_may_be_the_parent_or_a_data_set_itself(made_up: Path, inner: str) -> None:
    assert find_root("stroke-masks", made_up / inner) == made_up / "stroke-masks"


@pytest.mark.parametrize("name", ["ixi-stroke", "soop-flair"])
def test_missing_data_say_where_they_were_looked_for_and_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("UADBENCH_DATA", str(tmp_path))
    with pytest.raises(CaseError) as error:
        DATASETS[name](None, 0, None)
    for part in (str(tmp_path), "--data-root", "UADBENCH_DATA", "bench data fetch"):
        assert part in str(error.value)


# On the real files


@pytest.mark.parametrize("name", sorted(name for name, source in SOURCES.items() if source.sha256))
def test_the_real_files_are_those_whose_checksum_is_recorded(root: Path, name: str) -> None:
    assert content_hash(root / name) == SOURCES[name].sha256


def test_the_committed_soop_split_follows_from_the_index(root: Path) -> None:
    with (root / "soop-flair" / "index.csv").open(newline="") as stream:
        assert make_soop_split(list(csv.DictReader(stream))) == read_split("soop-flair")


@pytest.mark.slow
def test_the_committed_ixi_split_follows_from_the_data(root: Path) -> None:
    lists = [(root / "ixi-midaxial" / f"{n}.csv").read_text().split()[1:] for n in ("train", "val")]
    assert make_split(*lists, root) == read_split("ixi-stroke")


def test_training_slices_are_all_healthy_and_none_is_held_out(root: Path) -> None:
    authors = set((root / "ixi-midaxial" / "train.csv").read_text().split()[1:])
    for name, count in (("ixi-stroke", 465), ("soop-flair", 220)):
        dataset = DATASETS[name](root, 0, None)
        train = dataset.split("train")
        held_out = {case.subject for case in dataset.cases if case.split != "train"}
        assert len(train) == count
        assert not any(case.lesion or case.subject in held_out for case in train)
        assert name != "ixi-stroke" or {case.subject for case in train} <= authors


def test_a_training_slice_on_its_native_grid_resizes_to_the_loaded_one(root: Path) -> None:
    for name in ("ixi-stroke", "soop-flair"):
        dataset = DATASETS[name](root, 0, None)
        case = dataset.split("train")[0]
        native = next(iter(dataset.training_slices()))
        assert native.shape[0] == native.shape[1] > 128
        np.testing.assert_array_equal(to_size(native), dataset.load(case).image)


def test_real_lesions_are_darker_in_ixi_brighter_in_soop_and_of_all_sizes(root: Path) -> None:
    for name, sign in (("ixi-stroke", -1), ("soop-flair", 1)):
        dataset = DATASETS[name](root, 0, 40)
        contrast, sizes = [], set()
        for case in dataset.split("test"):
            if case.lesion:
                sample = dataset.load(case)
                mirrored = sample.mask[:, ::-1] & ~sample.mask & (sample.image > 0)
                sizes.add(int(np.searchsorted([3, 71, 570], sample.mask.sum())))
                if mirrored.sum() > 50 and sample.mask.sum() > 50:
                    contrast.append(sample.image[sample.mask].mean() - sample.image[mirrored].mean())
        assert sizes == {1, 2, 3}
        assert np.mean(np.sign(contrast) == sign) > 0.75
