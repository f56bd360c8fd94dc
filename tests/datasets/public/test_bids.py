"""Any BIDS tree: masks beside the images or in derivatives, what differs said in uadbench.toml."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.volumes import bids, brain, lesion, save

from uadbench.bench.plan.data import open_dataset
from uadbench.datasets.case import CaseError, Dataset
from uadbench.datasets.layouts import ID


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return bids(tmp_path / "lab")


def opened(tree: Path, settings: str = 'without_mask = "leave-out"', spec: str = "bids") -> Dataset:
    (tree / "uadbench.toml").write_text(settings + "\n")
    return open_dataset(spec, tree)


def refused(tree: Path, settings: str, *parts: str, spec: str = "bids") -> None:
    with pytest.raises(CaseError) as error:
        opened(tree, settings, spec)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_masks_are_found_by_subject_and_session_and_several_sessions_are_one_person(tree: Path) -> None:
    dataset = opened(tree)
    assert {(case.subject, case.volume) for case in dataset.cases} == {
        ("sub-01", "sub-01_ses-1"),
        ("sub-01", "sub-01_ses-2"),
        ("sub-02", "sub-02_ses-1"),
    }
    assert len({case.split for case in dataset.cases if case.subject == "sub-01"}) == 1
    assert all(case.lesion for case in dataset.cases)


def test_what_has_no_mask_is_healthy_only_where_that_is_said(tree: Path) -> None:
    refused(tree, "", "sub-c1_ses-1_T1w.nii.gz", "for 1 of 4 images", 'without_mask = "healthy"')
    (tree / "uadbench.toml").unlink()
    with pytest.raises(CaseError, match="no lesion mask"):
        open_dataset("bids", tree)
    healthy = opened(tree, 'without_mask = "healthy"')
    assert [case.lesion for case in healthy.cases if case.subject == "sub-c1"] == [False]
    said = [finding.what for finding in healthy.findings if "have no mask" in finding.what]
    assert said == ["1 of 4 volumes have no mask and are taken to be healthy: sub-c1_ses-1."]


def test_whose_mask_holds_no_lesion_is_healthy_and_named(tree: Path) -> None:
    (mask,) = tree.glob("derivatives/lesions/sub-02/*/*/*_mask.nii.gz")
    assert not [finding for finding in opened(tree).findings if "hold no lesion" in finding.what]
    save(mask, lesion())
    dataset = opened(tree)
    assert {case.subject for case in dataset.cases if not case.lesion} == {"sub-02"}
    said = [finding.what for finding in dataset.findings if "hold no lesion" in finding.what]
    assert said == ["1 of 3 masks hold no lesion, and their volumes are taken to be healthy: sub-02_ses-1."]
    assert said[0] in dataset.caveats


@pytest.mark.parametrize(
    "odd", ["sub-é1", "sub-é 1" + "x" * 120, "sub-\udce9"], ids=["letter", "long", "no UTF-8"]
)
def test_an_odd_name_is_one_case_that_fails_and_the_others_stay(tree: Path, odd: str) -> None:
    sound = opened(tree)
    file = f"{odd[:100]}_T1w.nii.gz"
    (tree / odd / "anat").mkdir(parents=True)
    (tree / odd / "anat" / file).write_bytes(
        (tree / "sub-c1/ses-1/anat/sub-c1_ses-1_T1w.nii.gz").read_bytes()
    )
    dataset = opened(tree, 'without_mask = "healthy"')
    assert set(sound.cases) < set(dataset.cases)
    assert "1 of 4 volumes have no mask and are taken to be healthy: sub-c1_ses-1." in dataset.caveats
    (broken,) = (case for case in dataset.cases if case.subject not in ("sub-01", "sub-02", "sub-c1"))
    assert ID.fullmatch(broken.case_id)
    assert ID.fullmatch(broken.subject)
    with pytest.raises(CaseError, match="is no name; rename it with letters, digits") as error:
        dataset.load(broken)
    assert str(error.value).encode().startswith(str(tree).encode())
    assert "\n" not in str(error.value)


def test_masks_may_lie_beside_the_images_and_sessions_may_lack(tmp_path: Path) -> None:
    for person in ("sub-1", "sub-2"):
        save(tmp_path / person / "anat" / f"{person}_FLAIR.nii", brain())
        save(tmp_path / person / "anat" / f"{person}_desc-lesion_mask.nii", lesion(12))
    dataset = open_dataset("bids:flair", tmp_path)
    assert {case.volume for case in dataset.cases} == {"sub-1", "sub-2"}
    assert dataset.load(dataset.cases[0]).mask.any()


def test_patterns_and_the_sign_of_lesions_can_be_said(tree: Path) -> None:
    for image in tree.glob("sub-*/*/anat/*_T1w.nii.gz"):
        image.rename(image.with_name(image.name.replace("_T1w", "_desc-preproc_T1w")))
    save(
        tree
        / "derivatives"
        / "rater2"
        / "sub-02"
        / "ses-1"
        / "anat"
        / "sub-02_ses-1_label-lesion_mask.nii.gz",
        lesion(5),
    )
    refused(tree, 'without_mask = "leave-out"', "2 masks belong to it", "uadbench.toml")
    settings = (
        'image = "sub-*/ses-*/anat/*_desc-preproc_T1w.nii.gz"\nmask = "derivatives/rater2/**/*_mask.nii.gz"\n'
    )
    dataset = opened(tree, settings + 'lesions = "bright"\nwithout_mask = "leave-out"')
    assert {case.volume for case in dataset.cases} == {"sub-02_ses-1_desc-preproc"}
    assert dataset.lesion_sign == 1
    darker = opened(tree, settings + 'lesions = "dark"\nwithout_mask = "leave-out"')
    assert darker.lesion_sign == -1
    assert darker.fingerprint != dataset.fingerprint


def test_the_split_of_a_subject_can_be_said_and_training_is_healthy(tree: Path) -> None:
    settings = 'without_mask = "healthy"\n[split]\ntrain = ["sub-c1"]\nval = ["sub-02"]\ntest = ["sub-01"]'
    dataset = opened(tree, settings)
    assert {case.subject: case.split for case in dataset.cases} == {
        "sub-c1": "train",
        "sub-02": "val",
        "sub-01": "test",
    }
    assert len(list(dataset.training_slices())) == 1


def test_a_tree_of_another_kind_of_image_says_which_and_files_of_another_system_are_passed_over(
    tmp_path: Path,
) -> None:
    image = save(tmp_path / "sub-1" / "anat" / "sub-1_FLAIR.nii.gz", brain())
    image.with_name("._sub-1_FLAIR.nii.gz").write_bytes(b"AppleDouble")
    (tmp_path / "uadbench.toml").write_text('without_mask = "healthy"')
    with pytest.raises(CaseError, match="no T1w image, but others; say which: bids:flair"):
        open_dataset("bids", tmp_path)
    assert len(open_dataset("bids:flair", tmp_path).cases) == 1


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        pytest.param(
            "images = 3", ["unknown key 'images'", "allowed: image, mask, lesions"], id="unknown key"
        ),
        pytest.param('lesions = "odd"', ["lesions is 'odd'", "bright, dark"], id="unknown sign"),
        pytest.param(
            'without_mask = "ill"', ["without_mask is 'ill'", "healthy, leave-out"], id="unknown kind"
        ),
        pytest.param('image = "../x/*.nii"', ["inside the folder"], id="leads out"),
        pytest.param('image = "/x/*.nii"', ["inside the folder"], id="absolute"),
        pytest.param("mask = 3", ["mask is 3"], id="no text"),
        pytest.param(
            'image = "sub-*/none/*.nii"', ["no file matches image = 'sub-*/none/*.nii'"], id="matches nothing"
        ),
        pytest.param("image = [", ["cannot be read as TOML"], id="no TOML"),
        pytest.param('[split]\nval = "sub-01"', ["lists of subjects"], id="no list"),
        pytest.param('[split]\nold = ["sub-01"]', ["allowed: train, val, test"], id="no split"),
        pytest.param(
            'without_mask = "leave-out"\n[split]\nval = ["sub-99"]',
            ["names 'sub-99'", "no T1w image"],
            id="nobody",
        ),
        pytest.param(
            '[split]\nval = ["sub-01"]\ntest = ["sub-01"]',
            ["sub-01 is named twice in [split]"],
            id="in two splits",
        ),
    ],
)
def test_settings_that_are_wrong_are_refused_in_one_line(tree: Path, settings: str, parts: list[str]) -> None:
    refused(tree, settings, *parts)
