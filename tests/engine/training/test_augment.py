"""Augmented slices are as sharp as the ones that methods are tested on, and each is a function of the generator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_erosion, gaussian_filter
from support.places import SHARED

from uadbench.datasets import DATASETS
from uadbench.datasets.preprocess import to_size
from uadbench.engine.training.augment import Augmentation, Move, draw_move, moved

ROOT = SHARED / "data"
REAL = pytest.mark.skipif(not ROOT.is_dir(), reason="no real slices here")
BANDS = tuple(itertools.pairwise((0.05, 0.1, 0.2, 0.3, 0.4, 0.5)))  # cycles a pixel, up to Nyquist
IMAGE = np.random.default_rng(0).random((40, 40)).astype(np.float32)


def identity(image: NDArray) -> NDArray:
    return image


def augment(square: NDArray, resize: Callable, settings: Augmentation, rng: np.random.Generator) -> NDArray:
    return moved(square, resize, draw_move(settings, rng))


def blurring(square: NDArray, resize: Callable, move: Move) -> NDArray:
    """As ``moved``, but resized first and then warped bilinearly, as an earlier version did."""
    image = resize(square[:, ::-1] if move.flip else square)
    if not move.warp:
        return image
    cos, sin = np.cos(move.angle) / move.zoom, np.sin(move.angle) / move.zoom
    turn, centre = np.array([[cos, sin], [-sin, cos]]), (np.array(image.shape) - 1) / 2
    start = centre - turn @ centre + move.shift[::-1] * image.shape
    return affine_transform(image, turn, start, order=1)


def spectrum(images: Iterable[NDArray]) -> NDArray:
    """Mean power of tissue by band of spatial frequency, whatever its direction."""
    powers = []
    for image in images:
        tissue = binary_erosion(image > 0.1, iterations=3)
        window = gaussian_filter(tissue.astype(float), 2.0)  # no edge, of head or of window, that would leak
        powers.append(np.abs(np.fft.fft2((image - image[tissue].mean()) * window)) ** 2)
    each = np.fft.fftfreq(len(image))
    frequency = np.hypot(each[:, None], each[None])
    return np.array(
        [np.mean(powers, axis=0)[(low <= frequency) & (frequency < high)].mean() for low, high in BANDS]
    )


@pytest.mark.parametrize(
    ("name", "root", "warped", "tolerance"),
    [
        # The phantom's own grid is the network's, so a warp can be no finer.
        pytest.param("phantom", None, Augmentation().warped, 0.25, id="phantom"),
        pytest.param("phantom", None, 1.0, 0.45, id="phantom, all warped"),
        pytest.param("soop-flair", ROOT, Augmentation().warped, 0.1, id="soop-flair", marks=REAL),
        pytest.param("soop-flair", ROOT, 1.0, 0.15, id="soop-flair, all warped", marks=REAL),
        pytest.param("ixi-stroke", ROOT, Augmentation().warped, 0.1, id="ixi-stroke", marks=REAL),
        pytest.param("ixi-stroke", ROOT, 1.0, 0.15, id="ixi-stroke, all warped", marks=REAL),
    ],
)
def test_augmentation_keeps_the_power_of_tissue_in_every_band_and_a_warp_at_the_networks_size_would_not(
    name: str, root: Path | None, warped: float, tolerance: float
) -> None:
    slices = list(itertools.islice(DATASETS[name](root, 0, None).training_slices(), 12))
    raw, settings = spectrum(to_size(square) for square in slices), Augmentation(warped=warped)

    def off(warp: Callable[[NDArray, Callable, Move], NDArray]) -> float:
        rng = np.random.default_rng(0)
        varied = spectrum(warp(square, to_size, draw_move(settings, rng)) for square in slices * 4)
        return float(np.abs(varied / raw - 1).max())

    assert off(moved) < tolerance < off(blurring)


def test_without_warping_an_image_is_itself_or_its_mirror_image() -> None:
    rng, settings = np.random.default_rng(1), Augmentation(warped=0.0)
    found = [augment(IMAGE, identity, settings, rng) for _ in range(20)]
    flipped = [not np.array_equal(image, IMAGE) for image in found]
    assert all(
        np.array_equal(image, IMAGE[:, ::-1]) for image, other in zip(found, flipped, strict=True) if other
    )
    assert 4 < sum(flipped) < 16


def test_the_same_generator_gives_the_same_bytes_and_another_seed_another_image() -> None:
    one, two, other = (
        augment(IMAGE, identity, Augmentation(warped=1.0), np.random.default_rng(s)) for s in (3, 3, 4)
    )
    assert one.tobytes() == two.tobytes()
    assert one.tobytes() != other.tobytes()
    assert one.dtype == np.float32


@pytest.mark.parametrize("warped", [0.0, 0.5, 1.0])
def test_the_number_of_draws_does_not_hang_on_what_is_drawn(warped: float) -> None:
    """So that a change of a setting changes no later image of a batch."""
    rng, reference = np.random.default_rng(5), np.random.default_rng(5)
    for _ in range(10):
        augment(IMAGE, identity, Augmentation(warped=warped), rng)
        augment(IMAGE, identity, Augmentation(), reference)
        assert rng.bit_generator.state == reference.bit_generator.state


def test_what_moves_in_from_outside_is_background_and_values_stay_in_range() -> None:
    settings = Augmentation(warped=1.0, rotate_degrees=0.0, shift=0.2, zoom=(0.8, 0.8))
    found = augment(np.ones((40, 40)), identity, settings, np.random.default_rng(0))
    assert found.min() == 0
    assert found.max() == 1
    assert 0.5 < found.mean() < 0.75  # 0.8 squared


@pytest.mark.parametrize(
    ("angle", "zoom", "shift", "expected"),
    [
        pytest.param(0.0, (1.0, 1.0), 0.0, IMAGE, id="nothing"),
        pytest.param(0.0, (1.25, 1.25), 0.0, None, id="zoom"),
    ],
)
def test_a_warp_by_nothing_is_nothing(
    angle: float, zoom: tuple[float, float], shift: float, expected: NDArray | None
) -> None:
    rng = np.random.default_rng(0)
    settings = Augmentation(1.0, angle, shift, zoom)
    found = augment(IMAGE, identity, settings, rng)
    if expected is None:
        assert np.abs(found - IMAGE).max() > 0.1
    else:
        assert min(np.abs(found - expected).max(), np.abs(found - expected[:, ::-1]).max()) < 1e-5
