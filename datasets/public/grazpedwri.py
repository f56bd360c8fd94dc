"""``grazpedwri``: GRAZPEDWRI-DX, 20,327 radiographs of 6,091 children's wrists with boxes.

Nagy et al. 2022, A pediatric wrist trauma X-ray dataset (GRAZPEDWRI-DX) for machine learning, Scientific Data 9:222,
doi:10.1038/s41597-022-01328-z.

The layout, as several public programs that read the published archives agree on it (the data themselves were not here):
``dataset.csv`` with a row an image, ``filestem`` and ``patient_id`` among its columns; grey PNG in ``images_part1`` to
``images_part4``, named filestem.png; Pascal VOC in ``folder_structure/pascalvoc/<filestem>.xml``; YOLO in
``folder_structure/yolov5/labels/<filestem>.txt``, where classes are numbered as in ``CLASSES``. Not verified: whether
VOC's corners count from 0 or from 1, which is a tenth of a pixel at 128 x 128, and whether an image without a box has a
label file: here a missing YOLO file is no box, as YOLO means it, and a missing VOC file is a fault of the case.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.boxes import carry
from uadbench.datasets.case import Case, CaseError, Dataset, Sample
from uadbench.datasets.listing import matching
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing, preprocess, resize_area, to_square
from uadbench.datasets.readers import file_size, read_slice
from uadbench.datasets.selection import count_test, fingerprint, fixed_order, limit_test
from uadbench.datasets.sources import SOURCES, find_root

__all__ = ["CLASSES", "NO_PATHOLOGY", "SHARES", "open_grazpedwri", "split_of"]

CLASSES = (
    "boneanomaly",
    "bonelesion",
    "foreignbody",
    "fracture",
    "metal",
    "periostealreaction",
    "pronatorsign",
    "softtissue",
    "text",
)
NO_PATHOLOGY = frozenset({"text"})  # markers of side and position, in most images
SHARES = {"train": 0.6, "val": 0.1, "test": 0.3}  # of the patients, by their hash
TRAINING_SIDE = 256  # pixels: thousands of images are held while a network is trained
MAX_TEXT = 1 << 20  # bytes of one label file
VOC, YOLO = Path("folder_structure/pascalvoc"), Path("folder_structure/yolov5/labels")
CAVEATS = (
    "Casts, unnatural positions and other findings that are no disease are not labelled and count as false positives.",
    "The split is ours, by a hash of the patient: the published lists share patients.",
    "The network that is shipped for wrists has seen generated radiographs alone; train one on these.",
    "The papers leave out the classes bonelesion and pronatorsign; here they are boxes as the others.",
)

Edges = tuple[str, tuple[float, float, float, float]]
"""(class, (top, left, bottom, right)) in pixels, or in fractions of the image's sides for YOLO."""


@dataclass(frozen=True)
class _Files:
    """One image: where it is, its boxes without those of no pathology, or why they cannot be read."""

    image: Path | None
    label: Path
    boxes: tuple[Edges, ...]
    relative: bool
    fault: str = ""


def split_of(patient: str) -> str:
    """train, val or test by sha256("grazpedwri:patient"): a patient's images stay together, on every machine."""
    place = int(hashlib.sha256(f"grazpedwri:{patient}".encode()).hexdigest()[:8], 16) / 2**32
    if place < SHARES["train"]:
        return "train"
    return "val" if place < SHARES["train"] + SHARES["val"] else "test"


def open_grazpedwri(
    root: Path | None = None, seed: int = 0, limit: int | None = None, params: Preprocessing = PREPROCESSING
) -> Dataset:
    """Open grazpedwri; healthy is an image without any box but text.

    root : the folder with dataset.csv, or its parent; see ``find_root``
    seed : the run's seed, not used: nothing here is random
    limit : at most this many test cases, lesion and healthy in the full test split's proportion
    params : of the pre-processing; boxes are carried along, rounded outwards

    Raises CaseError when the data are not there. An image whose label file is missing or damaged fails as a case.
    """
    folder = root if root is not None and (root / "dataset.csv").is_file() else find_root("grazpedwri", root)
    patients = _patients(folder / "dataset.csv")
    files = _find(folder, patients)
    every = tuple(
        Case(stem, f"patient-{patients[stem]}", split_of(patients[stem]), bool(files[stem].boxes))
        for stem in fixed_order("grazpedwri", patients)
    )
    cases, source = limit_test(every, limit), SOURCES["grazpedwri"]
    scored = [files[case.case_id] for case in cases if case.split != "train"]
    sizes = [0 if one.image is None else one.image.stat().st_size for one in scored]
    return Dataset(
        name="grazpedwri",
        title="GRAZPEDWRI-DX, children's wrists with boxes",
        modality="radiograph",
        lesion_sign=+1,
        cases=cases,
        load=partial(_load, files, params),
        native=partial(_native, files),
        training=partial(_training, files, every),
        truth="boxes",
        networks={"unet-gaussian": "unet-gaussian-wrist"},
        caveats=CAVEATS,
        licence=source.licence,
        citation=source.citation,
        preprocessing=params.record(),
        n_test=count_test(every),
        # 17 GB of images are told by their sizes, label files by their contents
        fingerprint=fingerprint(cases, (one.label for one in scored), f"grazpedwri-1 {sizes}"),
    )


def _patients(path: Path) -> dict[str, str]:
    """filestem -> patient; CaseError where dataset.csv is none."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise CaseError(f"{path}: cannot be read ({error}); extract the published file again") from error
    if not rows or not {"filestem", "patient_id"} <= set(rows[0]):
        raise CaseError(f"{path}: has no columns filestem and patient_id; put the published file there")
    found = {str(row["filestem"]): str(row["patient_id"]) for row in rows if row["filestem"]}
    if len(found) < len(rows):
        raise CaseError(f"{path}: {len(rows) - len(found)} of {len(rows)} rows lack a filestem or repeat one")
    return found


def _find(folder: Path, stems: Iterable[str]) -> dict[str, _Files]:
    """The files of every image; CaseError where there is no label folder or not a single image."""
    kind = next((kind for kind in (VOC, YOLO) if (folder / kind).is_dir()), None)
    if kind is None:
        raise CaseError(f"{folder}: neither {VOC} nor {YOLO} is there; extract folder_structure.zip into it")
    images = {path.stem: path for path in sorted(matching(folder, "images*/*.png"))}
    if not images:
        raise CaseError(
            f"{folder}: no PNG in images_part1 to images_part4; extract the published archives into it"
        )
    return {stem: _files(folder / kind, stem, images.get(stem), kind == YOLO) for stem in stems}


def _files(folder: Path, stem: str, image: Path | None, yolo: bool) -> _Files:
    label = folder / f"{stem}{'.txt' if yolo else '.xml'}"
    try:
        boxes = tuple(_yolo(label) if yolo else _voc(label))
    except CaseError as error:
        return _Files(image, label, (), yolo, str(error))
    return _Files(image, label, tuple(box for box in boxes if box[0] not in NO_PATHOLOGY), yolo)


def _text(path: Path) -> str:
    try:
        if file_size(path, "restore the published file") > MAX_TEXT:
            raise CaseError(f"{path}: more than {MAX_TEXT} bytes; restore the published file")
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CaseError(f"{path}: cannot be read ({reason}); restore the published file") from error


def _yolo(path: Path) -> Iterator[Edges]:
    """Lines 'class x y width height', the box's centre and sizes as fractions of the image's."""
    if not os.path.lexists(path) and os.access(path.parent, os.X_OK):
        return
    for line in filter(None, map(str.strip, _text(path).splitlines())):
        try:
            number, *numbers = line.split()
            label = CLASSES[int(number)] if int(number) >= 0 else ""
            x, y, width, height = map(float, numbers)
        except (ValueError, IndexError) as error:
            raise CaseError(f"{path}: {line!r:.80} is no box; restore the published file") from error
        if not label:
            raise CaseError(f"{path}: {line!r:.80} is of no class; restore the published file")
        yield label, (y - height / 2, x - width / 2, y + height / 2, x + width / 2)


def _voc(path: Path) -> Iterator[Edges]:
    """<object> with <name> and <bndbox>; an object of another name, such as axis, is no finding."""
    try:
        tree = ElementTree.fromstring(_text(path))
        for item in tree.iter("object"):
            label, box = (item.findtext("name") or "").strip(), item.find("bndbox")
            if label in CLASSES and box is not None:
                top, left, bottom, right = (
                    float(box.findtext(name) or "nan") for name in ("ymin", "xmin", "ymax", "xmax")
                )
                yield label, (top, left, bottom, right)
    except (ElementTree.ParseError, ValueError) as error:
        raise CaseError(f"{path}: is no Pascal VOC file ({error}); restore the published file") from error


def _pixels(files: dict[str, _Files], case: Case) -> NDArray[np.generic]:
    one = files[case.case_id]
    if one.fault:
        raise CaseError(one.fault)
    if one.image is None:
        raise CaseError(
            f"{case.case_id}: no image in images_part1 to images_part4; extract the published archives"
        )
    return read_slice(one.image)


def _load(files: dict[str, _Files], params: Preprocessing, case: Case) -> Sample:
    """Read and pre-process one case; CaseError when its files cannot be used."""
    one, image = files[case.case_id], _pixels(files, case)
    unit, mask = preprocess(image, None, params, name=str(one.image))
    height, width = image.shape
    scale = np.array([height, width, height, width]) if one.relative else np.ones(4)
    boxes = tuple(
        carry(label, tuple(float(e) for e in edges * scale), (height, width), params, str(one.label))  # type: ignore[arg-type]
        for label, edges in ((label, np.array(edges)) for label, edges in one.boxes)
    )
    return Sample(case, unit, mask, boxes)


def _native(files: dict[str, _Files], case: Case) -> NDArray[np.float64]:
    """See ``Dataset.native``; no longer than TRAINING_SIDE."""
    square = to_square(_pixels(files, case), name=str(files[case.case_id].image))
    return resize_area(square, TRAINING_SIDE) if square.shape[0] > TRAINING_SIDE else square


def _training(files: dict[str, _Files], cases: tuple[Case, ...]) -> Iterator[NDArray[np.floating]]:
    """The healthy train images, those that cannot be read left out."""
    for case in cases:
        if case.split == "train" and not case.lesion and not files[case.case_id].fault:
            yield _native(files, case).astype(np.float32)
