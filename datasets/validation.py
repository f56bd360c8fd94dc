"""A data set whose validation cases are scored in place of its test cases, so that a choice costs no test case."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from uadbench.datasets.case import Dataset
from uadbench.datasets.selection import count_test, limit_test

__all__ = ["CAVEAT", "FITTED", "SHARED", "SUFFIX", "on_validation"]

SUFFIX = ":val"  # of its name, so that nothing made of it can pass for figures of the test split
CAVEAT = "These are validation cases, which choices are made on. A figure for others to read is one of the test split."
FITTED = (
    "What a method fits on validation lesions, it has fitted on these same cases: such rows are flattered."
)
SHARED = "Healthy slices of {} subjects fix the threshold at which other slices of theirs, with lesion, are scored."


def on_validation(dataset: Dataset, limit: int | None = None) -> Dataset:
    """The data set with its validation cases in the role of test cases, and no test case at all.

    Every lesion case is scored, and the healthy ones of every other subject; those of the subjects between fix the
    threshold, as before. So where a subject has several slices, no healthy one is scored at a threshold that its own
    neighbours fixed; where a subject has lesion slices too, they are, which a caveat tells. The lesion cases also stay
    validation cases, for methods that fit a setting on them, which another tells. Roles are what ``Case.split`` holds
    in the result: a scored case says "test".

    limit : at most so many scored cases, see ``limit_test``
    """
    val = dataset.split("val")
    healthy = [case for case in val if not case.lesion]
    lesions = [case for case in val if case.lesion]
    others = set(list(dict.fromkeys(case.subject for case in healthy))[1::2])
    fixing = [case for case in healthy if case.subject not in others]
    away = [case for case in healthy if case.subject in others]
    scored = [replace(case, split="test") for case in (*lesions, *away)]
    cases = limit_test([*dataset.split("train"), *fixing, *lesions, *scored], limit)
    both = {case.subject for case in fixing} & {case.subject for case in lesions}
    shared = (SHARED.format(len(both)),) if both else ()
    ids = "\x1f".join(case.case_id for case in cases if case.split == "test")
    return replace(
        dataset,
        name=f"{dataset.name}{SUFFIX}",
        title=f"{dataset.title} (VALIDATION cases)",
        cases=cases,
        caveats=(CAVEAT, FITTED, *shared, *dataset.caveats),
        n_test=count_test(scored),
        fingerprint=hashlib.sha256(f"{dataset.fingerprint}\x1e{ids}".encode()).hexdigest(),
    )
