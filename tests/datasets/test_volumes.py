"""Volumes: turned as single slices are, measured right, read once, scaled by slice or volume, cut where it is said."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.volumes import AWAY, MNI, SHAPE, brain, lesion, mslub, one, opened, save

from uadbench.bench.plan.data import open_dataset
from uadbench.datasets import surveys, volumes
from uadbench.datasets.case import CaseError, Dataset
from uadbench.datasets.layouts import Found, parse_options, split_of
from uadbench.datasets.readers import read_slice
from uadbench.datasets.slices import open_layout
from uadbench.datasets.volumes import Files, Opened, measure, read_volume


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


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
