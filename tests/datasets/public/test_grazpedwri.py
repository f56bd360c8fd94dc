"""GRAZPEDWRI-DX from a tiny tree in the published layout, YOLO and Pascal VOC alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.closed import closed

from uadbench.datasets import DATASETS
from uadbench.datasets.case import Box, CaseError, Dataset
from uadbench.datasets.public.grazpedwri import CLASSES, SHARES, split_of

HEIGHT, WIDTH = 256, 128  # twice the final side, padded by 64 columns on both sides
STEMS = {
    "0001_1297860395_01_WRI-L1_M014": ("1", [("fracture", 40, 20, 80, 60), ("text", 0, 0, 10, 10)]),
    "0001_1297860458_01_WRI-L2_M014": ("1", []),
    "0002_0354485735_02_WRI-R1_F009": ("2", [("text", 100, 5, 120, 15)]),
    "0003_0987654321_01_WRI-R2_F003": (
        "3",
        [("metal", 21, 31, 101, 67), ("periostealreaction", 2, 90, 8, 128)],
    ),
}


def make_tree(folder: Path, labels: str, images: str = "images_part{part}") -> Path:
    """The published layout with four images; boxes above are (class, left, top, right, bottom)."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    lines = ["filestem,patient_id,study_number,timehash,gender,age,laterality,projection"]
    for part, (stem, (patient, boxes)) in enumerate(STEMS.items(), 1):
        lines.append(f"{stem},{patient},1,{stem.split('_')[1]},M,14,L,1")
        place = folder / images.format(part=part)
        place.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 60000, (HEIGHT, WIDTH)).astype(np.uint16)).save(place / f"{stem}.png")
        if labels == "yolo":
            write_yolo(folder / "folder_structure/yolov5/labels" / f"{stem}.txt", boxes)
        else:
            write_voc(folder / "folder_structure/pascalvoc" / f"{stem}.xml", boxes)
    (folder / "dataset.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_yolo(path: Path, boxes: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            f"{CLASSES.index(label)} {(left + right) / 2 / WIDTH:.6f} {(top + bottom) / 2 / HEIGHT:.6f} "
            f"{(right - left) / WIDTH:.6f} {(bottom - top) / HEIGHT:.6f}\n"
            for label, left, top, right, bottom in boxes
        )
    )


def write_voc(path: Path, boxes: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
        f"<ymax>{bottom}</ymax></bndbox></object>"
        for label, left, top, right, bottom in [*boxes, ("axis", 0, 0, 128, 256)]
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>1</depth></size>"
    path.write_text(f"<annotation>{size}{objects}</annotation>")


def opened(folder: Path) -> Dataset:
    return DATASETS["grazpedwri"](folder, 0, None)


@pytest.fixture(params=["yolo", "voc"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return make_tree(tmp_path / "grazpedwri", request.param)


def test_boxes_are_carried_with_their_images_and_text_is_no_finding(tree: Path) -> None:
    dataset = opened(tree)
    by_id = {case.case_id: case for case in dataset.cases}
    first, second, text, last = (dataset.load(by_id[stem]) for stem in STEMS)
    # halved, and 64 of 256 columns before the image: 32 of 128
    assert first.boxes == (Box("fracture", 10, 32 + 20, 30, 32 + 40),)
    assert second.boxes == text.boxes == ()
    assert last.boxes == (
        Box("metal", 15, 32 + 10, 34, 32 + 51),  # 21 / 2 and 31 / 2 down, 101 / 2 and 67 / 2 up
        Box("periostealreaction", 45, 33, 64, 36),
    )
    assert [by_id[stem].lesion for stem in STEMS] == [True, False, False, True]
    assert dataset.truth == "boxes"
    for sample in (first, second, text, last):
        assert sample.image.shape == (128, 128)
        assert not sample.mask.any()
        assert not sample.image[:, :32].any()
        assert sample.image[:, 32:96].any()
        assert not sample.image[:, 96:].any()


def test_a_patients_images_stay_in_one_split(tree: Path) -> None:
    dataset = opened(tree)
    splits = {
        case.subject: {c.split for c in dataset.cases if c.subject == case.subject} for case in dataset.cases
    }
    assert all(len(found) == 1 for found in splits.values())
    assert {case.split for case in dataset.cases if case.subject == "patient-1"} == {split_of("1")}


def test_the_shares_of_the_splits_are_those_stated() -> None:
    found = [split_of(str(number)) for number in range(1, 6092)]
    assert {name: found.count(name) / 6091 for name in SHARES} == pytest.approx(SHARES, abs=0.02)


def test_the_parent_folder_and_one_folder_of_images_will_do(tmp_path: Path) -> None:
    make_tree(tmp_path / "grazpedwri", "yolo", images="images")
    assert len(opened(tmp_path).cases) == len(opened(tmp_path / "grazpedwri").cases) == 4


def test_a_folder_of_images_that_cannot_be_read_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed(tree / "images_part2", monkeypatch)
    with pytest.raises(CaseError, match=r"images_part2: cannot be read \(Permission denied\)"):
        opened(tree)


def test_a_yolo_file_that_is_not_there_is_no_box_and_a_voc_file_that_is_not_there_a_fault(
    tmp_path: Path,
) -> None:
    stem = "0003_0987654321_01_WRI-R2_F003"
    yolo, voc = make_tree(tmp_path / "a", "yolo"), make_tree(tmp_path / "b", "voc")
    (yolo / "folder_structure/yolov5/labels" / f"{stem}.txt").unlink()
    (voc / "folder_structure/pascalvoc" / f"{stem}.xml").unlink()
    case = next(case for case in opened(yolo).cases if case.case_id == stem)
    assert opened(yolo).load(case).boxes == ()
    with pytest.raises(CaseError, match=f"{stem}.xml: no such file; restore the published file$"):
        opened(voc).load(case)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("3 0.5 0.5 0.1\n", "is no box", id="a number is missing"),
        pytest.param("9 0.5 0.5 0.1 0.1\n", "is no box", id="a class that is none"),
        pytest.param("-1 0.5 0.5 0.1 0.1\n", "is of no class", id="a negative class"),
        pytest.param("3 nan 0.5 0.1 0.1\n", "not finite", id="not a number"),
        pytest.param("3 0.5 0.5 0 0.1\n", "holds no pixel", id="empty"),
    ],
)
def test_a_damaged_label_file_fails_its_case_and_no_other(tmp_path: Path, text: str, message: str) -> None:
    tree = make_tree(tmp_path / "grazpedwri", "yolo")
    stem = next(iter(STEMS))
    (tree / "folder_structure/yolov5/labels" / f"{stem}.txt").write_text(text)
    dataset = opened(tree)
    for case in dataset.cases:
        if case.case_id == stem:
            with pytest.raises(CaseError, match=message):
                dataset.load(case)
        else:
            dataset.load(case)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        pytest.param("dataset.csv", "data 'grazpedwri' not found", id="table"),
        pytest.param("folder_structure", "extract folder_structure.zip", id="labels"),
        pytest.param("images_part*", "no PNG in images_part1", id="images"),
    ],
)
def test_what_is_missing_is_named_with_the_remedy(tmp_path: Path, lost: str, message: str) -> None:
    tree = make_tree(tmp_path / "grazpedwri", "voc")
    for path in tree.glob(lost):
        path.rename(tmp_path / path.name)
    with pytest.raises(CaseError, match=message):
        opened(tree)


def test_the_data_are_told_by_their_labels(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "grazpedwri", "yolo")
    before = opened(tree).fingerprint
    for path in (tree / "folder_structure/yolov5/labels").iterdir():
        path.write_text("3 0.5 0.5 0.5 0.5\n")
    assert opened(tree).fingerprint != before


def test_training_takes_healthy_train_images_of_a_size_that_fits_memory(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "grazpedwri", "voc")
    patient = next(str(number) for number in range(10, 99) if split_of(str(number)) == "train")
    table = (tree / "dataset.csv").read_text().replace(",2,1,", f",{patient},1,")
    (tree / "dataset.csv").write_text(table)
    images = list(opened(tree).training_slices())
    healthy = [case for case in opened(tree).split("train") if not case.lesion]
    assert len(images) == len(healthy) >= 1
    assert images[0].shape == (256, 256)
