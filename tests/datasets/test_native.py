"""The way back to a file's own grid undoes the way in: exact in geometry, close in values."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from uadbench.datasets.case import CaseError
from uadbench.datasets.native import cut, put, read_grid, read_pixels, to_native, unit_to_grey
from uadbench.datasets.preprocess import grey_range, pad_to_square, preprocess, to_size
from uadbench.datasets.readers import read_slice
from uadbench.datasets.writers import nifti_bytes, npy_bytes, plain_nifti_bytes, png_bytes, to_grey16

SHAPES = [(128, 128), (128, 90), (90, 128), (233, 197), (197, 233), (31, 64), (64, 33), (300, 512)]


def smooth(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.linspace(0, np.pi, side) for side in shape)
    return (np.sin(rows)[:, None] * np.sin(columns)[None, :]).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_smooth_slice_comes_back_within_the_error_of_interpolation(shape: tuple[int, int]) -> None:
    image = smooth(shape)
    low, high = grey_range(image.astype(np.float64))
    back = unit_to_grey(to_native(preprocess(image, None)[0], shape), low, high)
    assert back.shape == shape
    clipped = np.minimum(image, high)
    # two interpolations of a half sine, of which one pixel of the coarser grid is at most pi / 31 wide
    np.testing.assert_allclose(back, clipped, atol=0.02)


def test_on_a_grid_of_the_same_size_every_value_is_kept_to_the_bit() -> None:
    found = (3 * np.random.default_rng(0).random((128, 128))).astype(np.float32)
    assert to_native(found, (128, 128)).tobytes() == found.tobytes()
    assert to_native(found, (128, 97)).tobytes() == np.ascontiguousarray(found[:, 15:112]).tobytes()


@pytest.mark.parametrize("shape", [(256, 192), (192, 256), (255, 128), (64, 49)])
def test_a_marker_in_each_corner_comes_back_where_it_was(shape: tuple[int, int]) -> None:
    for row, column in product((0, shape[0] - 4), (0, shape[1] - 4)):
        image = np.zeros(shape)
        image[row : row + 4, column : column + 4] = 1
        corner = to_native(to_size(pad_to_square(image)), shape)
        rows, columns = np.indices(shape)
        middle = [(axis * corner).sum() / corner.sum() for axis in (rows, columns)]
        np.testing.assert_allclose(middle, (row + 1.5, column + 1.5), atol=0.5)  # blurred, cut at the edge


ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def volume_file(path: Path, order: tuple[int, ...], signs: tuple[int, ...]) -> Path:
    """A volume of 5 x 6 x 7 voxels in one of the 48 orientations; every voxel another value."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (anatomical, sign) in enumerate(zip(order, signs, strict=True)):
        affine[anatomical, axis] = sign * (axis + 1.0)
    affine[:3, 3] = 10, -20, 30
    voxels = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
    nibabel.Nifti1Image(voxels, affine).to_filename(path)
    return path


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_slices_of_any_orientation_are_those_that_are_read_and_go_back_into_their_place(
    tmp_path: Path, order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    path = volume_file(tmp_path / "v.nii", order, signs)
    grid = read_grid(path)
    pixels = read_pixels(grid)
    stored = np.zeros_like(pixels)
    for index in range(grid.depth):
        image = cut(grid, pixels, index)
        np.testing.assert_array_equal(image, read_slice(path, index))
        put(grid, stored, index, image)
    np.testing.assert_array_equal(stored, nibabel.nifti1.load(path).get_fdata())


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (1, 6, 7), (6, 7, 1, 1), (6, 1, 7)])
def test_a_file_of_one_slice_is_one_slice(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "s.nii.gz"
    nibabel.Nifti1Image(np.random.default_rng(0).random(shape).astype(np.float32), np.eye(4)).to_filename(
        path
    )
    grid = read_grid(path)
    pixels = read_pixels(grid)
    assert (grid.depth, grid.volume) == (1, False)
    np.testing.assert_array_equal(cut(grid, pixels, 0), read_slice(path))
    stored = np.zeros_like(pixels)
    put(grid, stored, 0, cut(grid, pixels, 0))
    assert stored.reshape(shape).tobytes() == pixels.tobytes()


def test_a_slice_outside_a_volume_and_a_damaged_file_are_one_line(tmp_path: Path) -> None:
    grid = read_grid(volume_file(tmp_path / "v.nii", (0, 1, 2), (1, 1, 1)))
    with pytest.raises(CaseError, match="slice 7 is outside 0 to 6"):
        cut(grid, read_pixels(grid), 7)
    (tmp_path / "bad.nii.gz").write_bytes(gzip.compress(b"no"))
    with pytest.raises(CaseError, match="not a readable NIfTI"):
        read_grid(tmp_path / "bad.nii.gz")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_a_nifti_is_written_on_the_grid_of_another_without_its_texts(tmp_path: Path, kind: type) -> None:
    affine = np.array([[0, 0, 2.5, -7], [1.1, 0.1, 0, 3], [0, -0.9, 0, 4], [0, 0, 0, 1]])
    like = kind(np.zeros((4, 5, 6, 1), np.int16), affine)
    like.header.set_xyzt_units("mm")
    like.header["descrip"] = b"name of a patient"
    like.header.set_slope_inter(3, 5)
    like.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"name of a patient"))
    like.to_filename(tmp_path / "a.nii.gz")
    like = kind.from_filename(tmp_path / "a.nii.gz")
    found = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    data = nifti_bytes(found, like, "a map")
    (tmp_path / "b.nii.gz").write_bytes(data)
    back = kind.from_filename(tmp_path / "b.nii.gz")
    assert back.shape == like.shape
    np.testing.assert_array_equal(back.affine, like.affine)
    for code in ("sform_code", "qform_code", "xyzt_units"):
        assert back.header[code] == like.header[code]
    np.testing.assert_array_equal(np.asarray(back.dataobj)[..., 0], found)
    assert b"patient" not in gzip.decompress(data)
    assert data == nifti_bytes(found, like, "a map"), "the same bytes each time"


def test_an_exported_slice_is_read_as_it_was(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    (tmp_path / "a.nii.gz").write_bytes(plain_nifti_bytes(image, "a map"))
    np.testing.assert_array_equal(read_slice(tmp_path / "a.nii.gz"), image)
    written = nibabel.nifti1.load(tmp_path / "a.nii.gz")
    assert nibabel.aff2axcodes(written.affine) == ("R", "A", "S")
    np.testing.assert_allclose(written.affine @ [3, 2, 0, 1], [0, 0, 0, 1])  # the middle of 7 x 5
    (tmp_path / "a.npy").write_bytes(npy_bytes(image))
    np.testing.assert_array_equal(read_slice(tmp_path / "a.npy"), image)


def test_grey_of_16_bit_is_in_proportion_and_white_at_the_top(tmp_path: Path) -> None:
    grey = to_grey16(np.array([[0, 0.25, 0.5, 0.75]], np.float32), 0.5)
    assert grey.tolist() == [[0, 32768, 65535, 65535]]
    (tmp_path / "a.png").write_bytes(png_bytes(grey, {"white": "0.5"}))
    np.testing.assert_array_equal(read_slice(tmp_path / "a.png"), grey)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.text == {"white": "0.5"}
