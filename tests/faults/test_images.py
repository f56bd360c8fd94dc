"""Damaged images: each is one failed case with one line that says what is really wrong; nothing hangs or fills up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from uadbench.datasets import DATASETS
from uadbench.datasets.case import CaseError, Dataset
from uadbench.datasets.preprocess import MAX_SIDE, preprocess
from uadbench.datasets.sources import content_hash, find_root

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
PLANE = PIXELS.astype(np.float32)


def opened(folder: Path, image: str, mask: str = "") -> Dataset:
    """A folder of one case with that image (and mask), and a good one after it."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(PIXELS).save(folder / "good.png")
    lines = ["case_id,image,mask,split,subject", f"bad,{image},{mask},test,s1", "good,good.png,,test,s2"]
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return DATASETS["folder"](folder, 0, None)


def refusal(dataset: Dataset) -> str:
    """Why the first case cannot be loaded, one line; the second can."""
    with pytest.raises(CaseError) as error:
        dataset.load(dataset.cases[0])
    assert dataset.load(dataset.cases[1]).image.any()
    message = str(error.value)
    assert "\n" not in message
    return message


def nifti(data: np.ndarray, affine: np.ndarray) -> Callable[[Path], None]:
    """Writes a NIfTI whose header holds this affine as it is."""

    def write(path: Path) -> None:
        image = nibabel.Nifti1Image(data, np.eye(4))
        image.header.set_qform(None, code=0)
        image.header["sform_code"] = 1
        for row, name in zip(affine, ("srow_x", "srow_y", "srow_z"), strict=False):
            image.header[name] = row
        nibabel.Nifti1Image(data, None, image.header).to_filename(path)

    return write


def colours(path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(np.zeros((40, 30, 1), dtype=kind), np.eye(4)).to_filename(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may be 107 characters long, and pytest's folders are deep
    try:
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.chdir(here)


def saved(array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, array)


def with_value(value: float) -> np.ndarray:
    changed = PLANE.copy()
    changed[3, 4] = value
    return changed


SINGULAR = np.diag([1.0, 1.0, 0.0, 1.0])
DOUBLED = np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        pytest.param("x.png", Path.mkdir, "x.png: is a folder, not a file", id="folder"),
        pytest.param("x.png", pipe, "x.png: is a pipe", id="pipe"),
        pytest.param("x.npy", pipe, "x.npy: is a pipe", id="pipe as array"),
        pytest.param("x.nii.gz", pipe, "x.nii.gz: is a pipe", id="pipe as volume"),
        pytest.param("x.png", bound_socket, "x.png: is a pipe, socket or device", id="socket"),
        pytest.param("x.png", lambda path: None, "x.png: no such file", id="missing"),
        pytest.param("good.png/x.png", lambda path: None, "no such file", id="below a file"),
        pytest.param("y" * 300 + ".png", lambda path: None, "name too long", id="long name"),
        pytest.param("z/" * 3000 + "x.png", lambda path: None, "name too long", id="long path"),
        pytest.param("x.npy", saved(with_value(np.nan)), "1 of 1200 pixels are NaN", id="nan"),
        pytest.param("x.npy", saved(with_value(-np.inf)), "1 of 1200 pixels are NaN or inf", id="infinite"),
        pytest.param("x.npy", saved(PLANE * 1j), "complex64 are not real", id="complex array"),
        pytest.param("x.npy", saved(np.zeros((1, 40, 30))), "shape (1, 40, 30)", id="3-D array"),
        pytest.param("x.npy", saved(np.zeros(40)), "shape (40,)", id="1-D array"),
        pytest.param("x.npy", saved(np.eye(1, MAX_SIDE + 1)), f"may have {MAX_SIDE}", id="1 pixel high"),
        pytest.param("x.npy", saved(np.eye(MAX_SIDE + 1, 1)), f"may have {MAX_SIDE}", id="1 pixel wide"),
        pytest.param(
            "x.nii",
            nifti(PLANE[..., None] * (1 + 1j), np.eye(4)),
            "complex64 are not real",
            id="complex NIfTI",
        ),
        pytest.param("x.nii", colours, "are not real numbers", id="coloured NIfTI"),
        pytest.param("x.nii", nifti(PLANE[..., None], SINGULAR), "affine is singular", id="singular affine"),
        pytest.param("x.nii", nifti(PLANE[..., None], DOUBLED), "affine is singular", id="two equal axes"),
        pytest.param(
            "x.nii", nifti(PLANE[..., None], np.eye(4) * np.nan), "singular or not finite", id="NaN affine"
        ),
        pytest.param(
            "x.nii", nifti(np.eye(MAX_SIDE + 1, 2)[..., None], np.eye(4)), "may have", id="long NIfTI"
        ),
    ],
)
def test_a_damaged_image_is_one_failed_case_that_says_what_is_wrong(
    tmp_path: Path, name: str, write: Callable[[Path], None], reason: str
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    if len(name) < 200:
        write(folder / name)
    message = refusal(opened(folder, name))
    assert reason in message
    assert ";" in message, "the remedy follows a semicolon"


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        pytest.param("m.png", pipe, "is a pipe", id="pipe"),
        pytest.param("m.npy", saved(PLANE * 1j), "not a number", id="complex array"),
        pytest.param("m.nii", nifti(PLANE[..., None] * 1j, np.eye(4)), "are not real", id="complex NIfTI"),
        pytest.param("m" * 300 + ".png", None, "name too long", id="long name"),
    ],
)
def test_a_damaged_mask_is_one_failed_case_that_says_what_is_wrong(
    tmp_path: Path, name: str, write: Callable[[Path], None] | None, reason: str
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    if write is not None:
        write(folder / name)
    assert reason in refusal(opened(folder, "good.png", name))


@pytest.mark.parametrize("shape", [(1, 16000), (16000, 1), (MAX_SIDE + 1, MAX_SIDE + 1)])
def test_a_slice_that_is_too_long_is_refused_before_memory_is_taken(shape: tuple[int, int]) -> None:
    """The child may take 64 MiB more than it holds when it starts; padded to a square the slice would take GiB."""
    code = (
        "import resource, sys, numpy as np\n"
        "from uadbench.datasets.preprocess import preprocess\n"
        "image = np.broadcast_to(np.uint8(1), (int(sys.argv[1]), int(sys.argv[2])))\n"
        "held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (held + 2**26, held + 2**26))\n"
        "try:\n    preprocess(image, None, name='x')\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc to know what a process holds")
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, shape)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == (
        f"CaseError x: {shape[0]} x {shape[1]} pixels, the longest side may have {MAX_SIDE} (slices are padded to a "
        "square); shrink it or cut out what is needed\n"
    )


def test_the_longest_slice_that_is_allowed_is_scored() -> None:
    ramp = np.linspace(0, 1, MAX_SIDE)[None]
    assert preprocess(ramp, None)[0].shape == (128, 128)


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        pytest.param("r" * 300, "name too long", id="long name"),
        pytest.param("nul\0", "null", id="NUL"),
        pytest.param("none", "no such file", id="missing"),
    ],
)
def test_a_folder_that_cannot_be_opened_is_one_line(tmp_path: Path, root: str, reason: str) -> None:
    with pytest.raises(CaseError, match=reason) as error:
        DATASETS["folder"](tmp_path / root, 0, None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        pytest.param(pipe, "index.csv: is a pipe", id="pipe"),
        pytest.param(Path.mkdir, "index.csv: is a folder", id="folder"),
    ],
)
def test_an_index_that_is_no_file_is_one_line(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(tmp_path / "index.csv")
    with pytest.raises(CaseError, match=reason):
        DATASETS["folder"](tmp_path, 0, None)


@pytest.mark.parametrize(
    ("base", "reason"),
    [pytest.param("r" * 300, "name too long", id="long name"), pytest.param("a\0b", "null", id="NUL")],
)
def test_a_data_root_that_cannot_be_opened_is_one_line(tmp_path: Path, base: str, reason: str) -> None:
    with pytest.raises(CaseError, match=reason) as error:
        find_root("soop-flair", tmp_path / base)
    assert "\n" not in str(error.value)


def test_contents_are_compared_without_waiting_for_a_pipe(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    before = content_hash(tmp_path)
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").mkdir()
    assert content_hash(tmp_path) == before
