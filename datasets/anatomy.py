"""Synthetic mid-axial T1w brain slices made from the MNI152 tissue maps inside the nilearn package.

A subject is a smooth random deformation of the atlas sampled on a slightly curved plane, sharpened to one brain's
tissue borders, wrapped in skull and scalp, and passed through bias field, blur and Rician noise. A case is a pure
function of (population seed, case id, lesion size).

Atlas: ICBM 152 nonlinear symmetric 2009a (Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033).
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import convex_hull_image

from uadbench.datasets.deform import Floats, affine_grid, case_rng, smooth_field
from uadbench.datasets.lesions import SIZE_GROUPS, random_lesion_shape, simulate_lesion

__all__ = ["GENERATOR", "SIZE", "generate"]

GENERATOR = "phantom-1"  # change when the same seed gives other bytes
SIZE = 128
_FRAME_MM = 233  # the padded 1 mm frame of the real slices
_FINE = 2 * SIZE  # the anatomy is drawn at twice the resolution and pooled
_MM = _FRAME_MM / _FINE  # millimetres a fine pixel
_Z_LOW, _Z_HIGH = 84, 110  # atlas slices kept: z = +12 .. +37 mm


def _nilearn_data() -> Path:
    """The folder of the package's data, found without importing it, which takes seconds."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("nilearn, whose tissue maps the phantom is made of, is not installed")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "data"


@cache
def _atlas() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fractions of grey and of white matter, each [Z, 233, 233] in [0, 1], rows from front to back."""
    maps: list[NDArray[np.float32]] = []
    for name in ("gm", "wm"):
        path = _nilearn_data() / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"
        volume = np.asarray(nib.nifti1.load(path).dataobj)[:, :, _Z_LOW:_Z_HIGH]
        slices = np.rot90(volume, axes=(0, 1)).transpose(2, 0, 1).astype(np.float32) / 255
        pad = (_FRAME_MM - slices.shape[2]) // 2
        maps.append(np.pad(slices, ((0, 0), (0, 0), (pad, pad))).astype(np.float32))
    return maps[0], maps[1]


@cache
def _shapes(level: int) -> tuple[Floats, Floats]:
    """Of one atlas slice: distance outside the brain's hull in mm (negative inside), blurred ventricles in [0, 1]."""
    grey_map, white_map = _atlas()
    tissue = grey_map[level] + white_map[level]
    closed = ndimage.gaussian_filter(convex_hull_image(tissue > 0.3).astype(float), 3) > 0.5
    hull = ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed)
    rows, cols = np.indices(tissue.shape) - (_FRAME_MM - 1) / 2
    central = (np.abs(cols) < 40) & (np.abs(cols) > 2) & (rows > -45) & (rows < 40)
    hull = ndimage.gaussian_filter(hull, 7)
    return hull, ndimage.gaussian_filter(((tissue < 0.5) & (hull < -18) & central).astype(float), 5)


def _sample(volume: Floats, *coordinates: Floats) -> Floats:
    return ndimage.map_coordinates(volume, coordinates, order=1, mode="nearest")


def _tissues(rng: np.random.Generator) -> tuple[dict[str, Floats], Floats, Floats]:
    """One subject's anatomy on the fine grid: fractions of grey, white, fluid; hull distance (mm); ventricle map."""
    grey_map, white_map = _atlas()
    row, col = affine_grid(
        _FINE,
        scale=(float(rng.normal(1.025, 0.010)), float(rng.normal(1.025, 0.013))),
        angle=float(rng.normal(0, 0.014)),
        shift=(float(rng.normal(0, 1.0)), float(rng.normal(0, 0.8))),
    )
    row = (row + 0.5) * _MM - 0.5
    col = (col + 0.5) * _MM - 0.5
    row += 1.1 * smooth_field(rng, _FINE, 3)
    col += 1.1 * smooth_field(rng, _FINE, 3)
    # the plane: its height, its tilt and its curvature; other sulci come into it left and right
    tilt = rng.normal(0, 0.6, 2)
    span = np.linspace(-1, 1, _FINE)
    z = rng.uniform(92.5, 97.0) + tilt[0] * span[:, None] + tilt[1] * span[None, :]
    z += 1.2 * smooth_field(rng, _FINE, 3) + 1.2 * smooth_field(rng, _FINE, 8)
    z = np.clip(z - _Z_LOW, 0, _Z_HIGH - _Z_LOW - 1)
    hull_map, ventricle_map = _shapes(int(np.round(z.mean())))  # they vary slowly with z
    hull = _sample(hull_map, row, col)
    # gyri: finer displacements, fading towards the hull so that the cortex stays under the skull
    inside = np.clip(-hull / 12, 0, 1)
    ventricle = _sample(ventricle_map, row, col)
    fade = inside * (1 - 0.6 * np.clip(ventricle / 0.3, 0, 1))
    fine_row = row + fade * (1.8 * smooth_field(rng, _FINE, 9) + 1.5 * smooth_field(rng, _FINE, 22))
    fine_col = col + fade * (1.8 * smooth_field(rng, _FINE, 9) + 1.5 * smooth_field(rng, _FINE, 22))
    # ventricles: sampling nearer to their middle widens them, sampling away narrows them, each side by its own measure
    age = float(rng.beta(1.3, 2.6))  # 0 young .. 1 old: wide ventricles and sulci go together, loosely
    wide = float(np.clip(1.2 * age + rng.normal(-0.38, 0.22), -0.45, 1.1))
    side = wide * (1 + 0.25 * smooth_field(rng, _FINE, 2))
    slope_row, slope_col = np.gradient(ventricle)
    fine_row += 95 * side * slope_row
    fine_col += 95 * side * slope_col
    grey = _sample(grey_map, z, fine_row, fine_col)
    white = _sample(white_map, z, fine_row, fine_col)
    fold, cleft = _folds(rng, hull, age)
    grey, white = grey + fold * white, (1 - fold) * white
    grey, white = (1 - cleft) * grey, (1 - cleft) * white
    fluid = np.clip(1 - grey - white, 0, 1)
    # an atlas is an average: raising the fractions to a power gives one brain's borders back. Weights that vary
    # in space vary the cortex and open or close sulci
    w_grey = np.exp(0.15 * smooth_field(rng, _FINE, 14) - 0.25)
    w_fluid = np.exp(0.30 * smooth_field(rng, _FINE, 10) + 0.45 + 0.7 * age + rng.normal(0, 0.15))
    midline = np.exp(-((col - (_FRAME_MM - 1) / 2) ** 2) / (2 * 3.0**2)) * (ventricle < 0.02)
    w_fluid = w_fluid * (1 - 0.4 * midline)  # the atlas's gap between the hemispheres is wide already
    power = rng.uniform(1.7, 2.4)
    parts = {"grey": (w_grey * grey) ** power, "white": white**power, "fluid": (w_fluid * fluid) ** power}
    total = sum(parts.values()) + 1e-9
    parts = {name: part / total for name, part in parts.items()}
    return parts, hull, ventricle


def _folds(rng: np.random.Generator, hull: Floats, age: float) -> tuple[Floats, Floats]:
    """Sulci that the averaged atlas has lost: weights of their grey banks and of the fluid between, [fine, fine].

    They are the zero lines of a random field that is stretched along the depth below the hull (mm).
    """
    rows, cols = np.indices(hull.shape) / _FINE - 0.5
    angle = (np.arctan2(cols, -rows) / (2 * np.pi) + 0.5) * (_FINE - 1)
    depth = np.clip(-hull / 60, 0, 1) * (_FINE - 1)
    polar = smooth_field(rng, _FINE, int(rng.integers(20, 28)), 5)
    lines = _sample(polar, angle, depth)
    slope = np.hypot(*np.gradient(lines, _MM))
    apart = np.abs(lines) / (slope + 0.02)  # about the distance to the zero line in mm
    reach = np.clip(17 + 7 * smooth_field(rng, _FINE, 7), 0, 32)
    present = np.clip((reach + hull) / 4, 0, 1) * np.clip(0.6 + smooth_field(rng, _FINE, 9), 0, 1)
    fold = present * np.clip(1.5 - apart / 2.0, 0, 1)
    cleft = present * np.clip(1.2 - apart / (0.7 + 0.5 * age), 0, 1) * np.clip((reach + hull) / 9, 0, 1)
    return 0.95 * fold, 0.75 * cleft


def _head(rng: np.random.Generator, hull: Floats, fluid_level: float) -> tuple[Floats, Floats]:
    """Intensity outside the brain and the weight of the brain, both [fine, fine], from the hull distance in mm."""
    gap = np.clip(rng.uniform(-0.6, 1.0) + 0.6 * smooth_field(rng, _FINE, 4), -0.5, 4)
    bone = np.clip(rng.normal(4.5, 0.6) + 0.7 * smooth_field(rng, _FINE, 4), 2.2, 9)
    rows, cols = np.indices(hull.shape) / _FINE - 0.5
    sides = np.clip((np.abs(cols) - 0.2) / 0.1, 0, 1)
    scalp = np.clip(0.4 * sides + rng.normal(6.2, 0.7) + 0.8 * smooth_field(rng, _FINE, 4), 2.5, 10)
    depth_bone = (hull - gap) / bone
    depth_scalp = (hull - gap - bone) / scalp
    marrow = np.clip(rng.uniform(0.0, 0.3) + 0.14 * smooth_field(rng, _FINE, 9), 0, 0.6)
    skull = rng.uniform(0.04, 0.1) + marrow * np.exp(-(((depth_bone - 0.55) / 0.2) ** 2))
    fat = np.clip(rng.uniform(0.75, 1.2) + 0.14 * smooth_field(rng, _FINE, 8), 0.35, 1.5)
    skin = np.clip(0.65 + 0.1 * smooth_field(rng, _FINE, 8), 0.3, 0.9)
    soft = fat + (skin - fat) * np.clip((depth_scalp - 0.55) / 0.3, 0, 1)
    # temporal muscle: grey, under the fat at the sides, in front of the middle
    bulge = np.exp(-(((rows + 0.08) / 0.14) ** 2)) * sides
    muscle = rng.uniform(0.0, 0.75) * bulge
    soft = np.where(depth_scalp < muscle, 0.45, soft)

    def ramp(distance: Floats) -> Floats:
        return np.clip(distance / 1.2 + 0.5, 0, 1)  # 1.2 mm of partial volume

    outside = fluid_level * 0.9 + (skull - fluid_level * 0.9) * ramp(hull - gap)
    outside = outside + (soft - outside) * ramp(hull - gap - bone)
    outside = outside * (1 - ramp(hull - gap - bone - scalp))
    return outside, 1 - ramp(hull - 0.3)


def _normalise(image: Floats) -> NDArray[np.float32]:
    """As for the real slices: 98th percentile to 1, clipped; on a 12-bit scale, so that bytes do not hang on ulps."""
    scaled = np.clip(image / np.percentile(image, 98), 0, 1)
    return (np.round(scaled * 4095) / 4095).astype(np.float32)


def _slice(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A healthy slice [128, 128] in [0, 1] and where a lesion may lie (brain without ventricles)."""
    parts, hull, ventricle = _tissues(rng)
    level_white = 1.0
    level_grey = rng.normal(0.71, 0.035)
    level_fluid = rng.normal(0.24, 0.035)
    white = level_white + 0.015 * smooth_field(rng, _FINE, 12) + 0.012 * smooth_field(rng, _FINE, 40)
    # faint, common and harmless: darker white matter around the ventricles and in patches
    caps = np.clip(ventricle / 0.25, 0, 1) * np.clip(rng.normal(0.04, 0.05), 0, 0.16)
    patches = np.clip(smooth_field(rng, _FINE, 26) - rng.uniform(1.9, 3.2), 0, 1) * 0.22
    white = white - caps - patches
    grey = level_grey + 0.025 * smooth_field(rng, _FINE, 16)
    brain = parts["white"] * white + parts["grey"] * grey + parts["fluid"] * level_fluid
    outside, weight = _head(rng, hull, level_fluid)
    image = weight * brain + (1 - weight) * outside
    gain = np.exp(rng.gamma(2.0, 0.035) * smooth_field(rng, _FINE, 2) + 0.03 * smooth_field(rng, _FINE, 5))
    image = ndimage.gaussian_filter(image * gain, rng.uniform(0.55, 1.0) / _MM)
    sigma = np.exp(rng.uniform(np.log(0.01), np.log(0.045)))
    noise = sigma * rng.standard_normal((2, _FINE, _FINE))
    # Rician magnitude with its noise floor taken off, as stored images have it: the background is near 0
    image = np.sqrt(np.clip((image + noise[0]) ** 2 + noise[1] ** 2 - 2 * sigma**2, 0, None))
    pooled = image.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
    open_fluid = parts["fluid"] * (ventricle > 0.02) > 0.5
    room = ((hull < -1.5) & ~open_fluid).reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3)) > 0.5
    return _normalise(pooled), room


def generate(
    seed: int, case_id: str, lesion: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One slice: image float32 [128, 128] in [0, 1], mask bool [128, 128] (all False when healthy).

    seed : the population; case_id : the subject. The same pair gives the same bytes, whatever was drawn before;
    the lesion comes last, so a case with a lesion is the healthy case of the same name with a lesion put in.
    lesion : None or one of "small" (4-71 pixels), "medium" (72-570), "large" (more than 570)
    """
    if lesion is not None and lesion not in SIZE_GROUPS:
        raise ValueError(f"unknown lesion size {lesion!r}; choose from None, {', '.join(SIZE_GROUPS)}")
    image, room = _slice(case_rng(GENERATOR, seed, case_id))
    if lesion is None:
        return image, np.zeros((SIZE, SIZE), dtype=bool)
    rng = case_rng(GENERATOR, seed, case_id, lesion)
    low, high = SIZE_GROUPS[lesion]
    target = int(np.floor(np.exp(rng.uniform(np.log(low), np.log(high + 1)))))
    side = np.arange(SIZE) < SIZE // 2
    room = room & (
        side if rng.random() < 0.5 else ~side
    )  # a vessel feeds one hemisphere, more often its flank
    lateral = np.clip(np.abs(np.arange(SIZE) - (SIZE - 1) / 2) / 20, 0.2, 1) * np.ones((SIZE, 1))
    shape = random_lesion_shape(room, min(target, high), rng, favour=lateral)
    return simulate_lesion(image, shape, rng)
