"""``ixi-stroke``: real healthy T1w slices with real stroke lesion shapes and simulated intensities (semi-synthetic).

Slices: IXI, mid-axial, as the authors of THOR publish them with their split (Bercea et al. 2024,
doi:10.48550/arXiv.2403.08464). Shapes: masks of acute strokes (Absher et al. 2024, doi:10.1038/s41597-024-03667-5) and
chronic ones (LESYMAP), on the same grid. Grey values inside: ``uadbench.datasets.lesions.darken_tissue``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import SIZES, Case, CaseError, Dataset, Sample
from uadbench.datasets.listing import matching
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing, preprocess, resize_mask, to_square
from uadbench.datasets.readers import read_slice
from uadbench.datasets.selection import count_test, fingerprint, fixed_order, limit_test, read_split
from uadbench.datasets.sources import SOURCES, find_root

__all__ = ["CAVEATS", "MIN_IN_BRAIN", "brain_region", "make_split", "open_ixi_stroke"]

CAVEATS = (
    "Semi-synthetic: real healthy T1w slices and real stroke shapes, but simulated grey values inside the lesions.",
    "A lesion takes 6 to 60 % of the tissue's intensity away (log-uniform, whatever its size), keeps part of the "
    "anatomy, and has a soft edge; real strokes differ in all of this.",
    "A shape comes from another person than the slice: no mass effect beyond the lesion's border, no dilated "
    "ventricle, no other trace of a stroke.",
    "Each of the 44 test subjects serves several times with a lesion and once without, so cases are not independent "
    "(intervals resample subjects).",
    "Part of each outline is clipped to the brain of the slice that it is set into.",
)
NATURAL = (
    "Lesion sizes occur in the proportions of THOR's ATLAS test set: 47 % small, 38 % medium, 15 % large."
)
BALANCED = "Lesion sizes are balanced by design, a third each, not as in patients."

VERSION = "ixi-stroke-2"  # change when the same files and seed give other cases
VAL_SUBJECTS = 14  # of the authors' 58 validation subjects; the others are the test split
VAL_LESIONS = 3  # of each validation subject, a size each
PROPORTIONS = {"small": 0.471, "medium": 0.381, "large": 0.147}  # of the papers' sizes (methods.md)
ROUNDS = 4  # lesions of each test subject in the papers' proportions
BALANCED_ROUNDS = 3  # lesions of each test subject in the balanced set
MAX_BRAIN = 0.38  # of the slice's pixels; brains here cover 0.33 to 0.375 of 128 x 128
MIN_IN_BRAIN = 0.95  # a shape of which less lies in the slice's brain is not used


def brain_region(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The inside of the skull in a pre-processed mid-axial T1w slice, ventricles included, [H, W].

    image : float32 [H, W] in [0, 1]

    Tissue is what exceeds a threshold (skull and fluid stay below), opened by a disc of radius 3 so that bridges
    to the scalp break; of that the component that covers most of the centre, closed by a disc of radius 4 and filled.
    Where it still leaks into the scalp (it covers more than MAX_BRAIN of the slice, which no brain in this space
    does) the next higher threshold is tried; all False where none will do. Last, what lies outside the ellipse that
    holds the brains of this space is cut off.
    """
    for threshold in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7):
        brain = central_component(image > threshold)
        if 0 < brain.mean() <= MAX_BRAIN:
            return brain & brain_ellipse(image.shape)
    return np.zeros(image.shape, dtype=bool)


def brain_ellipse(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The ellipse around all brains of MNI space at z = +18 mm, once the slice is padded to a square."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    y, x = (rows + 0.5) / shape[0] - 0.504, (columns + 0.5) / shape[1] - 0.5
    return np.asarray((y / 0.398) ** 2 + (x / 0.3125) ** 2 <= 1)


def central_component(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The opened component that covers most of the centre, closed and filled; all False where there is none."""
    from scipy import ndimage

    labels, count = ndimage.label(ndimage.binary_opening(bright, disc(3)))
    if count == 0:
        return np.zeros(bright.shape, dtype=bool)
    rows, columns = bright.shape
    centre = labels[rows // 4 : -(rows // 4), columns // 4 : -(columns // 4)]
    largest = 1 + int(np.argmax(np.bincount(centre.ravel(), minlength=count + 1)[1:]))
    closed = ndimage.binary_closing(labels == largest, disc(4))
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)


def disc(radius: int) -> NDArray[np.bool_]:
    """A flat disc of that radius in pixels."""
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(y * y + x * x <= radius * radius + radius)


def clip_to_brain(shape: NDArray[np.bool_], brain: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The shape's part inside the brain, or None where that is less than MIN_IN_BRAIN of it."""
    inside = shape & brain
    return inside if inside.sum() >= max(MIN_IN_BRAIN * shape.sum(), 1) else None


def fits(shape: NDArray[np.bool_], brain: NDArray[np.bool_], size: tuple[float, float]) -> bool:
    """Whether enough of the shape lies in the brain and it is of that size before and after clipping."""
    inside = clip_to_brain(shape, brain)
    return inside is not None and all(size[0] < pixels.sum() <= size[1] for pixels in (shape, inside))


def make_split(train: Iterable[str], held_out: Iterable[str], root: Path | None) -> list[dict[str, str]]:
    """The rows of the committed split file, from the authors' two lists and the images.

    train, held_out : subjects of the authors' train.csv (465) and val.csv (58)
    root : see ``find_root``

    Of the held-out, in fixed order, the first VAL_SUBJECTS are validation, the others test. A validation subject gets
    a lesion of each size. Test subjects get ROUNDS lesions each, sizes in the papers' proportions (column natural), and
    what is lacking for as many of each size (column balanced). A shape is the next in fixed order that fits the
    subject's brain, and none is used twice. Cases come in rounds of one a subject in which sizes take turns, so that
    a prefix is alike in size and over subjects.
    """
    shapes = _Shapes(root)
    order = fixed_order("ixi-stroke", held_out)
    validation, test = order[:VAL_SUBJECTS], order[VAL_SUBJECTS:]
    rows = [row(subject, "train") for subject in train]
    rows += [row(subject, split) for split, part in (("val", validation), ("test", test)) for subject in part]
    for turn in range(VAL_LESIONS):
        for number, subject in enumerate(validation):
            size = list(SIZES)[(number + turn) % len(SIZES)]
            rows.append(row(subject, "val", shapes.take(subject, size)))
    wanted = BALANCED_ROUNDS * len(test) // len(SIZES)
    given = dict.fromkeys(SIZES, 0)
    for number, size in enumerate(_in_proportion(ROUNDS * len(test))):
        subject = test[number % len(test)]
        given[size] += 1
        rows.append(row(subject, "test", shapes.take(subject, size), balanced=given[size] <= wanted))
    lacking = [size for size in SIZES for _ in range(wanted - given[size])]
    for number, size in enumerate(lacking):
        subject = test[number % len(test)]
        rows.append(row(subject, "test", shapes.take(subject, size), natural=False))
    return rows


def _in_proportion(count: int) -> list[str]:
    """Names of sizes, so many, in ``PROPORTIONS`` at every length: always the one that lags most."""
    given = dict.fromkeys(PROPORTIONS, 0)
    names = []
    for total in range(1, count + 1):
        size = max(PROPORTIONS, key=lambda name: PROPORTIONS[name] * total - given[name])
        given[size] += 1
        names.append(size)
    return names


class _Shapes:
    """The masks that are yet to be given away, and the brains that they must fit."""

    def __init__(self, root: Path | None) -> None:
        self._slices, folder = find_root("ixi-midaxial", root), find_root("stroke-masks", root)
        names = fixed_order("stroke-masks", (path.stem for path in matching(folder, "*.png")))
        self._free = {name: resize_mask(read_slice(folder / f"{name}.png") != 0) for name in names}
        self._brains: dict[str, NDArray[np.bool_]] = {}

    def take(self, subject: str, size: str) -> str:
        """The next shape of that size that fits the subject's brain; CaseError when none is left."""
        if subject not in self._brains:
            image = read_slice(self._slices / "png" / f"{subject}.png")
            self._brains[subject] = brain_region(preprocess(image, None)[0])
        brain = self._brains[subject]
        chosen = next((name for name, shape in self._free.items() if fits(shape, brain, SIZES[size])), None)
        if chosen is None:
            raise CaseError(f"no {size} shape is left that fits {subject}; add masks")
        del self._free[chosen]
        return chosen


def row(
    subject: str, split: str, mask: str = "", natural: bool = True, balanced: bool = True
) -> dict[str, str]:
    """One row of the split file."""
    return {
        "case_id": f"{subject}_{mask}" if mask else subject,
        "subject": subject,
        "split": split,
        "mask": mask,
        "natural": str(int(natural)),
        "balanced": str(int(balanced)),
    }


def open_ixi_stroke(
    root: Path | None = None,
    seed: int = 0,
    limit: int | None = None,
    params: Preprocessing = PREPROCESSING,
    balanced: bool = False,
) -> Dataset:
    """Open ixi-stroke, or its other choice of cases, ixi-stroke-balanced.

    root : folder that holds ixi-midaxial/ and stroke-masks/; see ``find_root``
    seed : the run's seed, not used: another run seed must not mean other data. Which shape goes to which subject is
        fixed by the committed split, its simulated intensities by VERSION and the case
    limit : at most this many test cases, lesion and healthy in the full test split's proportion
    params : of the pre-processing; its mask rule makes the truth, the images stay as they are
    balanced : as many lesions of each size instead of the papers' proportions

    Raises CaseError when the data are not there.
    """
    slices, shapes = find_root("ixi-midaxial", root), find_root("stroke-masks", root)
    rows = [r for r in read_split("ixi-stroke") if r["balanced" if balanced else "natural"] == "1"]
    masks = {r["case_id"]: r["mask"] for r in rows}
    every = [Case(r["case_id"], r["subject"], r["split"], bool(r["mask"])) for r in rows]
    cases = limit_test(every, limit)
    sources = (SOURCES["ixi-midaxial"], SOURCES["stroke-masks"])
    return Dataset(
        name="ixi-stroke-balanced" if balanced else "ixi-stroke",
        title="IXI T1w with real stroke shapes, simulated intensities (semi-synthetic)"
        + (", sizes balanced" if balanced else ""),
        modality="T1w",
        lesion_sign=-1,
        cases=cases,
        load=partial(load, slices, shapes, masks, params),
        native=partial(native, slices),
        caveats=(*CAVEATS, BALANCED if balanced else NATURAL, *params.mask_caveats()),
        licence="; ".join(f"{s.name}: {s.licence}" for s in sources),
        citation="; ".join(s.citation for s in sources),
        preprocessing=params.record(),
        origin="semi-synthetic",
        n_test=count_test(every),
        fingerprint=fingerprint(cases, files(slices, shapes, masks, cases), VERSION + params.mask_key()),
    )


def load(slices: Path, shapes: Path, masks: dict[str, str], params: Preprocessing, case: Case) -> Sample:
    """Read and pre-process one case and set its lesion in; CaseError when its files cannot be used.

    The lesion that is set in is the shape by the usual mask rule, whatever the rule by which the truth is made.
    """
    path = slices / "png" / f"{case.subject}.png"
    if not case.lesion:
        return Sample(case, *preprocess(read_slice(path), None, name=str(path)))
    from uadbench.datasets.lesions import darken_tissue

    drawn = read_slice(shapes / f"{masks[case.case_id]}.png")
    image, shape = preprocess(read_slice(path), drawn, name=str(path))
    brain = brain_region(image)
    inside = clip_to_brain(shape, brain)
    if inside is None:
        raise CaseError(
            f"{case.case_id}: the shape lies outside the brain; restore the original slice and mask files"
        )
    changed, truth = darken_tissue(image, inside, lesion_generator(case.case_id))
    if params.mask_rule != PREPROCESSING.mask_rule:
        truth = resize_mask(drawn != 0, params) & brain
    return Sample(case, changed, truth)


def native(slices: Path, case: Case) -> NDArray[np.float64]:
    """The healthy slice of a case's subject; see ``Dataset.native``."""
    path = slices / "png" / f"{case.subject}.png"
    return to_square(read_slice(path), name=str(path))


def lesion_generator(case_id: str) -> np.random.Generator:
    """A generator keyed by the case: the lesion of a case is the same whichever cases are asked for."""
    key = hashlib.sha256(f"{VERSION}:{case_id}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def files(slices: Path, shapes: Path, masks: dict[str, str], cases: Iterable[Case]) -> Iterator[Path]:
    """Every file that the validation and test cases are made of, in order."""
    for case in cases:
        if case.split != "train":
            yield slices / "png" / f"{case.subject}.png"
        if case.lesion:
            yield shapes / f"{masks[case.case_id]}.png"
