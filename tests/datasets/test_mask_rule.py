"""The mask rule: which pixels of a resized truth are lesion, in every data set, and how the choice is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from uadbench.datasets import DATASETS
from uadbench.datasets.case import Case, Dataset
from uadbench.datasets.preprocess import MASK_RULES, PREPROCESSING, preprocess, resize_mask
from uadbench.datasets.selection import read_split

ANY = replace(PREPROCESSING, mask_rule=MASK_RULES["any"])
SHAPE = np.zeros((233, 197), dtype=bool)
SHAPE[81:110, 61:90] = True


def scan() -> np.ndarray:
    """A brain of 200 with a dark skull and a bright scalp, [233, 197]."""
    y, x = np.mgrid[:233, :197]
    radius = np.hypot((y - 116.5) / 105, (x - 98.5) / 85)
    values = np.where(radius < 0.8, 200, np.where(radius < 0.9, 20, np.where(radius < 1, 255, 0)))
    return values.astype(np.uint8)


@pytest.fixture(params=["folder", "soop-flair", "ixi-stroke", "ixi-stroke-balanced"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, str]:
    """(data set, root, id of a lesion case) of made-up files."""
    name: str = request.param
    image, mask = Image.fromarray(scan()), Image.fromarray(np.uint8(255) * SHAPE)
    if name == "folder":
        (tmp_path / "index.csv").write_text("case_id,image,mask,split,subject\na,image.png,mask.png,test,s\n")
        image.save(tmp_path / "image.png")
        mask.save(tmp_path / "mask.png")
        return name, tmp_path, "a"
    if name == "soop-flair":
        case = next(row["case"] for row in read_split(name) if row["lesion"] == "1")
        for part, picture in (("images", image), ("masks", mask)):
            (tmp_path / name / part).mkdir(parents=True)
            picture.save(tmp_path / name / part / f"{case}.png")
        (tmp_path / name / "index.csv").write_text("case,lesion_px_in_slice\n")
        return name, tmp_path, case
    column = "balanced" if name.endswith("balanced") else "natural"
    row = next(row for row in read_split("ixi-stroke") if row["mask"] and row[column] == "1")
    (tmp_path / "ixi-midaxial" / "png").mkdir(parents=True)
    (tmp_path / "stroke-masks").mkdir()
    (tmp_path / "stroke-masks" / "index.csv").write_text("mask,pixels,phase\n")
    image.save(tmp_path / "ixi-midaxial" / "png" / f"{row['subject']}.png")
    mask.save(tmp_path / "stroke-masks" / f"{row['mask']}.png")
    return name, tmp_path, row["case_id"]


def case_of(dataset: Dataset, case_id: str) -> Case:
    return next(case for case in dataset.cases if case.case_id == case_id)


@pytest.mark.parametrize(
    ("pixels", "half", "overlap"),
    [
        pytest.param([(100, 60)], 0, 1, id="a quarter of the footprint"),
        pytest.param([(100, 60), (100, 61)], 1, 1, id="half of it"),
        pytest.param([(100, 61), (100, 62)], 0, 2, id="a quarter of two"),
        pytest.param([], 0, 0, id="nothing"),
    ],
)
def test_any_counts_a_pixel_of_which_half_counts_nothing(
    pixels: list[tuple[int, int]], half: int, overlap: int
) -> None:
    mask = np.zeros((256, 256), dtype=bool)
    for pixel in pixels:
        mask[pixel] = True
    assert resize_mask(mask).sum() == half
    assert resize_mask(mask, ANY).sum() == overlap


def test_any_counts_what_bilinear_interpolation_at_the_new_pixels_centre_finds() -> None:
    mask = np.random.default_rng(2).random((233, 233)) < 0.02
    centre = (np.arange(128) + 0.5) * 233 / 128 - 0.5
    grid = np.meshgrid(centre, centre, indexing="ij")
    found = ndimage.map_coordinates(mask.astype(float), grid, order=1, mode="nearest") > 1e-9
    assert np.array_equal(resize_mask(mask, ANY), found | resize_mask(mask))
    assert found.sum() > 4 * resize_mask(mask).sum()


@pytest.mark.parametrize("side", [64, 128, 189, 233, 1000])
def test_any_never_loses_what_half_counts(side: int) -> None:
    mask = ndimage.gaussian_filter(np.random.default_rng(side).random((side, side)), side / 60) > 0.51
    usual, other = resize_mask(mask), resize_mask(mask, ANY)
    assert usual.any()
    assert not (usual & ~other).any()


def test_the_image_does_not_hang_on_the_mask_rule() -> None:
    usual, other = preprocess(scan(), SHAPE), preprocess(scan(), SHAPE, ANY)
    assert np.array_equal(usual[0], other[0])
    assert other[1].sum() > usual[1].sum()


def test_every_data_set_with_files_has_the_same_images_and_a_larger_truth(
    opened: tuple[str, Path, str],
) -> None:
    name, root, case_id = opened
    usual, other = DATASETS[name](root, 0, None), DATASETS[name](root, 0, None, ANY)
    a, b = (dataset.load(case_of(dataset, case_id)) for dataset in (usual, other))
    assert np.array_equal(a.image, b.image)
    assert a.mask.any()
    assert not (a.mask & ~b.mask).any()
    assert b.mask.sum() > a.mask.sum()
    near = ndimage.binary_dilation(a.mask, np.ones((3, 3)))
    assert not (b.mask & ~near).any(), "by a pixel at the edge"


def test_the_rule_stands_in_the_record_the_fingerprint_and_a_caveat(opened: tuple[str, Path, str]) -> None:
    name, root, _ = opened
    usual, other = DATASETS[name](root, 0, None), DATASETS[name](root, 0, None, ANY)
    assert (usual.preprocessing["mask_rule"], other.preprocessing["mask_rule"]) == (0.5, "any")
    assert {**usual.preprocessing, "mask_rule": "any"} == other.preprocessing
    assert usual.fingerprint != other.fingerprint
    (told,) = set(other.caveats) - set(usual.caveats)
    assert "mask_rule = any" in told
    assert usual.cases == other.cases


def test_half_said_aloud_is_the_default(opened: tuple[str, Path, str]) -> None:
    name, root, _ = opened
    half = replace(PREPROCESSING, mask_rule=MASK_RULES["half"])
    usual, said = DATASETS[name](root, 0, None), DATASETS[name](root, 0, None, half)
    assert (usual.fingerprint, usual.caveats) == (said.fingerprint, said.caveats)


def test_a_phantom_is_the_same_by_any_rule_and_says_so() -> None:
    usual, other = DATASETS["phantom"](None, 0, 4), DATASETS["phantom"](None, 0, 4, ANY)
    assert usual.fingerprint == other.fingerprint
    (told,) = set(other.caveats) - set(usual.caveats)
    assert "mask_rule" in told
    case = next(case for case in usual.cases if case.lesion)
    assert np.array_equal(usual.load(case).mask, other.load(case).mask)
