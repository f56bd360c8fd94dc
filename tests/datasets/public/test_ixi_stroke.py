"""ixi-stroke on the real files: sizes, contrasts and places of its lesions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from uadbench.datasets import DATASETS
from uadbench.datasets.public.ixi_stroke import brain_region


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        pytest.param("ixi-stroke", (0.471, 0.381, 0.147), id="the papers' proportions"),
        pytest.param("ixi-stroke-balanced", (1 / 3, 1 / 3, 1 / 3), id="balanced"),
    ],
)
def test_ixi_lesions_are_of_the_sizes_that_their_caveat_says(
    root: Path, name: str, shares: tuple[float, ...]
) -> None:
    dataset = DATASETS[name](root, 0, None)
    sizes = [int(dataset.load(case).mask.sum()) for case in dataset.split("test") if case.lesion]
    found = np.bincount(np.searchsorted([3, 71, 570], sizes), minlength=4) / len(sizes)
    np.testing.assert_allclose(found, (0, *shares), atol=0.01)
    assert any("sizes" in caveat for caveat in dataset.caveats)


def test_contrast_of_ixi_lesions_reaches_from_faint_to_strong_at_every_size(root: Path) -> None:
    dataset = DATASETS["ixi-stroke-balanced"](root, 0, None)
    healthy = {c.subject: dataset.load(c).image for c in dataset.split("test") if not c.lesion}
    lost: dict[int, list[float]] = {1: [], 2: [], 3: []}
    for case in dataset.split("test"):
        if case.lesion:
            sample = dataset.load(case)
            core = ndimage.binary_erosion(sample.mask) if sample.mask.sum() > 150 else sample.mask
            before = healthy[case.subject][core].mean()
            size = int(np.searchsorted([3, 71, 570], sample.mask.sum()))
            lost[size].append(1 - sample.image[core].mean() / before)
    for values in lost.values():
        assert np.quantile(values, 0.15) < 0.12
        assert np.quantile(values, 0.9) > 0.3


def test_every_ixi_lesion_lies_in_the_brain_of_its_slice(root: Path) -> None:
    dataset = DATASETS["ixi-stroke"](root, 0, None)
    healthy = {case.subject: case for case in dataset.split("test") if not case.lesion}
    for case in dataset.split("test")[44::4]:
        brain = brain_region(dataset.load(healthy[case.subject]).image)
        mask = dataset.load(case).mask
        assert mask.sum() > 3
        assert not (mask & ~brain).any()
