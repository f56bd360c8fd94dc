"""Trees in the layouts of the public data sets, in small, open as they are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.closed import closed
from support.volumes import AWAY, MNI, TREES, brain, lesion, save

from uadbench.bench.plan.config import ConfigError
from uadbench.bench.plan.data import open_dataset
from uadbench.datasets import DATASETS, Volumes
from uadbench.datasets.case import CaseError, Dataset
from uadbench.datasets.selection import read_split

NAMES = [name for name, opener in DATASETS.items() if isinstance(opener, Volumes)]
HEALTHY = 'without_mask = "healthy"\n'


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tree(name: str, folder: Path) -> Path:
    made = TREES[name](folder / name)
    if name == "bids":
        (made / "uadbench.toml").write_text(HEALTHY)
    return made


def subjects(dataset: Dataset) -> set[str]:
    return {case.subject for case in dataset.cases}


def test_there_is_a_tree_for_every_layout() -> None:
    assert sorted(TREES) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "people", "volumes"),
    [
        pytest.param("atlas", {"sub-r001s001", "sub-r002s003"}, 3, id="atlas"),
        pytest.param("ixi", {"IXI002", "IXI025", "IXI999"}, 3, id="ixi"),
        pytest.param("brats", {"BraTS2021_00000", "BraTS2021_00002"}, 2, id="brats"),
        pytest.param("mslub", {"patient01", "patient02", "patient07"}, 3, id="mslub"),
        pytest.param("wmh", {"Utrecht-0", "Singapore-50", "Amsterdam-GE1T5-110"}, 3, id="wmh"),
        pytest.param("bids", {"sub-01", "sub-02", "sub-c1"}, 4, id="bids"),
    ],
)
def test_a_layout_finds_every_person_and_every_case_can_be_read(
    tmp_path: Path, name: str, people: set[str], volumes: int
) -> None:
    root = tree(name, tmp_path)
    dataset = open_dataset(name, root)
    assert subjects(dataset) == people
    assert len({case.volume for case in dataset.cases}) == len(dataset.cases) == volumes
    for case in dataset.cases:
        sample = dataset.load(case)
        assert sample.image.shape == sample.mask.shape == (128, 128)
        assert sample.mask.any() == case.lesion
    by_parent = open_dataset(name, tmp_path)
    assert (by_parent.cases, by_parent.fingerprint) == (dataset.cases, dataset.fingerprint)


@pytest.mark.parametrize("name", NAMES)
def test_all_slices_stand_together_by_volume_and_ascend(tmp_path: Path, name: str) -> None:
    dataset = open_dataset(f"{name}:all", tree(name, tmp_path))
    volumes = [case.volume for case in dataset.cases]
    assert volumes == sorted(volumes, key=volumes.index)
    for volume in set(volumes):
        heights = [case.position for case in dataset.cases if case.volume == volume]
        assert heights == sorted(set(heights))
        assert len(heights) > 8
    assert len({case.case_id for case in dataset.cases}) == len(dataset.cases)
    assert dataset.n_test == len(dataset.split("test"))


@pytest.mark.parametrize("name", NAMES)
def test_no_subject_is_in_two_splits(tmp_path: Path, name: str) -> None:
    dataset = open_dataset(f"{name}:all", tree(name, tmp_path))
    splits: dict[str, set[str]] = {}
    for case in dataset.cases:
        splits.setdefault(case.subject, set()).add(case.split)
    assert all(len(found) == 1 for found in splits.values())
    assert not any(case.lesion for case in dataset.split("train"))


@pytest.mark.parametrize(
    ("spec", "modality", "sign"),
    [
        ("brats", "FLAIR", 1),
        ("brats:t1", "T1w", -1),
        ("brats:t2", "T2w", 1),
        ("mslub:t1", "T1w", -1),
        ("wmh:t1", "T1w", -1),
        ("ixi:t2", "T2w", 1),
    ],
)
def test_a_modality_is_chosen_behind_the_name(tmp_path: Path, spec: str, modality: str, sign: int) -> None:
    name = spec.split(":")[0]
    root = tree(name, tmp_path)
    dataset = open_dataset(spec, root)
    assert (dataset.modality, dataset.lesion_sign, dataset.name) == (modality, sign, spec)
    if ":" in spec:
        usual = open_dataset(name, root)
        assert usual.fingerprint != dataset.fingerprint
        assert not np.array_equal(usual.load(usual.cases[0]).image, dataset.load(dataset.cases[0]).image)


def test_ixi_keeps_the_split_that_the_shipped_networks_were_trained_by(tmp_path: Path) -> None:
    known = {row["subject"].removeprefix("sub-"): row["split"] for row in read_split("ixi-stroke")}
    dataset = open_dataset("ixi", tree("ixi", tmp_path))
    splits = {case.subject: case.split for case in dataset.cases}
    assert splits["IXI002"] == known["IXI002"] == "train"
    assert splits["IXI025"] == known["IXI025"] != "train"
    assert "IXI999" in splits
    assert len(list(dataset.training_slices())) == len(dataset.split("train"))


def test_slices_with_other_pathology_are_left_out_of_wmh_and_one_label_is_lesion(tmp_path: Path) -> None:
    dataset = open_dataset("wmh:all", tree("wmh", tmp_path))
    heights = {case.position for case in dataset.cases if case.lesion}
    assert heights == {11, 12}
    assert 13 not in {case.position for case in dataset.cases}
    assert any("label 2" in caveat for caveat in dataset.caveats)
    assert any("neither lesion nor healthy: 3." in caveat for caveat in dataset.caveats)


def test_every_label_of_brats_is_lesion(tmp_path: Path) -> None:
    dataset = open_dataset("brats:all", tree("brats", tmp_path))
    assert {case.position for case in dataset.cases if case.lesion} == {10, 11, 12}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        pytest.param("brats:t9", "no option 't9'; choose from flair, t1, t1ce, t2", id="unknown"),
        pytest.param("brats:101%", "no option '101%'", id="above the volume"),
        pytest.param("brats:t1:t2", "'t1' and 't2' are both given", id="two modalities"),
        pytest.param("brats:all:50%", "'all' and '50%' are both given", id="two choices of slices"),
    ],
)
def test_a_choice_that_is_none_is_refused_in_one_line(tmp_path: Path, options: str, part: str) -> None:
    with pytest.raises(CaseError) as error:
        open_dataset(options, tree("brats", tmp_path))
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_data_set_of_slices_has_nothing_to_choose_from() -> None:
    with pytest.raises(ConfigError, match="nothing to choose from"):
        open_dataset("phantom:all", None)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_says_what_was_looked_for_and_the_remedy(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UADBENCH_DATA", str(tmp_path))
    for root in (None, tmp_path):
        with pytest.raises(CaseError) as error:
            open_dataset(name, root)
        for part in (str(tmp_path), "--data-root", f"bench data fetch {name}"):
            assert part in str(error.value)


def damage(folder: Path, kind: str) -> None:
    """Break the FLAIR or the mask of the first patient of a BraTS tree."""
    patient = folder / "BraTS2021_00000"
    image, mask = patient / f"{patient.name}_flair.nii.gz", patient / f"{patient.name}_seg.nii.gz"
    voxels = brain()
    if kind == "missing mask":
        mask.unlink()
    elif kind == "missing image":
        image.unlink()
    elif kind == "mask of other shape":
        save(mask, lesion(5, shape=(24, 28, 20)), AWAY)
    elif kind == "mask elsewhere":
        save(mask, lesion(5), MNI)
    elif kind == "four dimensions":
        save(image, np.stack([voxels, voxels], axis=-1), AWAY)
    elif kind == "NaN":
        voxels[3, 4, 5] = np.nan
        save(image, voxels, AWAY)
    elif kind == "unreadable":
        image.write_bytes(b"no image")
    elif kind == "truncated":
        save(image, voxels, np.diag([-8.0, -8, 8, 1]))
        image.write_bytes(image.read_bytes()[:400])
    elif kind == "nothing in it":
        save(image, np.zeros_like(voxels), AWAY)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("missing mask", "no such file"),
        ("missing image", "no such file"),
        ("mask of other shape", "the mask has shape (24, 28, 20)"),
        ("mask elsewhere", "voxels away from its image"),
        ("four dimensions", "shape (24, 28, 23, 2)"),
        ("NaN", "1 of 15456 voxels are NaN"),
        ("unreadable", "not a readable NIfTI"),
        ("truncated", "cannot be read"),
        ("nothing in it", "nothing but background"),
    ],
)
def test_a_volume_that_cannot_be_used_is_one_case_that_says_why_and_the_others_stay(
    tmp_path: Path, kind: str, part: str
) -> None:
    root = tree("brats", tmp_path)
    sound = open_dataset("brats:all", root)
    damage(root, kind)
    dataset = open_dataset("brats:all", root)
    broken = [case for case in dataset.cases if case.volume == "BraTS2021_00000"]
    others = [case for case in dataset.cases if case.volume == "BraTS2021_00002"]
    assert len(broken) == 1
    assert others == [case for case in sound.cases if case.volume == "BraTS2021_00002"]
    with pytest.raises(CaseError) as error:
        dataset.load(broken[0])
    assert part in str(error.value)
    assert "BraTS2021_00000" in str(error.value)
    assert "\n" not in str(error.value)
    assert dataset.load(others[0]).image.any()
    assert dataset.fingerprint != sound.fingerprint


CLOSED = {
    "atlas": "Training/R001/sub-r001s001/ses-1",
    "ixi": "IXI",
    "brats": "BraTS2021_00000",
    "mslub": "patient01",
    "wmh": "training/Utrecht",
    "bids": "sub-01",
}


@pytest.mark.parametrize(
    ("name", "place"),
    [*CLOSED.items(), ("bids", "derivatives/lesions/sub-01"), ("bids", "derivatives/lesions")],
)
def test_a_folder_that_cannot_be_read_is_named_and_nobody_is_healthy_for_it(
    tmp_path: Path, name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tree(name, tmp_path)
    (root / place).mkdir(exist_ok=True)
    closed(root / place, monkeypatch)
    with pytest.raises(CaseError) as error:
        open_dataset(name, root)
    assert str(error.value).startswith(f"{root / place}: cannot be read (Permission denied)")


def test_two_copies_of_one_patient_are_refused(tmp_path: Path) -> None:
    root = tree("brats", tmp_path)
    TREES["brats"](root / "again")
    with pytest.raises(CaseError, match="both volume BraTS2021_00000; keep one copy"):
        open_dataset("brats", root)


# The real patient


@pytest.mark.parametrize("spec", ["mslub", "mslub:t1", "mslub:t2:all:volume"])
def test_the_real_patient_of_mslub_opens_in_every_modality(root: Path, spec: str) -> None:
    if not (root / "mslub").is_dir():
        pytest.skip("mslub is not here")
    dataset = open_dataset(spec, root)
    assert subjects(dataset) == {"patient07"}
    case = next(case for case in dataset.cases if case.position == 90)
    sample = dataset.load(case)
    assert case.lesion
    assert sample.mask.any()
    assert 0.1 < (sample.image > 0.05).mean() < 0.4
    assert not any("MNI152" in finding.what for finding in dataset.findings)
