"""What may be said of rows: their ranks by paired tests, which are best or tie with it, which lose to a floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from uadbench.reports.truth import headline_of, truth_of
from uadbench.reports.vocabulary import MEASURES, RANKED

__all__ = ["ALPHA", "RANKS", "Marks", "marks", "ranks", "with_ranks"]

ALPHA = 0.05
_FEWEST = 10  # subjects, as for intervals

RANKS = (
    "Rank: 1 + the number of rows that are significantly better by the first score of the table. Bold: the best "
    "value of its column. ≈: not the best, but no row is significantly better in that column. Significantly better: "
    "the difference on the cases that both rows finished, resampled over subjects in pairs, leaves out 0 at p < "
    f"{ALPHA:g} after Holm's correction over all pairs of the column. Overlapping intervals decide nothing here. Equal "
    "ranks do not prove equality, and two rows of different rank need not differ from each other. Back ends and noise "
    "seeds of one variant are not tested against each other."
)


@dataclass(frozen=True)
class Marks:
    """What may be said of rows: (row, score) pairs that are best or tie with the best; rows below the best floor."""

    best: frozenset[tuple[int, str]]
    ties: frozenset[tuple[int, str]]
    below: dict[int, str]


def ranks(tests: Iterable[Mapping[str, Any]], better: int = +1) -> dict[str, int]:
    """cell -> 1 + the number of cells that are significantly better, from the pairs of one measure in paired.json.

    A cell of which no pair could be tested has no rank and counts for nobody.
    """
    found: dict[str, int] = {}
    for test in tests:
        if test["p_holm"] is None:
            continue
        for slug in (test["a"], test["b"]):
            found.setdefault(slug, 1)
        if test["p_holm"] < ALPHA and test["difference"]:
            found[test["a"] if better * test["difference"] > 0 else test["b"]] += 1
    return found


def with_ranks(frame: pd.DataFrame, paired: Mapping[str, Mapping[str, Any] | None]) -> pd.DataFrame:
    """The frame with its columns rank_SCORE filled, and rank_note with why there are none.

    paired : run -> its paired.json; pairs are tested within a run, so rows of several runs have no ranks
    """
    notes = pd.Series("", index=frame.index, dtype=object)
    columns = {score: pd.Series(pd.NA, index=frame.index, dtype="Int64") for score in RANKED}
    for _, part in frame.groupby(["dataset", "fingerprint"]):
        tested = _tested(part, paired)
        notes[part.index] = tested if isinstance(tested, str) else _note(part, tested)
        if isinstance(tested, str):
            continue
        for score, column in columns.items():
            found = ranks(tested["measures"].get(score) or (), MEASURES[score].better)
            for index in part.index[part[score].notna()]:
                column[index] = found.get(part.loc[index, "cell"], pd.NA)
    return frame.assign(rank_note=notes, **{f"rank_{score}": column for score, column in columns.items()})


def _tested(part: pd.DataFrame, paired: Mapping[str, Mapping[str, Any] | None]) -> Mapping[str, Any] | str:
    """The section's tests, or why there are none."""
    names = list(part["run"].unique())
    if len(names) > 1:
        return (
            "no ranks: rows of several runs, and pairs are tested within a run; bench compare holds two runs against "
            "each other"
        )
    tested = paired.get(names[0])
    return tested or "no ranks: the run has no paired.json; its bench run command, given again, makes it"


def _note(part: pd.DataFrame, tested: Mapping[str, Any]) -> str:
    """What the ranks lack, in sentences, the first without a capital; "" where they lack nothing."""
    pairs, draws = tested.get("n_pairs") or 0, tested.get("draws") or 0
    if part[headline_of(part).name].notna().sum() < 2:
        return ""
    if not pairs:
        return "no ranks: one variant alone"
    notes = []
    few: list[str] = []
    undefined: list[str] = []
    for score in (name for name in RANKED if MEASURES[name].applies_to(truth_of(part))):
        tests = tested["measures"].get(score) or ()
        if tests and all(test["p_holm"] is None for test in tests):
            some = any((test["n_subjects"] or 0) >= _FEWEST for test in tests)
            (undefined if some else few).append(MEASURES[score].title)
    for titles, why in ((few, f"fewer than {_FEWEST} subjects"), (undefined, "undefined in many resamples")):
        if titles:
            notes.append(f"no ranks, for {why}: {'; '.join(titles)}")  # titles have commas of their own
    if pairs * 2 / (draws + 1) >= ALPHA:
        notes.append(
            f"no difference can pass the correction: {pairs} pairs are too many for {draws} resamples"
        )
    return ". ".join(note[0].upper() + note[1:] if n else note for n, note in enumerate(notes))


def marks(frame: pd.DataFrame) -> Marks:
    """Best and tied values among one section's rows, floors included, and the methods below the best floor.

    A tie has rank 1 in its column without being the best; without ranks only equal values share the first place. A
    method is below the floor when its headline score is less than the best floor's, whatever the tests.
    """
    best: set[tuple[int, str]] = set()
    ties: set[tuple[int, str]] = set()
    for score in (name for name in RANKED if MEASURES[name].applies_to(truth_of(frame))):
        values = (MEASURES[score].better * frame[score]).dropna()
        if len(values) < 2:
            continue
        best |= {(index, score) for index in values.index if values[index] == values.max()}
        first = frame.index[frame[f"rank_{score}"].eq(1).fillna(False).astype(bool)]
        ties |= {(index, score) for index in first if (index, score) not in best}
    return Marks(frozenset(best), frozenset(ties), _below(frame))


def _below(frame: pd.DataFrame) -> dict[int, str]:
    """Methods that are worse than the best floor by the headline score, and that floor in words."""
    headline = headline_of(frame)
    value = headline.better * frame[headline.name]
    floors = value[frame["kind"] == "floor"].dropna()
    if floors.empty:
        return {}
    floor = frame.loc[floors.idxmax()]
    text = f"below the floor {floor['method']} ({headline.text(floor[headline.name])})"
    lower = frame[(frame["kind"] != "floor") & (value < floors.max())]
    return dict.fromkeys(lower.index, text)
