"""Validation cases are scored in place of test cases, and nothing made of them can pass for the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from support.cells import make_dataset

from uadbench.datasets.case import Case, Dataset
from uadbench.datasets.validation import CAVEAT, FITTED, SHARED, SUFFIX, on_validation

DATA = make_dataset()
SCORED = on_validation(DATA)


def ids(cases: Sequence[Case]) -> set[str]:
    return {case.case_id for case in cases}


def test_every_validation_lesion_and_every_other_subjects_healthy_case_is_scored_and_no_test_case() -> None:
    val = DATA.split("val")
    healthy = [case for case in val if not case.lesion]
    assert ids(SCORED.split("test")) == ids([case for case in val if case.lesion]) | ids(healthy[1::2])
    assert not ids(SCORED.cases) & ids(DATA.split("test"))
    assert SCORED.n_test == len(SCORED.split("test"))


def test_a_healthy_case_fixes_the_threshold_or_is_scored_but_never_both() -> None:
    fixes = {case.case_id for case in SCORED.split("val") if not case.lesion}
    assert fixes
    assert not fixes & ids(SCORED.split("test"))


def sliced(*slices: tuple[str, bool]) -> Dataset:
    """Validation slices of (subject, lesion)."""
    cases = tuple(
        Case(f"{subject}-{n}", subject, "val", lesion) for n, (subject, lesion) in enumerate(slices)
    )
    return replace(DATA, cases=cases)


def test_no_subjects_healthy_slices_fix_the_threshold_that_others_of_theirs_are_scored_at() -> None:
    data = sliced(*(((f"s{n // 3}"), False) for n in range(12)), ("ill", True))
    found = on_validation(data)
    fix, score = ({case.subject for case in found.split(split)} for split in ("val", "test"))
    assert (fix, score) == ({"s0", "s2", "ill"}, {"s1", "s3", "ill"})
    assert len(found.split("test")) == 7
    assert len(found.caveats) == 2 + len(data.caveats)


def test_a_caveat_counts_subjects_whose_healthy_slices_fix_the_threshold_of_their_lesions() -> None:
    found = on_validation(sliced(("a", False), ("a", True), ("b", False), ("b", True), ("c", False)))
    assert found.caveats[2] == SHARED.format(1)


def test_what_a_method_fits_on_stays_there_and_a_caveat_tells() -> None:
    lesions = {case.case_id for case in DATA.split("val") if case.lesion}
    assert {case.case_id for case in SCORED.split("val") if case.lesion} == lesions
    assert SCORED.caveats[:2] == (CAVEAT, FITTED)


def test_its_name_title_and_fingerprint_are_not_those_of_the_test_split() -> None:
    assert SCORED.name == f"{DATA.name}{SUFFIX}"
    assert "VALIDATION" in SCORED.title
    assert SCORED.fingerprint != DATA.fingerprint
    assert SCORED.fingerprint != on_validation(DATA, 1).fingerprint


def test_a_limit_takes_of_the_scored_cases() -> None:
    assert len(on_validation(DATA, 1).split("test")) == 1
    assert on_validation(DATA, 1).n_test == SCORED.n_test
