"""``folder``: what users bring, an ``index.csv`` and images. Nothing outside the folder is ever read through it."""

from __future__ import annotations

import csv
import hashlib
import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import SPLITS, Case, CaseError, Dataset, Sample
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing, preprocess, to_square
from uadbench.datasets.readers import IMAGE_SUFFIXES, MAX_BYTES, file_size, read_slice
from uadbench.datasets.selection import count_test, fingerprint, fixed_order, limit_test
from uadbench.datasets.sources import ROOT_VARIABLE

__all__ = ["COLUMNS", "OPTIONAL_COLUMNS", "open_folder"]

COLUMNS = ("case_id", "image", "mask", "split", "subject")
OPTIONAL_COLUMNS = ("slice", "modality", "lesion_sign")
MAX_INDEX_BYTES = 64 * 1024 * 1024
BRIGHT = ("flair", "t2w", "t2", "dwi")  # modalities in which lesions are brighter than tissue
ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
WINDOWS_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """One checked line of index.csv; paths are relative to the folder."""

    line: int
    case: Case
    image: str
    mask: str
    slice: int | None
    modality: str
    lesion_sign: str


def open_folder(
    root: Path | None = None, seed: int = 0, limit: int | None = None, params: Preprocessing = PREPROCESSING
) -> Dataset:
    """Open a user's folder.

    root : the folder that holds index.csv; None = the environment variable UADBENCH_DATA
    seed : not used, nothing here is random; params : of the pre-processing
    limit : at most this many test cases, lesion and healthy in their full proportion, drawn in a fixed order

    index.csv (UTF-8) has the columns case_id, image, mask, split, subject. image and mask are paths inside the
    folder, with '/'; an empty mask means healthy; split is train (healthy only), val or test. Optional columns:
    slice (axial slice of a NIfTI volume, from 0 at the lowest; it holds for a NIfTI mask as well), modality, and
    lesion_sign (1 = lesions brighter than tissue, -1 = darker), the last two the same in every line.

    Raises CaseError naming file and line when the index is broken. A file that cannot be used raises CaseError
    when its case is loaded.
    """
    if root is None and not os.environ.get(ROOT_VARIABLE):
        raise CaseError(
            f"folder: no folder given; name the one that holds index.csv by --data-root or {ROOT_VARIABLE}"
        )
    given = Path(root if root is not None else os.environ[ROOT_VARIABLE])
    try:
        folder = given.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise CaseError(
            f"{str(given)!r}: is no folder ({error}); name the one that holds index.csv"
        ) from error
    index = folder / "index.csv"
    rows = read_index(folder, index)
    by_id = {row.case.case_id: row for row in rows}
    kept = {c.case_id for c in limit_test([by_id[key].case for key in fixed_order("folder", by_id)], limit)}
    chosen = [row for row in rows if row.case.case_id in kept]
    cases = tuple(row.case for row in chosen)
    modality = common(rows, "modality", index) or "unknown"
    sign, caveats = lesion_sign(common(rows, "lesion_sign", index), modality, index)
    return Dataset(
        name="folder",
        title=f"user folder {folder.name}",
        modality=modality,
        lesion_sign=sign,
        cases=cases,
        load=partial(load, folder, params, by_id),
        native=partial(native, folder, by_id),
        caveats=(*caveats, *params.mask_caveats()),
        licence="not stated (supplied by the user)",
        citation="not stated (supplied by the user)",
        preprocessing=params.record(),
        n_test=count_test(row.case for row in rows),
        fingerprint=fingerprint(cases, (), content(folder, chosen) + params.mask_key()),
    )


def read_index(folder: Path, index: Path) -> list[Row]:
    """All lines, checked; CaseError for the first that is broken."""
    size = file_size(index, f"write one with the columns {','.join(COLUMNS)}")
    if not index.resolve().is_relative_to(folder):
        raise CaseError(f"{index}: a link that leads out of the folder; put the file itself there")
    if size > MAX_INDEX_BYTES:
        raise CaseError(f"{index}: larger than {MAX_INDEX_BYTES} bytes; split the data set")
    try:
        with index.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            check_header(header, index)
            rows = []
            for values in reader:
                if not values:
                    continue
                where = f"{index} line {reader.line_num}"
                if len(values) != len(header):
                    raise CaseError(
                        f"{where}: {len(values)} values, the header names {len(header)}; correct the line"
                    )
                fields = dict(zip(header, (value.strip() for value in values), strict=True))
                rows.append(read_row(fields, reader.line_num, where))
    except OSError as error:
        raise CaseError(f"{index}: cannot be read ({error.strerror or error}); make it readable") from error
    except UnicodeDecodeError as error:
        raise CaseError(f"{index}: not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise CaseError(
            f"{index} line {reader.line_num}: not valid CSV ({error}); correct the line"
        ) from error
    if not rows:
        raise CaseError(f"{index}: no cases below the header; add a line for each")
    check_together(rows, index)
    return rows


def check_header(header: list[str], index: Path) -> None:
    """Every column that is needed, none twice, none unknown: a misspelt optional column must not be ignored."""
    allowed = f"allowed: {', '.join(COLUMNS)} and, optional, {', '.join(OPTIONAL_COLUMNS)}"
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise CaseError(f"{index} line 1: no column {', '.join(missing)}; {allowed}")
    unknown = [name for name in header if name not in COLUMNS + OPTIONAL_COLUMNS]
    if unknown:
        raise CaseError(f"{index} line 1: unknown column {unknown[0]!r}; {allowed}")
    if len(set(header)) != len(header):
        raise CaseError(f"{index} line 1: a column is named twice; {allowed}")


def read_row(fields: dict[str, str], line: int, where: str) -> Row:
    """One line's values, each checked by itself."""
    case_id, subject, split = fields["case_id"], fields["subject"], fields["split"]
    for name, value in (("case_id", case_id), ("subject", subject)):
        if not ID.fullmatch(value) or WINDOWS_NAMES.fullmatch(value):
            raise CaseError(
                f"{where}: {name} {value!r} is not allowed; use 1 to 128 letters, digits, '.', '_' and '-', no '.' or "
                "'-' first, no device name"
            )
    if split not in SPLITS:
        raise CaseError(f"{where}: split {split!r} is unknown; allowed: {', '.join(SPLITS)}")
    if split == "train" and fields["mask"]:
        raise CaseError(f"{where}: a train case with a mask; train is healthy only, move it to val or test")
    if not fields["image"]:
        raise CaseError(f"{where}: image is empty; give its path inside the folder")
    for name in ("image", "mask"):
        if fields[name]:
            check_path(fields[name], f"{where}: {name}")
    number = fields.get("slice", "")
    if number and not re.fullmatch(r"\d{1,6}", number, re.ASCII):
        raise CaseError(f"{where}: slice {number!r} is not a number from 0 up; correct it or leave it empty")
    sign = fields.get("lesion_sign", "")
    if sign not in ("", "1", "+1", "-1"):
        raise CaseError(
            f"{where}: lesion_sign {sign!r}; allowed: 1 (lesions brighter than tissue), -1 (darker), empty"
        )
    position, volume = (int(number), fields["image"]) if number else (None, "")
    case = Case(case_id, subject, split, bool(fields["mask"]), volume, position or 0)
    modality = fields.get("modality", "")
    return Row(line, case, fields["image"], fields["mask"], position, modality, sign.lstrip("+"))


def check_path(path: str, what: str) -> None:
    """A relative path with '/' that stays inside by its wording; links are resolved when it is read."""
    windows = PureWindowsPath(path)
    if PurePosixPath(path).is_absolute() or windows.drive or windows.root:
        raise CaseError(f"{what} {path!r} is absolute; give a path relative to the folder of index.csv")
    if "\\" in path or not path.isprintable():
        raise CaseError(f"{what} {path!r} has a backslash or a control character; separate folders by '/'")
    if ".." in PurePosixPath(path).parts:
        raise CaseError(
            f"{what} {path!r} leads out of the folder; put the file inside and name it without '..'"
        )
    if not path.lower().endswith(IMAGE_SUFFIXES):
        raise CaseError(f"{what} {path!r} is of an unknown kind; allowed: {', '.join(IMAGE_SUFFIXES)}")


def check_together(rows: list[Row], index: Path) -> None:
    """No case twice (not even but for case, as files named after cases would collide), no subject in two splits."""
    lines: dict[str, int] = {}
    splits: dict[str, tuple[str, int]] = {}
    for row in rows:
        key = row.case.case_id.lower()
        if key in lines:
            raise CaseError(
                f"{index} line {row.line}: case_id {row.case.case_id!r} was used in line {lines[key]} (capitals do not "
                "tell cases apart); give each case its own"
            )
        lines[key] = row.line
        split, line = splits.setdefault(row.case.subject, (row.case.split, row.line))
        if split != row.case.split:
            raise CaseError(
                f"{index} line {row.line}: subject {row.case.subject!r} is in {row.case.split}, but in {split} in line "
                f"{line}; keep each subject in one split"
            )


def common(rows: list[Row], column: str, index: Path) -> str:
    """The one value of an optional column."""
    values = {str(getattr(row, column)): row.line for row in reversed(rows)}
    if len(values) > 1:
        listed = ", ".join(f"{value!r} (line {line})" for value, line in sorted(values.items()))
        raise CaseError(f"{index}: {column} differs: {listed}; a data set has one, make a folder for each")
    return next(iter(values))


def lesion_sign(given: str, modality: str, index: Path) -> tuple[int, tuple[str, ...]]:
    """(sign, caveats): as given, else by the modality, which is then said."""
    if given:
        return int(given), ()
    sign = 1 if modality.lower() in BRIGHT else -1
    word = "brighter" if sign > 0 else "darker"
    return sign, (
        f"{index.name} has no lesion_sign; lesions are taken to be {word} than tissue (modality {modality}), which "
        "decides what floors and methods that are told look for.",
    )


def locate(folder: Path, relative: str) -> Path:
    """The real file, inside the folder after all links are followed; CaseError otherwise."""
    try:
        path = (folder / relative).resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise CaseError(
            f"{relative}: cannot be followed ({error}); put the file itself into the folder"
        ) from error
    if not path.is_relative_to(folder):
        raise CaseError(f"{relative}: a link that leads out of the folder; put the file itself there")
    return path


def load(folder: Path, params: Preprocessing, rows: dict[str, Row], case: Case) -> Sample:
    """Read and pre-process one case; CaseError when its files cannot be used."""
    row = rows[case.case_id]
    image = read_inside(folder, row.image, row.slice)
    mask = None
    if row.mask:
        volume = row.mask.lower().endswith((".nii", ".nii.gz"))
        mask = read_inside(folder, row.mask, row.slice if volume else None)
    pixels, lesion = preprocess(image, mask, params, name=row.image)
    if mask is not None and not mask.any():
        remedy = "leave the column 'mask' empty where the slice is healthy"
        raise CaseError(f"{row.mask}: the mask is empty; {remedy}")
    return Sample(case, pixels, lesion)


def native(folder: Path, rows: dict[str, Row], case: Case) -> NDArray[np.float64]:
    """See ``Dataset.native``."""
    row = rows[case.case_id]
    return to_square(read_inside(folder, row.image, row.slice), name=row.image)


def read_inside(folder: Path, relative: str, index: int | None) -> NDArray[np.generic]:
    """``readers.read_slice`` of a file in the folder; errors name it relative to the folder, as they are published."""
    try:
        return read_slice(locate(folder, relative), index)
    except CaseError as error:
        raise CaseError(str(error).replace(f"{folder}{os.sep}", "")) from error


def content(folder: Path, rows: list[Row]) -> str:
    """What the cases are made of, for the fingerprint: names, slice numbers and sha256 of each file in the folder."""
    names = sorted({name for row in rows for name in (row.image, row.mask) if name})
    parts = [(row.image, row.mask, row.slice, row.lesion_sign, row.modality) for row in rows]
    return repr((parts, [(name, digest(folder, name)) for name in names]))


def digest(folder: Path, relative: str) -> str:
    """sha256 of a file inside the folder, or "unusable" where loading its case will fail."""
    try:
        path = locate(folder, relative)
        if file_size(path, "") > MAX_BYTES:
            return "unusable"
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (CaseError, OSError):
        return "unusable"
