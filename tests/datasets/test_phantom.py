"""Phantoms: same seed same bytes, exact size groups and masks, healthy means healthy, and no case twice."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from uadbench.datasets.anatomy import SIZE, generate
from uadbench.datasets.case import Case, CaseError
from uadbench.datasets.lesions import REACH, SIZE_GROUPS
from uadbench.datasets.phantom import POPULATION, open_phantom


def digest(case_id: str, lesion: str | None = None, seed: int = 1) -> str:
    image, mask = generate(seed, case_id, lesion)
    return hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()


@pytest.fixture(scope="module")
def slices() -> NDArray[np.float32]:
    return np.stack([generate(1, f"look-{i}")[0] for i in range(16)])


def test_the_same_seed_gives_the_same_bytes_in_any_order() -> None:
    keys: list[tuple[str, str | None]] = [("a", None), ("b", "large"), ("c", "small"), ("d", None)]
    forward = {key: digest(*key) for key in keys}
    backward = {key: digest(*key) for key in reversed(keys)}
    assert forward == backward
    assert len(set(forward.values())) == len(keys)


def test_the_global_generator_neither_matters_nor_moves() -> None:
    np.random.seed(0)  # noqa: NPY002
    first = digest("a", "medium")
    assert np.random.random() == np.random.RandomState(0).random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    assert digest("a", "medium") == first


def test_another_process_with_other_thread_settings_gives_the_same_bytes() -> None:
    code = (
        "import hashlib; from uadbench.datasets.anatomy import generate; image, mask = generate(1, 'a', 'large');"
        "print(hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest())"
    )
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "3")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **threads, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest("a", "large")


def test_seed_and_case_id_each_make_another_subject() -> None:
    images = [generate(seed, name)[0] for seed in (1, 2) for name in ("a", "b")]
    for i in range(4):
        for j in range(i):
            assert np.abs(images[i] - images[j]).mean() > 0.02


def test_healthy_slices_have_an_empty_mask() -> None:
    _, mask = generate(1, "healthy")
    assert mask.shape == (SIZE, SIZE)
    assert mask.dtype == bool
    assert not mask.any()


@pytest.mark.parametrize("group", SIZE_GROUPS)
def test_a_lesion_lies_in_its_size_group_and_changes_only_its_surroundings(group: str) -> None:
    """The lesion case is the healthy case of the same name with a lesion put in: darker inside, same elsewhere."""
    low, high = {"small": (4, 71), "medium": (72, 570), "large": (571, SIZE * SIZE)}[group]
    for index in range(5):
        healthy, _ = generate(2, f"case-{index}")
        image, mask = generate(2, f"case-{index}", group)
        assert low <= mask.sum() <= high
        far = ndimage.distance_transform_edt(~mask) >= REACH
        np.testing.assert_array_equal(image[far], healthy[far])
        assert image[mask].mean() < healthy[mask].mean()


def test_lesions_are_no_plain_discs() -> None:
    for index in range(4):
        image, mask = generate(3, f"disc-{index}", "large")
        core = ndimage.binary_erosion(mask, iterations=2)
        assert image[core].std() > 0.02
        # a step would change fully at the border: the ring inside it must change less than the core does
        drop = generate(3, f"disc-{index}")[0] - image
        rim = mask & ~ndimage.binary_erosion(mask)
        assert drop[rim].mean() < 0.85 * drop[core].mean()


def test_an_unknown_lesion_size_lists_the_choices() -> None:
    with pytest.raises(
        ValueError, match="unknown lesion size 'huge'; choose from None, small, medium, large"
    ):
        generate(1, "a", "huge")


def test_slices_are_normalised_like_real_ones(slices: NDArray[np.float32]) -> None:
    assert slices.dtype == np.float32
    assert slices.min() == 0
    assert slices.max() == 1
    np.testing.assert_allclose(np.percentile(slices, 98, axis=(1, 2)), 1, atol=1e-3)
    corners = slices[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.max() < 0.15
    assert slices[:, :6, :6].mean() < 0.03


def test_slices_have_the_size_and_contrast_of_mid_axial_brains(slices: NDArray[np.float32]) -> None:
    """Bounds measured on 523 real slices: the head's rows 7-118 and columns 17-110, CSF < grey < white."""
    rows, cols = np.where(slices.mean(axis=0) > 0.2)
    assert abs(rows.min() - 7) <= 3
    assert abs(rows.max() - 118) <= 3
    assert abs(cols.min() - 17) <= 3
    assert abs(cols.max() - 110) <= 3
    mean = slices.mean(axis=0)
    ventricles, white = mean[55:68, 56:60].mean(), mean[50:70, 38:46].mean()
    assert ventricles < 0.65 < 0.85 < white
    assert 0.28 < slices.mean() < 0.40


def test_subjects_are_asymmetric_although_the_atlas_is_not(slices: NDArray[np.float32]) -> None:
    assert np.abs(slices - slices[:, :, ::-1]).mean(axis=(1, 2)).min() > 0.02


def test_the_data_set_has_the_documented_cases() -> None:
    dataset = open_phantom()
    counts = {
        (split, lesion): sum(case.lesion == lesion for case in dataset.split(split))
        for split in ("train", "val", "test")
        for lesion in (False, True)
    }
    assert counts == {
        ("train", False): 64,
        ("train", True): 0,
        ("val", False): 6,
        ("val", True): 6,
        ("test", False): 6,
        ("test", True): 18,
    }
    for group in SIZE_GROUPS:
        assert sum(case.case_id.endswith(group) for case in dataset.split("test")) == 6
        assert sum(case.case_id.endswith(group) for case in dataset.split("val")) == 2
    ids = [case.case_id for case in dataset.cases]
    assert len(set(ids)) == len(ids) == len({case.subject for case in dataset.cases})
    assert not any(name.startswith("train-") for name in ids)


def test_no_two_cases_of_the_data_set_are_alike_and_masks_match_their_kind() -> None:
    dataset = open_phantom()
    samples = [dataset.load(case) for case in dataset.cases if case.split != "train"]
    samples += [dataset.load(case) for case in dataset.split("train")[:4]]
    assert len({sample.image.tobytes() for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.mask.any() == sample.case.lesion
        if sample.case.lesion:
            low, high = SIZE_GROUPS[sample.case.case_id.rsplit("-", 1)[1]]
            assert low <= sample.mask.sum() <= high


@pytest.mark.parametrize("limit", [8, 24, 100])
def test_any_number_of_test_cases_can_be_had_in_the_same_proportions(limit: int) -> None:
    dataset, usual = open_phantom(limit=limit), open_phantom()
    test = dataset.split("test")
    assert len({case.case_id for case in test}) == len(test) == limit
    assert [case.lesion for case in test].count(True) == 3 * limit // 4
    sizes = [sum(case.case_id.endswith(group) for case in test) for group in SIZE_GROUPS]
    assert max(sizes) - min(sizes) <= 1
    assert dataset.split("val") == usual.split("val")
    shared = min(limit, 24)
    assert len(set(test) & set(usual.split("test"))) == shared


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        open_phantom(limit=0)


def test_the_seed_of_a_run_does_not_change_the_data_but_the_population_does() -> None:
    one, other = open_phantom(seed=1), open_phantom(seed=2)
    assert one.fingerprint == other.fingerprint == open_phantom(population=POPULATION).fingerprint
    case = one.split("test")[0]
    np.testing.assert_array_equal(one.load(case).image, other.load(case).image)
    grown = open_phantom(population=7)
    assert grown.fingerprint != one.fingerprint
    assert grown.preprocessing["population"] == 7
    assert not np.array_equal(grown.load(case).image, one.load(case).image)
    assert open_phantom(limit=5).fingerprint != one.fingerprint


def test_a_foreign_case_is_refused() -> None:
    with pytest.raises(CaseError, match="no phantom case"):
        open_phantom().load(Case("sub-01", "sub-01", "test", True))


def test_a_slice_is_made_without_importing_nilearn_which_takes_seconds() -> None:
    code = (
        "import sys; from uadbench.datasets.anatomy import generate; generate(0, 'a'); "
        "assert 'nilearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
