"""Which cases, in which order: committed split files, limits, fingerprints."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path

from uadbench.datasets.case import Case

__all__ = ["count_test", "fingerprint", "fixed_order", "generated_cases", "limit_test", "read_split"]


def fixed_order(name: str, ids: Iterable[str]) -> list[str]:
    """The ids in the order of sha256("name:id"): random, but the same on every machine and in every version."""
    return sorted(ids, key=lambda key: hashlib.sha256(f"{name}:{key}".encode()).hexdigest())


def read_split(name: str) -> list[dict[str, str]]:
    """The rows of the committed split file ``splits/<name>.csv``, in order."""
    text = (resources.files("uadbench.datasets") / "splits" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def generated_cases(
    prefix: str,
    kinds: Sequence[str],
    limit: int | None,
    *,
    healthy: Mapping[str, int],
    of_each_kind: Mapping[str, int],
) -> list[Case]:
    """Cases of a data set that is generated, in their fixed order; kinds take turns, so that every prefix has all.

    healthy, of_each_kind : split -> how many
    More test cases than these follow in further blocks of the same make-up, as many as ``limit`` needs.
    """
    block = [
        *[("test", kind) for kind in kinds] * of_each_kind["test"],
        *[("test", "healthy")] * healthy["test"],
    ]
    planned = [("train", "healthy")] * healthy["train"] + [("val", "healthy")] * healthy["val"]
    planned += [("val", kind) for kind in kinds] * of_each_kind["val"]
    planned += block * max(1, math.ceil((limit or 0) / len(block)))
    names = [f"{prefix}-{number:03d}-{split}-{kind}" for number, (split, kind) in enumerate(planned)]
    return [
        Case(name, name, split, kind != "healthy") for name, (split, kind) in zip(names, planned, strict=True)
    ]


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
