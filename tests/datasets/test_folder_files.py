"""Files in the user's own folder that cannot be used: each fails alone and says why, and none is executed."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from support.folders import HEADER, MASK, PIXELS, opened, refused, write

from uadbench.datasets.preprocess import MAX_SIDE
from uadbench.datasets.readers import MAX_VOXELS


def png_header(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


class Payload:
    """Pickled so that reading it with pickle would create a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def test_pickled_arrays_are_never_unpickled(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", "a,x.npy,,test,s", "b,y.npy,,test,s")
    np.save(folder / "x.npy", np.array([Payload(tmp_path / "hacked")], dtype=object), allow_pickle=True)
    (folder / "y.npy").write_bytes(pickle.dumps(Payload(tmp_path / "hacked")))
    dataset = opened(folder)
    for case in dataset.cases:
        refused(lambda case=case: dataset.load(case), "not a readable .npy")
    assert not (tmp_path / "hacked").exists()


def bad_files(folder: Path) -> dict[str, tuple[str, str]]:
    """name -> (part of the message, slice)."""
    (folder / "text.png").write_text("no image")
    whole = (folder / "a.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bomb.png").write_bytes(png_header(60000, 60000))
    (folder / "large.png").write_bytes(png_header(MAX_SIDE + 1, 8))
    Image.fromarray(np.stack([PIXELS, PIXELS, PIXELS // 2], axis=-1)).save(folder / "colour.png")
    np.save(folder / "nan.npy", np.full((20, 20), np.nan))
    np.save(folder / "cube.npy", np.ones((4, 4, 4)))
    np.save(folder / "void.npy", np.ones((0, 4)))
    np.savez(folder / "x.npz", PIXELS)
    (folder / "x.npz").rename(folder / "zip.npy")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (900000, 900000), }".ljust(117) + b"\n"
    (folder / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    volume = nibabel.Nifti1Image(np.ones((5, 5, 5), dtype=np.uint8), np.eye(4))
    volume.to_filename(folder / "v.nii")
    nibabel.Nifti1Image(np.ones((5, 5, 5, 2), dtype=np.uint8), np.eye(4)).to_filename(folder / "four.nii")
    (folder / "torn.nii").write_bytes((folder / "v.nii").read_bytes()[:-20])
    (folder / "text.nii.gz").write_text("no image")
    claim = bytearray((folder / "v.nii").read_bytes())
    claim[42:48] = struct.pack("<hhh", 32000, 32000, 3)
    (folder / "claim.nii").write_bytes(claim)
    (folder / "dir.png").mkdir()
    return {
        "none.png": ("no such file", ""),
        "dir.png": ("is a folder", ""),
        "text.png": ("not a readable PNG", ""),
        "torn.png": ("not a readable PNG", ""),
        "bomb.png": ("not a readable PNG", ""),
        "large.png": (f"the longest side may have {MAX_SIDE}", ""),
        "colour.png": ("in colour", ""),
        "a.png": ("only a NIfTI volume has slices", "3"),
        "nan.npy": ("NaN", ""),
        "cube.npy": ("2-D", ""),
        "void.npy": ("", ""),
        "zip.npy": ("archive", ""),
        "huge.npy": ("", ""),
        "v.nii": ("say which (0 to 4)", ""),
        "four.nii": ("3-D volume", "1"),
        "torn.nii": ("cannot be read", "4"),
        "text.nii.gz": ("not a readable NIfTI", ""),
        "claim.nii": (f"at most {MAX_VOXELS}", "1"),
    }


def test_a_case_that_cannot_be_read_fails_alone_and_says_why(tmp_path: Path) -> None:
    files = bad_files(write(tmp_path / "f"))
    lines = [f"c{k},{name},,test,s{k},{number}" for k, (name, (_, number)) in enumerate(files.items())]
    folder = write(tmp_path / "f", *lines, "good,a.png,m.png,test,t,", header=HEADER + ",slice")
    dataset = opened(folder)
    for case, (name, (part, _)) in zip(dataset.cases, files.items(), strict=False):
        refused(lambda case=case: dataset.load(case), name, part)
    assert dataset.load(dataset.cases[-1]).mask.any()


def test_a_slice_number_beyond_the_volume_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", "a,v.nii,,test,s,5", header=HEADER + ",slice")
    nibabel.Nifti1Image(np.ones((5, 5, 5), dtype=np.uint8), np.eye(4)).to_filename(folder / "v.nii")
    dataset = opened(folder)
    refused(lambda: dataset.load(dataset.cases[0]), "slice 5", "0 to 4")


def test_a_mask_of_another_shape_or_an_empty_one_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", "a,a.png,big.png,test,s", "b,a.png,empty.png,test,s")
    Image.fromarray(np.ones((50, 50), dtype=np.uint8)).save(folder / "big.png")
    Image.fromarray(MASK * 0).save(folder / "empty.png")
    dataset = opened(folder)
    refused(lambda: dataset.load(dataset.cases[0]), "(50, 50)", "(40, 30)")
    refused(lambda: dataset.load(dataset.cases[1]), "empty.png", "healthy")
