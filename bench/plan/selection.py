"""Which test cases: by id, by subject, at most so many. Validation cases, which fix thresholds, stay as they are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uadbench.bench.plan.fields import ConfigError, shown

if TYPE_CHECKING:
    from uadbench.datasets.case import Dataset

__all__ = ["read_ids", "select_test"]

MAX_BYTES = 64 * 1024 * 1024  # of a list of ids


def read_ids(path: Path) -> list[str]:
    """The ids in a text file, one a line; blank lines and what follows '#' are left out.

    ConfigError where it cannot be read, is no UTF-8 text, names none, or one twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: more than {MAX_BYTES} bytes, which is no list of ids")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give a file with one id a line"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no UTF-8 text; give a file with one id a line") from error
    ids = [name for line in lines if (name := line.partition("#")[0].strip())]
    if not ids:
        raise ConfigError(f"{path}: names no id; write one a line")
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise ConfigError(f"{path}: names {shown(name)} twice; write each id once")
        seen.add(name)
    return ids


def select_test(
    dataset: Dataset, cases: Sequence[str], subjects: Sequence[str], limit: int | None = None
) -> Dataset:
    """The data set with only those test cases whose id and whose subject are named; other splits untouched.

    cases, subjects : () for no restriction; limit : at most so many of them, lesion and healthy in proportion, drawn
        in the data set's fixed order
    Raises ConfigError on an id that no test case has, with the nearest there are, and where none is left.
    """
    from uadbench.datasets.selection import fixed_order, limit_test

    test = dataset.split("test")
    _check_known("case", cases, {case.case_id for case in test}, _elsewhere(dataset, "case_id"))
    _check_known("subject", subjects, {case.subject for case in test}, _elsewhere(dataset, "subject"))
    ids, people = set(cases), set(subjects)
    chosen = {
        case.case_id: case
        for case in test
        if (not ids or case.case_id in ids) and (not people or case.subject in people)
    }
    if not chosen:
        raise ConfigError("no test case is among both --cases and --subjects; name cases of these subjects")
    drawn = limit_test([chosen[key] for key in fixed_order(dataset.name, chosen)], limit)
    kept = {case.case_id for case in drawn}
    left = tuple(case for case in dataset.cases if case.split != "test" or case.case_id in kept)
    return replace(dataset, cases=left, n_test=dataset.n_test or len(test))


def _elsewhere(dataset: Dataset, field: str) -> dict[str, str]:
    """Id -> the split that it is in, of what is no test case."""
    return {getattr(case, field): case.split for case in dataset.cases if case.split != "test"}


def _check_known(what: str, names: Sequence[str], known: set[str], elsewhere: dict[str, str]) -> None:
    """ConfigError on the first name that is none of a test case."""
    for name in names:
        if name in known:
            continue
        if name in elsewhere:
            raise ConfigError(
                f"{what} {shown(name)} is in the split {elsewhere[name]}; only test cases can be chosen"
            )
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
        shown_ids = ", ".join(near or sorted(known)[:3])
        hint = f"the nearest are {shown_ids}" if near else f"it has such as {shown_ids}"
        raise ConfigError(f"no test case has the {what} {shown(name)}; {hint}")
