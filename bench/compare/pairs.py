"""Which cells are held against each other: variants of one run, the same of two runs, or arms of one variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.engine.methods import all_methods
from uadbench.reports.identity import REFERENCE, Arm, Variant, arm_of, variant_of
from uadbench.reports.runs import Cell, Run
from uadbench.reports.vocabulary import HEADLINES

__all__ = ["CompareError", "Pair", "Side", "choose_pairs", "finished"]


class CompareError(Exception):
    """Cells cannot be compared, or a gate cannot be read; one line: what, which, the remedy."""


@dataclass(frozen=True)
class Side:
    """One cell of a comparison, with its run."""

    run: Run
    cell: Cell

    @property
    def variant(self) -> Variant:
        """What is compared."""
        return variant_of(self.cell.info)

    @property
    def arm(self) -> Arm:
        """How it was computed."""
        return arm_of(self.cell.info)

    @property
    def label(self) -> str:
        """'THOR · gaussian · 25 steps · torch fp32'."""
        return f"{self.variant.label} · {self.arm.label}"


@dataclass(frozen=True)
class Pair:
    """B is held against A."""

    a: Side
    b: Side

    @property
    def title(self) -> str:
        """Names the pair on one line of stderr."""
        names = [side.cell.slug for side in (self.a, self.b)]
        return names[0] if names[0] == names[1] else f"{names[1]} against {names[0]}"


def choose_pairs(
    runs: Sequence[Run], methods: Sequence[str] = (), backends: Sequence[str] = ()
) -> tuple[list[Pair], list[str]]:
    """(pairs, notes on what is left out).

    runs : one, whose variants are held against the first of ``methods`` (without any: the best by its headline),
        or, with two back ends, whose arms of a variant are held against the first; or two, whose equal variants and
        arms are, or, with two methods, the second's of one against the first's of the other
    methods : as on the command line ("thor", "thor:simplex"), or the beginning of a variant's label or folder
    backends : "torch", "openvino:bf16"; torch fp32 where none is named
    Raises CompareError that says what there is to choose from.
    """
    pairs, notes = (_within if len(runs) == 1 else _between)(runs, methods, backends)
    for pair in pairs:
        for side in (pair.a, pair.b):
            if reason := side.cell.info.get("not_applicable"):
                raise CompareError(f"{side.label} of {side.run.path} is not applicable: {reason}")
    return pairs, notes


def finished(cell: Cell) -> dict[str, dict]:
    """The records of the finished test cases by id."""
    return {c["case_id"]: c for c in cell.cases if c["status"] == "ok" and c.get("split", "test") == "test"}


def _within(
    runs: Sequence[Run], methods: Sequence[str], backends: Sequence[str]
) -> tuple[list[Pair], list[str]]:
    (run,) = runs
    if len(backends) > 1:
        return _arms_within(run, methods, backends)
    text = backends[0] if backends else ""
    if methods:
        sides = [Side(run, _cell(run, _variant(run, name), text)) for name in methods]
        notes: list[str] = []
        if len(sides) == 1:
            raise CompareError(
                f"--methods {methods[0]}: name two methods or more of one run, or give two runs"
            )
    else:
        usable = [v for v in _variants(run) if any(finished(cell) for cell in _cells(run, v))]
        notes = [f"left out, no finished case: {v.label}" for v in _variants(run) if v not in usable]
        sides = sorted((Side(run, _cell(run, v, text)) for v in usable), key=_headline, reverse=True)
        if len(sides) < 2:
            raise CompareError(f"{run.path} has {len(sides)} variant with a finished case; give a second run")
    if twice := {side.cell.slug for side in sides[1:] if side.cell.slug == sides[0].cell.slug}:
        raise CompareError(f"--methods names {twice.pop()} twice; a method against itself shows nothing")
    return [Pair(sides[0], side) for side in sides[1:]], notes


def _arms_within(run: Run, methods: Sequence[str], backends: Sequence[str]) -> tuple[list[Pair], list[str]]:
    """Each variant's other arms against its first; of all variants, those that have them."""
    variants = [_variant(run, name) for name in methods] or [v for v in _variants(run) if not v.floor]
    pairs: list[Pair] = []
    notes: list[str] = []
    for variant in variants:
        try:
            first, *others = (Side(run, _cell(run, variant, text)) for text in backends)
        except CompareError as error:
            if methods:
                raise
            notes.append(f"left out: {error}")
            continue
        pairs += [Pair(first, other) for other in others]
    if not pairs:
        raise CompareError(f"no variant of {run.path} ran on {' and '.join(backends)}; it has {_have(run)}")
    return pairs, notes


def _between(
    runs: Sequence[Run], methods: Sequence[str], backends: Sequence[str]
) -> tuple[list[Pair], list[str]]:
    a, b = runs
    if len(methods) > 2 or len(backends) > 2:
        raise CompareError(
            "of two runs, name two methods and two back ends at most: the first run's, the second's"
        )
    if len(methods) == 2:
        texts = (backends[0], backends[-1]) if backends else ("", "")
        sides = [
            Side(run, _cell(run, _variant(run, name), text))
            for run, name, text in zip(runs, methods, texts, strict=True)
        ]
        return [Pair(*sides)], []
    if methods:
        couples, notes = [(_variant(a, methods[0]), _variant(b, methods[0]))], []
    else:
        there = _variants(b)
        couples = [(v, v) for v in _variants(a) if v in there and _tried(a, v) and _tried(b, v)]
        shared = [v for v, _ in couples]
        notes = [
            f"only in {label}: {v.label}"
            for label, run in (("A", a), ("B", b))
            for v in _variants(run)
            if v not in shared
        ]
    pairs = [pair for one, two in couples for pair in _shared_arms(a, b, one, two, backends)]
    if not pairs:
        raise CompareError(
            f"the runs share no variant on the same back end: A has {_have(a)}; B has {_have(b)}; name what to "
            "compare: --methods A's,B's or --backends A's,B's"
        )
    return pairs, notes


def _shared_arms(a: Run, b: Run, one: Variant, two: Variant, backends: Sequence[str]) -> list[Pair]:
    if backends:
        return [Pair(Side(a, _cell(a, one, backends[0])), Side(b, _cell(b, two, backends[-1])))]
    by_arm = {arm_of(cell.info): cell for cell in _cells(b, two)}
    return [
        Pair(Side(a, cell), Side(b, by_arm[arm_of(cell.info)]))
        for cell in _cells(a, one)
        if arm_of(cell.info) in by_arm
    ]


def _variants(run: Run) -> list[Variant]:
    return list(dict.fromkeys(variant_of(cell.info) for cell in run.cells))


def _cells(run: Run, variant: Variant) -> list[Cell]:
    return [cell for cell in run.cells if variant_of(cell.info) == variant]


def _tried(run: Run, variant: Variant) -> bool:
    return not any(cell.info.get("not_applicable") for cell in _cells(run, variant))


def _have(run: Run) -> str:
    return ", ".join(cell.slug for cell in run.cells) or "nothing"


def _headline(side: Side) -> float:
    metrics = side.cell.metrics or {}
    value = (metrics.get(HEADLINES[metrics.get("truth", "mask")].name) or {}).get("value")
    return -1.0 if value is None else float(value)


def _variant(run: Run, text: str) -> Variant:
    """The one variant that a name means; the method's own noise is meant where none is said."""
    variants = _variants(run)
    method, _, noise = text.partition(":")
    small = text.casefold()
    tiers = (
        [v for v in variants if small in (v.slug.casefold(), v.label.casefold())],
        [v for v in variants if v.method == method and noise in ("", v.noise)],
        [v for v in variants if v.slug.casefold().startswith(small) or v.label.casefold().startswith(small)],
    )
    found = next((tier for tier in tiers if tier), [])
    if len(found) > 1 and found == tiers[1] and not noise:
        own = all_methods()[method].noises[0] if method in all_methods() else None
        found = [v for v in found if v.noise == own] or found
    if len(found) == 1:
        return found[0]
    what = "names several variants" if found else "names no variant"
    choice = ", ".join(v.slug for v in found or variants)
    raise CompareError(f"--methods {text!r} {what} of {run.path}; choose from {choice}")


def _cell(run: Run, variant: Variant, text: str) -> Cell:
    """The variant's cell on a back end; on torch fp32, or its only one, where none is named. A floor has only one."""
    cells = _cells(run, variant)
    if variant.floor and len(cells) == 1:
        return cells[0]
    backend, _, precision = (text or REFERENCE.backend).partition(":")
    found = [c for c in cells if text == arm_of(c.info).slug]
    found = found or [
        c for c in cells if arm_of(c.info).backend == backend and precision in ("", arm_of(c.info).precision)
    ]
    if len(found) > 1:  # fp32 is meant where no precision is said
        found = [c for c in found if arm_of(c.info).precision == REFERENCE.precision] or found
    if not text and not found:
        found = cells
    if len(found) == 1:
        return found[0]
    arms = ", ".join(f"{arm_of(c.info).backend}:{arm_of(c.info).precision}" for c in cells)
    what = f"--backends {text!r}" if text else "no back end is named, which"
    raise CompareError(
        f"{what} means {len(found)} of the cells of {variant.label} in {run.path}; choose from {arms}"
    )
