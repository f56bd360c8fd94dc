"""The user's own folder: what it may hold, what is refused, and that nothing outside it is read."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.folders import HEADER, MASK, PIXELS, opened, refused, write

from uadbench.datasets import DATASETS
from uadbench.datasets.readers import read_slice


def as_volume(planes: np.ndarray) -> np.ndarray:
    """[Z, rows, columns], anterior on top, left to right -> RAS+ [X, Y, Z]."""
    return planes[:, ::-1].transpose(2, 1, 0)


@pytest.mark.parametrize(
    "kind", ["png8", "png16", "npy", "nifti slice", "nifti 3-D slice", "nifti volume", "rgb", "rgba"]
)
def test_every_kind_of_file_gives_the_same_case(tmp_path: Path, kind: str) -> None:
    number, name = "", "b.nii.gz"
    folder = write(tmp_path / "f")
    plane = as_volume(PIXELS[None].astype(np.float32))
    if kind == "png8":
        name = "a.png"
    elif kind == "png16":
        name = "b.png"
        Image.fromarray(PIXELS.astype(np.uint16) * 257).save(folder / name)
    elif kind in ("rgb", "rgba"):
        name = "b.png"
        Image.fromarray(PIXELS).convert(kind.upper()).save(folder / name)
    elif kind == "npy":
        name = "b.npy"
        np.save(folder / name, PIXELS.astype(np.float64) * 3 - 5)
    elif kind == "nifti slice":
        nibabel.Nifti1Image(plane[..., 0], np.eye(4)).to_filename(folder / name)
    elif kind == "nifti 3-D slice":
        nibabel.Nifti1Image(plane, np.eye(4)).to_filename(folder / name)
    else:
        number = "2"
        planes = np.stack([PIXELS * 0 + k if k != 2 else PIXELS for k in range(5)]).astype(np.float32)
        nibabel.Nifti1Image(as_volume(planes), np.eye(4)).to_filename(folder / name)
    write(folder, f"one,{name},m.png,test,s1,{number}", "ref,a.png,m.png,test,s1,", header=HEADER + ",slice")
    dataset = opened(folder)
    sample, reference = (dataset.load(case) for case in dataset.cases)
    assert np.allclose(sample.image, reference.image, atol=1e-6)
    assert np.array_equal(sample.mask, reference.mask)
    assert sample.mask.any()
    assert sample.case.lesion


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SAL", "ILP"])
def test_a_slice_does_not_depend_on_how_the_volume_is_stored(tmp_path: Path, axes: str) -> None:
    volume = np.random.default_rng(3).random((12, 14, 9)).astype(np.float32)
    image = nibabel.Nifti1Image(volume, np.diag([1.0, 2.0, 3.0, 1.0]))
    wanted = nibabel.orientations.axcodes2ornt(axes)
    change = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted)
    image.as_reoriented(change).to_filename(tmp_path / "v.nii")
    found = read_slice(tmp_path / "v.nii", 4)
    assert np.array_equal(found, volume[:, ::-1, 4].T)


def test_a_nifti_mask_is_cut_at_the_same_slice(tmp_path: Path) -> None:
    planes, masks = np.zeros((2, 4, 40, 30), dtype=np.uint8)
    planes[:] = PIXELS
    masks[1] = MASK
    folder = write(
        tmp_path / "f",
        "x,v.nii.gz,w.nii.gz,test,s,1",
        "y,v.nii.gz,w.nii.gz,test,s,0",
        header=HEADER + ",slice",
    )
    for name, array in (("v", planes), ("w", masks)):
        nibabel.Nifti1Image(as_volume(array), np.eye(4)).to_filename(folder / f"{name}.nii.gz")
    x, y = opened(folder).cases
    assert [(case.volume, case.position) for case in (x, y)] == [("v.nii.gz", 1), ("v.nii.gz", 0)]
    assert opened(folder).load(x).mask.any()
    refused(lambda: opened(folder).load(y), "w.nii.gz", "empty")


@pytest.mark.parametrize(
    ("lines", "parts"),
    [
        pytest.param(["a/b,a.png,,test,s"], ["line 2", "'a/b'"], id="slash in id"),
        pytest.param(["..,a.png,,test,s"], ["line 2", "'..'"], id="dots as id"),
        pytest.param([",a.png,,test,s"], ["line 2", "case_id ''"], id="no id"),
        pytest.param(["nul,a.png,,test,s"], ["line 2", "device name"], id="device name"),
        pytest.param(["x" * 200 + ",a.png,,test,s"], ["line 2", "1 to 128"], id="long id"),
        pytest.param(["a,a.png,,test,"], ["line 2", "subject ''"], id="no subject"),
        pytest.param(
            ["a,a.png,,test,s", "A,a.png,,test,s"], ["line 3", "line 2", "'A'"], id="duplicate but for case"
        ),
        pytest.param(["a,a.png,,tset,s"], ["line 2", "'tset'", "train, val, test"], id="unknown split"),
        pytest.param(["a,a.png,m.png,train,s"], ["line 2", "healthy only"], id="lesion in train"),
        pytest.param(
            ["a,a.png,,train,s", "b,a.png,,test,s"], ["line 3", "line 2", "one split"], id="subject twice"
        ),
        pytest.param(["a,,,test,s"], ["line 2", "image is empty"], id="no image"),
        pytest.param(["a,/etc/a.png,,test,s"], ["line 2", "absolute"], id="absolute"),
        pytest.param(["a,C:/a.png,,test,s"], ["line 2", "absolute"], id="drive"),
        pytest.param(["a,../a.png,,test,s"], ["line 2", "leads out"], id="parent"),
        pytest.param(["a,a.png,x/../../m.png,test,s"], ["line 2", "mask", "leads out"], id="parent of mask"),
        pytest.param(["a,x\\a.png,,test,s"], ["line 2", "backslash"], id="backslash"),
        pytest.param(["a,a.pkl,,test,s"], ["line 2", "unknown kind"], id="unknown kind"),
        pytest.param(["a,a.png,test,s"], ["line 2", "4 values", "5"], id="too few values"),
        pytest.param(['a,"a.png,,test,s'], ["line 2", "CSV"], id="open quote"),
        pytest.param([], ["no cases"], id="no cases"),
    ],
)
def test_a_broken_index_is_refused_with_file_and_line(
    tmp_path: Path, lines: list[str], parts: list[str]
) -> None:
    folder = write(tmp_path / "f", *lines)
    refused(lambda: opened(folder), "index.csv", *parts)


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        pytest.param("case_id,image,mask,split", ["no column subject"], id="missing"),
        pytest.param(HEADER + ",slcie", ["unknown column 'slcie'", "slice"], id="misspelt"),
        pytest.param(HEADER + ",mask", ["twice"], id="twice"),
        pytest.param("", ["no column case_id"], id="empty file"),
    ],
)
def test_a_broken_header_is_refused(tmp_path: Path, header: str, parts: list[str]) -> None:
    refused(lambda: opened(write(tmp_path / "f", header=header)), "index.csv line 1", *parts)


@pytest.mark.parametrize(
    ("columns", "values", "part"),
    [
        pytest.param("slice", "-1", "slice '-1'", id="negative slice"),
        pytest.param("slice", "1.5", "slice '1.5'", id="fractional slice"),
        pytest.param("lesion_sign", "2", "lesion_sign '2'", id="sign"),
    ],
)
def test_bad_optional_values_are_refused(tmp_path: Path, columns: str, values: str, part: str) -> None:
    folder = write(tmp_path / "f", f"a,a.png,,test,s,{values}", header=f"{HEADER},{columns}")
    refused(lambda: opened(folder), "line 2", part)


def test_modality_and_sign_are_taken_or_the_guess_is_said(tmp_path: Path) -> None:
    given = opened(write(tmp_path / "a", "a,a.png,,test,s,CT,1", header=HEADER + ",modality,lesion_sign"))
    assert (given.modality, given.lesion_sign, given.caveats) == ("CT", 1, ())
    flair = opened(write(tmp_path / "b", "a,a.png,,test,s,FLAIR", header=HEADER + ",modality"))
    assert flair.lesion_sign == 1
    assert "no lesion_sign" in flair.caveats[0]
    mixed = write(tmp_path / "c", "a,a.png,,test,s,T1w", "b,a.png,,test,s,FLAIR", header=HEADER + ",modality")
    refused(lambda: opened(mixed), "modality differs", "line 2", "line 3")


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    Image.fromarray(PIXELS).save(outside / "secret.png")
    lines = ["a,link.png,,test,s", "b,dir/secret.png,,test,s", "c,loop.png,,test,s", "d,inner.png,,test,s"]
    folder = write(tmp_path / "f", *lines)
    (folder / "link.png").symlink_to(outside / "secret.png")
    (folder / "dir").symlink_to(outside)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "inner.png").symlink_to(folder / "a.png")
    dataset = opened(folder)
    before = dataset.fingerprint
    for case in dataset.cases[:2]:
        refused(lambda case=case: dataset.load(case), "leads out of the folder")
    refused(lambda: dataset.load(dataset.cases[2]), "loop.png")
    assert dataset.load(dataset.cases[3]).image.any()
    Image.fromarray(PIXELS[::-1]).save(outside / "secret.png")
    assert opened(folder).fingerprint == before, "not even the fingerprint reads outside"
    (folder / "index.csv").rename(outside / "index.csv")
    (folder / "index.csv").symlink_to(outside / "index.csv")
    refused(lambda: opened(folder), "index.csv", "leads out")


def test_a_pipe_in_the_folder_does_not_hang_the_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", "a,p.png,,test,s")
    os.mkfifo(folder / "p.png")
    dataset = opened(folder)
    refused(lambda: dataset.load(dataset.cases[0]), "is a pipe")


def test_the_fingerprint_changes_with_contents_and_only_then(tmp_path: Path) -> None:
    folder = write(tmp_path / "f", "a,a.png,m.png,test,s", "b,a.png,,val,t")
    first = opened(folder).fingerprint
    assert opened(folder).fingerprint == first
    Image.fromarray(MASK.T.copy().reshape(MASK.shape)).save(folder / "m.png")
    assert opened(folder).fingerprint != first


def test_limit_keeps_proportions_and_other_splits(tmp_path: Path) -> None:
    lines = [f"t{k},a.png,{'m.png' if k < 30 else ''},test,s{k}" for k in range(40)] + ["v,a.png,,val,v"]
    folder = write(tmp_path / "f", *lines)
    eight = opened(folder, 8)
    assert [
        sum(c.lesion for c in eight.split("test")),
        len(eight.split("test")),
        len(eight.split("val")),
    ] == [6, 8, 1]
    assert opened(folder, 8).cases == eight.cases
    assert len(opened(folder, 1000).cases) == 41
    with pytest.raises(ValueError, match="limit is 0"):
        opened(folder, 0)


def test_a_folder_that_is_not_there_or_not_given_says_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UADBENCH_DATA", raising=False)
    refused(lambda: opened(tmp_path / "none"), "index.csv: no such file", HEADER)
    refused(lambda: DATASETS["folder"](None, 0, None), "--data-root")


def test_a_file_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "f")
    (folder / "index.csv").write_bytes(b"\xef\xbb\xbf" + HEADER.encode() + b"\r\na,a.png,,test,s\r\n\r\n")
    assert [case.case_id for case in opened(folder).cases] == ["a"]
    (folder / "index.csv").write_bytes(HEADER.encode() + b"\n\xff\xfe,a.png,,test,s\n")
    refused(lambda: opened(folder), "not UTF-8")
