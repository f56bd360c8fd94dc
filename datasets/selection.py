"""Which cases, in which order: committed split files, limits, fingerprints."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from uadbench.datasets.case import Case

__all__ = ["count_test", "fingerprint", "fixed_order", "limit_test", "read_split"]


def fixed_order(name: str, ids: Iterable[str]) -> list[str]:
    """The ids in the order of sha256("name:id"): random, but the same on every machine and in every version."""
    return sorted(ids, key=lambda key: hashlib.sha256(f"{name}:{key}".encode()).hexdigest())


def read_split(name: str) -> list[dict[str, str]]:
    """The rows of the committed split file ``splits/<name>.csv``, in order."""
    text = (resources.files("uadbench.datasets") / "splits" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def limit_test(cases: Sequence[Case], limit: int | None) -> tuple[Case, ...]:
    """At most ``limit`` test cases, lesion and healthy in their full proportion; other splits untouched.

    The first of each kind in the list's order are kept. From two cases on each kind that is there keeps at least one.

    Raises ValueError for a limit below 1.
    """
    if limit is None:
        return tuple(cases)
    if limit < 1:
        raise ValueError(f"limit is {limit}; allowed: 1 or more")
    test = [case for case in cases if case.split == "test"]
    lesion = [case for case in test if case.lesion]
    healthy = [case for case in test if not case.lesion]
    if limit >= len(test):
        return tuple(cases)
    n_lesion = round(limit * len(lesion) / len(test))
    if limit > 1 and lesion and healthy:
        n_lesion = min(max(n_lesion, 1), limit - 1)
    kept = {case.case_id for case in lesion[:n_lesion] + healthy[: limit - n_lesion]}
    return tuple(case for case in cases if case.split != "test" or case.case_id in kept)


def count_test(cases: Iterable[Case]) -> int:
    """How many of the cases are test cases."""
    return sum(case.split == "test" for case in cases)


def fingerprint(cases: Iterable[Case], files: Iterable[Path], extra: str = "") -> str:
    """sha256 over ids, subjects, splits, kinds, ``extra`` (parameters), and the names and contents of the files.

    A file that is missing or unreadable enters as such: the case will fail, and the fingerprint tells the runs apart.
    """
    digest = hashlib.sha256(extra.encode())
    for case in cases:
        digest.update(f"\x1e{case.case_id}\x1f{case.subject}\x1f{case.split}\x1f{int(case.lesion)}".encode())
    for path in files:
        digest.update(f"\x1e{path.name}\x1f".encode())
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            digest.update(type(error).__name__.encode())
    return digest.hexdigest()
