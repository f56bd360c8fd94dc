"""Slices of volumes as cases: which ones, how they are scaled, in which order; the same for every layout.

Slices of a volume stand together, so that it is opened once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uadbench.datasets.case import Case, CaseError, Dataset, Finding, Sample
from uadbench.datasets.choices import SCALINGS, SEVERAL
from uadbench.datasets.expected import find_faults, in_mni
from uadbench.datasets.layouts import Choice, Found, Layout, locate, order, parse_options, split_of
from uadbench.datasets.preprocess import PREPROCESSING, Preprocessing, preprocess, to_square
from uadbench.datasets.selection import count_test, fingerprint, limit_test
from uadbench.datasets.surveys import survey
from uadbench.datasets.volumes import Files, Measured, Opened

__all__ = ["MID_AXIAL_MM", "open_layout"]

MID_AXIAL_MM = 18  # the plane of the published mid-axial slices of IXI and SOOP, in MNI space
# How a volume's grey values are treated beyond a slice's; recorded with the parameters of the slices.
VOLUMES = {
    "negative": "0 where the background is 0",
    "volume_percentile": "over tissue: above 0.1 of the way from background to the 98th percentile",
}


def open_layout(
    layout: Layout,
    root: Path | None,
    limit: int | None,
    params: Preprocessing = PREPROCESSING,
    options: Sequence[str] = (),
) -> Dataset:
    """Open a data set of volumes; each is measured when it is first seen, which reads it whole.

    root : the data set's folder, or the one that holds it under the name of the layout
    limit : at most so many test cases: of the first volumes in hash order, from the mid-axial slice outwards, lesion
        and healthy in their full proportion
    options : see ``parse_options``

    Raises CaseError where there are no data or an option is none. A volume that cannot be used is one case, which
    fails.
    """
    choice = parse_options(layout, options)
    folder, found = locate(layout, choice.modality, root)
    found = sorted(found, key=lambda item: order(layout.name, item.volume))
    files = {item.volume: item.files for item in found}
    sound = {item.volume: item.files for item in found if not item.fault}
    measured = survey(layout.name, folder, sound, params.percentile)
    measured |= {item.volume: Measured("", item.fault) for item in found if item.fault}
    every = [
        case for item in found for case in cases_of(layout, item, measured[item.volume], choice, params.size)
    ]
    cases = first(layout, every, measured, choice, limit)
    modality, settings = layout.modalities[choice.modality], layout.settings(folder)
    findings = (*unmasked(found), *unmarked(found, measured), *find_faults(modality, choice.slices, measured))
    cut = partial(read, Opened(), files, measured, choice)
    key = (choice, settings, params.mask_key(), contents(cases, measured))
    said = (*layout.caveats, *caveats(choice, every, measured), *(finding.what for finding in findings))
    return Dataset(
        name=":".join([layout.name, *options]),
        title=f"{layout.title}, {described(choice)}",
        modality=modality.title,
        lesion_sign=settings.get("lesion_sign", modality.lesion_sign),
        cases=cases,
        load=partial(load, cut, params),
        native=partial(native, cut, params),
        caveats=(*said, *params.mask_caveats()),
        findings=findings,
        licence=layout.source.licence,
        citation=layout.source.citation,
        preprocessing=params.record() | recorded(choice),
        n_test=count_test(every),
        fingerprint=fingerprint(cases, (), repr(key)),
    )


def first(
    layout: Layout, every: Sequence[Case], measured: Mapping[str, Measured], choice: Choice, limit: int | None
) -> tuple[Case, ...]:
    """All cases but those above the limit, in their order; see ``open_layout``."""
    centre = {volume: mid_axial(m, choice) for volume, m in measured.items() if not m.fault}

    def rank(case: Case) -> tuple[float, int]:
        return order(layout.name, case.volume), abs(case.position - centre.get(case.volume, 0))

    kept = {case.case_id for case in limit_test(sorted(every, key=rank), limit)}
    return tuple(case for case in every if case.case_id in kept)


def unmasked(found: Sequence[Found]) -> tuple[Finding, ...]:
    """Who is healthy because there is no mask, where others have one: a mask that got lost would look the same."""
    sound = [item for item in found if not item.fault]
    without = [item.volume for item in sound if item.files.mask is None]
    if not 0 < len(without) < len(sound):
        return ()
    what = f"{len(without)} of {len(sound)} volumes have no mask and are taken to be healthy: {few(without)}."
    return (Finding(what, "where one of them is a patient, restore the mask"),)


def unmarked(found: Sequence[Found], measured: Mapping[str, Measured]) -> tuple[Finding, ...]:
    """Who is healthy because nothing is marked in the mask: one that was never drawn would look the same."""
    masked = [i.volume for i in found if i.files.mask is not None and not measured[i.volume].fault]
    empty = [volume for volume in masked if not any(measured[volume].lesion)]
    if not empty:
        return ()
    what = f"{len(empty)} of {len(masked)} masks hold no lesion, and their volumes are taken to be healthy"
    return (Finding(f"{what}: {few(empty)}.", "where one of them is a patient, draw or restore the mask"),)


def few(names: Sequence[str]) -> str:
    """The first five, in words."""
    return f"{', '.join(names[:5])}{' and others' if len(names) > 5 else ''}"


def described(choice: Choice) -> str:
    """The choice in words, for a title."""
    if choice.slices in SEVERAL:
        slices = SEVERAL[choice.slices].title
    else:
        slices = "mid-axial slices" if choice.slices == "mid-axial" else f"slices at {choice.slices}"
    return f"{slices}, scaled by {SCALINGS[choice.scaled].title}"


def recorded(choice: Choice) -> dict[str, object]:
    """What is made of volumes, as plain values for the run's manifest."""
    several = SEVERAL[choice.slices].record if choice.slices in SEVERAL else {}
    own = {"slices": choice.slices, "scaled": choice.scaled}
    return {**own, **VOLUMES, **several, **SCALINGS[choice.scaled].record}


def contents(cases: Sequence[Case], measured: Mapping[str, Measured]) -> list[tuple[str, str]]:
    """(volume, sha256 of its files) of validation and test; a volume that was cut otherwise is another one."""
    used = dict.fromkeys(case.volume for case in cases if case.split != "train")
    return [(volume, measured[volume].sha256) for volume in used]


def caveats(choice: Choice, every: Sequence[Case], measured: Mapping[str, Measured]) -> tuple[str, ...]:
    """What follows from how cases are made of volumes, counted."""
    sound = {volume: m for volume, m in measured.items() if not m.fault}
    beside = sum(not case.lesion and any(sound[case.volume].lesion) for case in every if case.volume in sound)
    kept = {(case.volume, case.position) for case in every}
    lost = sum((v, z) not in kept for v, m in sound.items() for z, count in enumerate(m.lesion) if count)
    ignored = sum(map(bool, (count for m in sound.values() for count in m.ignored)))
    said = []
    if beside:
        said.append(f"Slices without lesion of patients whose lesion lies elsewhere in the volume: {beside}.")
    if choice.slices in SEVERAL:
        said.append(f"{SEVERAL[choice.slices].caveat}; slices with lesion that are not among them: {lost}.")
    if ignored:
        said.append(
            f"Slices left out because they hold a label that is neither lesion nor healthy: {ignored}."
        )
    return tuple(said)


def cases_of(layout: Layout, item: Found, measured: Measured, choice: Choice, size: int) -> list[Case]:
    """The chosen slices of one volume, from the lowest; of one that cannot be used, a case that will say why."""
    split = split_of(layout, item)
    if unusable(item.files, measured, choice):
        return [Case(item.volume, item.subject, split, item.files.mask is not None, item.volume)]
    spacing = loaded_spacing(measured, size)
    cases = [
        Case(f"{item.volume}-{z:03d}", item.subject, split, measured.lesion[z] > 0, item.volume, z, spacing)
        for z in chosen(measured, choice)
        if not measured.ignored[z]
    ]
    return [case for case in cases if split != "train" or not case.lesion]


def loaded_spacing(measured: Measured, size: int) -> tuple[float, float, float]:
    """``Case.spacing`` of slices that are padded to a square and resized to ``size``; not rounded."""
    right, front, up = measured.spacing
    shrunk = max(measured.shape[:2]) / size
    return up, shrunk * front, shrunk * right


def chosen(measured: Measured, choice: Choice) -> list[int]:
    """Positions of the slices that are wanted."""
    several = SEVERAL.get(choice.slices)
    return several.positions(measured) if several else [mid_axial(measured, choice)]


def mid_axial(measured: Measured, choice: Choice) -> int:
    """The slice at the chosen height, or, where none is chosen, at MID_AXIAL_MM in MNI space and else half-way up."""
    last = len(measured.tissue) - 1
    if choice.slices.endswith("%"):
        return round(int(choice.slices[:-1]) / 100 * last)
    if choice.slices.endswith("mm") or in_mni(measured):
        mm = int(choice.slices[:-2]) if choice.slices.endswith("mm") else MID_AXIAL_MM
        return round((mm - measured.corner[2]) / measured.spacing[2])
    return round(last / 2)


def unusable(files: Files, measured: Measured, choice: Choice) -> str:
    """Why no slice can be cut from a volume, or ""."""
    if measured.fault or choice.slices in SEVERAL or 0 <= mid_axial(measured, choice) < len(measured.tissue):
        return measured.fault
    low = measured.corner[2]
    high = low + measured.spacing[2] * (len(measured.tissue) - 1)
    return (
        f"{files.image}: no slice at {choice.slices}, it spans {low:g} to {high:g} mm; choose another, or 50%"
    )


Cut = tuple[NDArray[np.float32], NDArray[np.bool_] | None, str, tuple[float, float] | None]


def read(
    opened: Opened, files: Mapping[str, Files], measured: Mapping[str, Measured], choice: Choice, case: Case
) -> Cut:
    """(slice, mask, name of the file, window) of a case; CaseError where its volume cannot be used."""
    known = measured[case.volume]
    fault = unusable(files[case.volume], known, choice)
    if fault:
        raise CaseError(fault)
    image, mask = opened.slice(files[case.volume], case.position)
    name = f"{files[case.volume].image} slice {case.position}"
    return image, mask, name, SCALINGS[choice.scaled].window(known)


def load(cut: Callable[[Case], Cut], params: Preprocessing, case: Case) -> Sample:
    """See ``Dataset.load``."""
    image, mask, name, window = cut(case)
    pixels, lesion = preprocess(image, mask, params, name, window)
    return Sample(case, pixels, lesion)


def native(cut: Callable[[Case], Cut], params: Preprocessing, case: Case) -> NDArray[np.float64]:
    """See ``Dataset.native``."""
    image, _, name, window = cut(case)
    return to_square(image, params, name, window)
