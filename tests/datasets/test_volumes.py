"""Volumes: turned as single slices are, measured right, read once, scaled by slice or volume, cut where it is said."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.volumes import AWAY, MNI, SHAPE, brain, lesion, mslub, save

from uadbench.bench.plan.data import open_dataset
from uadbench.datasets import surveys, volumes
from uadbench.datasets.case import CaseError, Dataset
from uadbench.datasets.layouts import Found, Layout, Modality, parse_options, split_of
from uadbench.datasets.readers import read_slice
from uadbench.datasets.slices import open_layout
from uadbench.datasets.sources import Source
from uadbench.datasets.volumes import Files, Opened, measure, read_volume


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def one(*found: Found, shares: tuple[float, float] = (0.0, 0.0)) -> Layout:
    """A data set of the volumes given."""
    source = Source("made", "", "files", "made up", "none", "none", "")
    kinds = {
        "flair": Modality("FLAIR", 1, stripped=True),
        "t1": Modality("T1w", -1, stripped=False),
        "t2": Modality("T2w", 1),
    }
    return Layout("made", "made up", source, lambda folder, modality: list(found), kinds, shares)


def opened(
    root: Path, *options: str, affine: np.ndarray = MNI, heights: tuple[int, ...] = (11,), **given: np.ndarray
) -> Dataset:
    """A data set of one volume, with a lesion in the slices named."""
    image = save(root / "a.nii.gz", given.get("voxels", brain()), affine)
    mask = save(root / "m.nii.gz", lesion(*heights), affine)
    return open_layout(one(Found("s", "v", Files(image, mask))), root, None, options=options)


# Reading


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1), (-1, -1, 1)], ids=str)
def test_a_volume_is_turned_as_each_of_its_slices_would_be(
    tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs) @ np.eye(3)[list(axes)]
    path = save(tmp_path / "v.nii.gz", np.random.default_rng(0).random((4, 5, 6)).astype(np.float32), affine)
    planes, _ = read_volume(path)
    for z, plane in enumerate(planes):
        np.testing.assert_array_equal(plane, read_slice(path, z))


def test_a_volume_is_measured(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, dtype=np.float32)
    voxels[4:20, 4:24, 3:19] = 100
    voxels[4:20, 4:24, 18] = 5  # below a tenth of the tissue: no tissue, but no background either
    voxels[0, 0, 0] = -7
    files = Files(
        save(tmp_path / "a.nii.gz", voxels),
        save(tmp_path / "m.nii.gz", lesion(10, 11) + lesion(12, label=2)),
        (1,),
        (2,),
    )
    found = measure(files, 98.0)
    assert found.fault == ""
    assert found.spacing == (8, 8, 8)
    assert found.corner == (-95, -130, -74)
    assert found.shape == SHAPE
    assert found.tissue == (0,) * 3 + (16 * 20,) * 15 + (0,) * 5
    assert [z for z, count in enumerate(found.lesion) if count] == [10, 11]
    assert [z for z, count in enumerate(found.ignored) if count] == [12]
    assert found.litres == pytest.approx(16 * 20 * 16 * 0.512e-3, abs=1e-3)
    assert found.window == (0, 100), "what is below a background of 0 is set to 0"
    assert found.brain == (5, 100), "of 16 slices one is of 5, which is no tissue"


def test_the_slices_of_a_volume_cost_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = volumes.read_volume
    monkeypatch.setattr(volumes, "read_volume", lambda path: read.append(path.name) or real(path))
    dataset = opened(tmp_path, "all")
    assert sorted(read) == ["a.nii.gz", "m.nii.gz"]
    read.clear()
    for case in dataset.cases:
        dataset.load(case)
    assert sorted(read) == ["a.nii.gz", "m.nii.gz"]


def test_what_was_measured_is_kept_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tmp_path)
    counted: list[Files] = []
    real = surveys.measure
    monkeypatch.setattr(
        surveys, "measure", lambda files, percentile: counted.append(files) or real(files, percentile)
    )
    folder, files = tmp_path, Files(tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")
    again = open_layout(one(Found("s", "v", files)), folder, None)
    assert (again.cases, again.fingerprint, counted) == (first.cases, first.fingerprint, [])
    save(tmp_path / "a.nii.gz", brain(5))
    other = open_layout(one(Found("s", "v", files)), folder, None)
    assert len(counted) == 1
    assert other.fingerprint != first.fingerprint
    kept = next((tmp_path / "cache" / "uadbench" / "volumes").glob("made-*.json"))
    kept.write_text("{damaged")
    assert open_layout(one(Found("s", "v", files)), folder, None).fingerprint == other.fingerprint


def test_a_volume_that_could_not_be_read_is_read_again_although_its_file_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tmp_path)
    save(tmp_path / "a.nii.gz", brain(5))

    def away(path: Path) -> None:
        raise CaseError(f"{path}: cannot be read (Permission denied)")

    layout = one(Found("s", "v", Files(tmp_path / "a.nii.gz", tmp_path / "m.nii.gz")))
    with monkeypatch.context() as patch:
        patch.setattr(volumes, "read_volume", away)
        (case,) = open_layout(layout, tmp_path, None).cases
        assert case.case_id == "v"  # the one that says why
    again = open_layout(layout, tmp_path, None)
    assert [case.case_id for case in again.cases] == [case.case_id for case in first.cases]
    assert again.load(again.cases[0]).image.max() > 0


def test_the_volumes_held_are_as_many_as_said_and_go_with_the_data_set_to_other_processes(
    tmp_path: Path,
) -> None:
    held = Opened(keep=2)
    for number in range(3):
        held.slice(Files(save(tmp_path / f"{number}.nii.gz", brain(number))), 4)
    assert [files.image.name for files in held.held] == ["1.nii.gz", "2.nii.gz"]
    dataset = open_dataset("mslub", mslub(tmp_path / "mslub"))
    load = pickle.loads(pickle.dumps(dataset.load))
    np.testing.assert_array_equal(load(dataset.cases[0]).image, dataset.load(dataset.cases[0]).image)


# Which slices, and how they are scaled


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


# Splits


def test_the_hash_rule_gives_each_subject_its_split_whoever_else_is_there() -> None:
    layout = one(shares=(0.3, 0.2))
    splits = [split_of(layout, Found(f"s{n}", f"v{n}", Files(Path("x")))) for n in range(2000)]
    assert abs(splits.count("train") / 2000 - 0.3) < 0.04
    assert abs(splits.count("val") / 2000 - 0.2) < 0.04


def test_a_subject_in_two_splits_is_refused(tmp_path: Path) -> None:
    image = save(tmp_path / "a.nii.gz", brain())
    other = save(tmp_path / "b.nii.gz", brain())
    layout = one(Found("s", "a", Files(image), "val"), Found("s", "b", Files(other), "test"))
    with pytest.raises(CaseError, match=r"subject s is in val \(volume a\) and in test \(volume b\)"):
        open_layout(layout, tmp_path, None)


# What is found amiss


def amiss(dataset: Dataset) -> str:
    assert all(finding.what in dataset.caveats for finding in dataset.findings)
    return " ".join(finding.what + finding.remedy for finding in dataset.findings)


def test_nothing_is_amiss_with_a_stripped_flair_and_a_whole_t1w_in_mni_space(tmp_path: Path) -> None:
    assert amiss(opened(tmp_path)) == ""
    assert amiss(opened(tmp_path, "t1", voxels=brain(radius=1.0))) == ""


def test_what_is_not_as_the_networks_know_it_is_said_with_what_to_run(tmp_path: Path) -> None:
    turned = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.2) @ MNI[:3, :3], MNI[:3, 3])
    assert "antsRegistrationSyNQuick.sh" in amiss(opened(tmp_path, affine=AWAY))
    assert "half-way up" in amiss(opened(tmp_path, affine=AWAY))
    assert "half-way up" not in amiss(opened(tmp_path, "all", affine=AWAY))
    assert "turned against the axes" in amiss(opened(tmp_path, affine=turned))
    assert "not square" in amiss(opened(tmp_path, affine=np.diag([8.0, 6, 8, 1])))
    assert "have the skull on" in amiss(opened(tmp_path, voxels=brain(radius=1.0)))
    assert "mri_synthstrip" in amiss(opened(tmp_path, voxels=brain(radius=1.0)))
    assert "have no skull" in amiss(opened(tmp_path, "t1"))
    assert "have a field of view under" in amiss(opened(tmp_path, affine=np.diag([4.0, 4, 8, 1])))
    assert "No shipped network was trained on T2w" in amiss(opened(tmp_path, "t2"))


def test_a_mask_in_the_place_of_an_image_is_noticed(tmp_path: Path) -> None:
    box = np.zeros((95, 113, 93), dtype=np.uint8)
    box[20:75, 20:90, 20:75] = 1
    affine = np.diag([2.0, 2, 2, 1]) + np.array(
        [[0, 0, 0, -95], [0, 0, 0, -130], [0, 0, 0, -74], [0, 0, 0, 0]]
    )
    image = save(tmp_path / "a.nii.gz", box, affine)
    dataset = open_layout(one(Found("s", "v", Files(image))), tmp_path, None)
    assert "fewer than 8 grey values" in amiss(dataset)


def test_options_may_come_in_any_order_and_the_first_of_each_is_the_default() -> None:
    layout = one()
    assert parse_options(layout, ("all", "t1", "volume")) == parse_options(layout, ("volume", "all", "t1"))
    assert vars(parse_options(layout, ())) == {"modality": "flair", "slices": "mid-axial", "scaled": "slice"}
