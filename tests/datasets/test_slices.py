"""Which slices of a volume are cases, in which order, and how they are scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.volumes import AWAY, MNI, SHAPE, brain, lesion, one, opened, save

from uadbench.datasets.case import CaseError
from uadbench.datasets.layouts import Found
from uadbench.datasets.readers import read_slice
from uadbench.datasets.slices import open_layout
from uadbench.datasets.volumes import Files, measure


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("option", "affine", "position"),
    [
        pytest.param("mid-axial", MNI, 12, id="18 mm in MNI space: (18 + 74) / 8 = 11.5"),
        pytest.param("mid-axial", AWAY, 11, id="half-way elsewhere"),
        pytest.param("30mm", MNI, 13, id="30 mm"),
        pytest.param("-10mm", MNI, 8, id="-10 mm"),
        pytest.param("80%", AWAY, 18, id="80 % of 22"),
        pytest.param("0%", AWAY, 0, id="the lowest"),
    ],
)
def test_one_slice_is_cut_where_it_is_said(
    tmp_path: Path, option: str, affine: np.ndarray, position: int
) -> None:
    dataset = opened(tmp_path, option, affine=affine)
    assert [case.position for case in dataset.cases] == [position]
    assert dataset.cases[0].case_id == f"v-{position:03d}"


@pytest.mark.parametrize("option", ["300mm", "-90mm"])
def test_a_height_outside_the_volume_is_said_and_not_moved_inside(tmp_path: Path, option: str) -> None:
    dataset = opened(tmp_path, option)
    assert len(dataset.cases) == 1
    with pytest.raises(CaseError, match=f"no slice at {option}, it spans -74 to 102 mm"):
        dataset.load(dataset.cases[0])


def test_all_slices_are_those_with_a_quarter_of_the_fullest_ones_tissue(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, dtype=np.float32)
    for z in range(2, 20):
        voxels[4:20, 4 : 4 + z, z] = 100  # as wide as it is high: 16 z voxels
    dataset = opened(tmp_path, "all", voxels=voxels)
    assert [case.position for case in dataset.cases] == list(range(5, 20)), "19 / 4 = 4.75"
    assert "lies elsewhere in the volume: 14." in " ".join(dataset.caveats)
    assert "not among them: 0." in " ".join(dataset.caveats)
    low = opened(tmp_path, "all", voxels=voxels, heights=(3, 11))
    assert "not among them: 1." in " ".join(low.caveats)
    assert not any(case.lesion for case in opened(tmp_path, "50%", voxels=voxels, heights=(3,)).cases)
    assert "lies elsewhere in the volume: 1." in " ".join(
        opened(tmp_path, "50%", voxels=voxels, heights=(3,)).caveats
    )


@pytest.mark.parametrize(
    ("spacing", "brain_slices", "kept"),
    [
        pytest.param(2.0, (0, 80), (15, 65), id="80 of 2 mm: all but 15 at each end"),
        pytest.param(2.0, (0, 79), (15, 65), id="79 of 2 mm: 50 of them"),
        pytest.param(1.0, (5, 165), (35, 135), id="160 of 1 mm above a black border: 100 of them"),
        pytest.param(3.0, (10, 50), (14, 47), id="40 of 3 mm: 33 of them"),
        pytest.param(4.0, (3, 20), (3, 20), id="68 mm: all there are"),
    ],
)
def test_behrendts_slices_are_the_middle_100_mm_of_the_brain_whatever_is_black_around_it(
    tmp_path: Path, spacing: float, brain_slices: tuple[int, int], kept: tuple[int, int]
) -> None:
    low, high = brain_slices
    voxels = np.zeros((6, 6, high + 7 * (low > 0)), dtype=np.float32)
    voxels[1:5, 1:5, low:high] = 100 + np.arange(high - low)
    image = save(tmp_path / "a.nii.gz", voxels, np.diag([1, 1, spacing, 1]))
    mask = np.zeros(voxels.shape, dtype=np.uint8)
    mask[2, 2, [low, kept[0]]] = 1
    files = Files(image, save(tmp_path / "m.nii.gz", mask, np.diag([1, 1, spacing, 1])))
    dataset = open_layout(one(Found("s", "v", files)), tmp_path, None, options=("behrendt", "volume"))
    assert [case.position for case in dataset.cases] == list(range(*kept))
    assert [case.position for case in dataset.cases if case.lesion] == [kept[0]]
    assert f"not among them: {int(low != kept[0])}." in " ".join(dataset.caveats)
    assert dataset.preprocessing["slices_mm"] == 100


def test_scaled_by_the_brain_its_1st_and_99th_percentile_become_0_and_1_in_every_slice(
    tmp_path: Path,
) -> None:
    voxels = brain()
    dataset = opened(tmp_path, "behrendt", "volume-brain", voxels=voxels)
    low, high = np.percentile(voxels[voxels > 0], (1, 99))
    for case in dataset.cases:
        plane = read_slice(tmp_path / "a.nii.gz", case.position)
        expected = np.clip((plane - low) / (high - low), 0, 1)
        np.testing.assert_allclose(dataset.native(case)[:, 2:-2], expected, atol=1e-5)
    assert dataset.preprocessing["brain_percentiles"] == [1, 99]
    assert dataset.title.endswith("slices of the brain's middle 100 mm, scaled by the volume's brain")


def test_the_records_of_other_choices_know_nothing_of_these(tmp_path: Path) -> None:
    record = opened(tmp_path, "all", "volume").preprocessing
    assert not {"slices_mm", "brain_percentiles"} & record.keys()


def test_a_case_knows_the_spacing_of_its_slice_as_loaded(tmp_path: Path) -> None:
    """Voxels of 2 x 3 x 5 mm (right, front, up): 28 rows, the longer side, become 128."""
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    case = opened(tmp_path, "all", affine=affine).cases[0]
    assert case.spacing == pytest.approx((5.0, 3.0 * 28 / 128, 2.0 * 28 / 128))


def test_scaled_by_volume_a_slice_keeps_its_place_among_the_others_and_by_slice_it_does_not(
    tmp_path: Path,
) -> None:
    voxels = brain()
    voxels[:, :, 8] *= 0.5
    by_slice, by_volume = (opened(tmp_path, "all", word, voxels=voxels) for word in ("slice", "volume"))
    case = next(case for case in by_slice.cases if case.position == 8)
    window = measure(Files(tmp_path / "a.nii.gz"), 98.0).window
    expected = np.clip(read_slice(tmp_path / "a.nii.gz", 8) / window[1], 0, 1)
    np.testing.assert_allclose(by_volume.native(case)[:, 2:-2], expected, atol=1e-6)
    assert by_volume.load(case).image.max() < 0.6
    assert by_slice.native(case).max() == 1
    assert by_slice.fingerprint != by_volume.fingerprint
    assert (by_slice.preprocessing["scaled"], by_volume.preprocessing["scaled"]) == ("slice", "volume")


def test_a_limit_takes_the_middle_slices_of_the_first_volumes_and_keeps_their_order(tmp_path: Path) -> None:
    found = []
    for name in "abc":
        image = save(tmp_path / f"{name}.nii.gz", brain())
        found.append(
            Found(name, name, Files(image, save(tmp_path / f"{name}-m.nii.gz", lesion(9, 10, 11, 12))))
        )
    every = open_layout(one(*found), tmp_path, None, options=("all",))
    few = open_layout(one(*found), tmp_path, 6, options=("all",))
    assert few.n_test == len(every.cases) == every.n_test
    assert len(few.cases) == 6
    assert {case.volume for case in few.cases} == {every.cases[0].volume}
    assert [case for case in every.cases if case in few.cases] == list(few.cases)
    assert sum(case.lesion for case in few.cases) == round(6 * 12 / len(every.cases))
