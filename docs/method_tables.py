"""Tables of the methods' pages, from a folder that ``publish_run.py`` wrote: ``result_tables.py`` puts them in.

Paired differences are of the page's method less the row's, in points, with 95 % intervals over subjects, and with
Holm's p over all pairs of the record where that is above 0.05.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from uadbench.reports.identity import variant_of
from uadbench.reports.text import milliseconds

__all__ = [
    "GOALS",
    "PAPERS",
    "SCORES",
    "beside",
    "floors",
    "goals",
    "paired_lead",
    "read_board",
    "told_lead",
    "twofold",
    "variants",
]

PAPERS = ("thor", "ddpm", "anoddpm", "autoddpm", "pddpm", "cddpm")
SCORES = {"dice_max": "max Dice", "dice_average": "average", "auprc": "AUPRC"}
SIZES = ("small", "medium", "large")
GOALS = {
    "the papers' methods": 2.0,
    "floors of fixed width": 1.25,
    "floors fitted on validation lesions": 1.25,
}
"""What Mend is held against -> how many times the best of them, each score's own best, it was to reach."""
DOUBTFUL = 0.05  # p above which it is told
TWOFOLD = ("dice_max", "dice_average")
SHOWN = 2  # floors of fixed and of fitted width beside methods


def read_board(folder: Path) -> pd.DataFrame:
    """leaderboard.csv, with the cells' names of paired.csv as "name" and their words for readers as "label"."""
    frame = pd.read_csv(
        folder / "leaderboard.csv", dtype={"steps": str, "noise": str}, keep_default_na=False, na_values=[""]
    )
    name = [
        cell.removesuffix(f"-{arm}-{precision}")
        for cell, arm, precision in frame[["cell", "backend", "precision"]].itertuples(index=False)
    ]
    label = [variant_of(row.dropna().to_dict()).label for _, row in frame.iterrows()]
    return frame.copy().assign(name=name, label=label)  # copied: read_csv leaves many columns in pieces


def _rows(folder: Path) -> pd.DataFrame:
    """The leaderboard, best max Dice first, with the group of each row."""
    frame = read_board(folder)
    fitted = frame["method"].str.endswith("-fitted")
    papers, fixed, wide = GOALS
    group = frame["method"].isin(PAPERS).map({True: papers, False: ""})
    group = group.mask(frame["kind"].eq("floor"), fixed).mask(frame["kind"].eq("floor") & fitted, wide)
    return frame.assign(group=group).sort_values("dice_max", ascending=False)


def _own(rows: pd.DataFrame, method: str, folder: Path) -> pd.Series:
    """The one row of the method; LookupError where there is none, or several."""
    found = rows[rows["method"] == method]
    if len(found) != 1:
        raise LookupError(f"{folder / 'leaderboard.csv'} has {len(found)} rows of {method}, not one")
    return found.iloc[0]


def paired_lead(
    folder: Path, ours: str, theirs: str, measure: str = "dice_max"
) -> tuple[float, float, float, float] | None:
    """Ours less theirs, its interval and Holm's p; None for itself and where the pair was not tested."""
    frame = pd.read_csv(folder / "paired.csv")
    frame = frame[frame["measure"] == measure]
    for a, b, sign in ((theirs, ours, 1), (ours, theirs, -1)):
        for row in frame[(frame["a"] == a) & (frame["b"] == b)].itertuples():
            low, high = sorted((sign * row.lo, sign * row.hi))
            return sign * row.difference, low, high, row.p_holm
    return None


def told_lead(pair: tuple[float, float, float, float] | None) -> str:
    """'+1.3 [-0.2, 2.7], p 0.12'."""
    if pair is None:
        return "–"
    difference, low, high, p = pair
    doubt = f", p {p:.2g}" if p > DOUBTFUL else ""
    return f"{100 * difference:+.1f} [{100 * low:.1f}, {100 * high:.1f}]{doubt}"


def _table(heads: tuple[str, ...], left: int, lines: list[tuple[str, ...]]) -> str:
    rules = "| --- " * left + "| ---: " * (len(heads) - left) + "|"
    return (
        "\n".join(
            ["| " + " | ".join(heads) + " |", rules, *("| " + " | ".join(line) + " |" for line in lines)]
        )
        + "\n"
    )


def _scores(row: pd.Series) -> tuple[str, str, str]:
    value, low, high = (100 * row[f"dice_max{end}"] for end in ("", "_lo", "_hi"))
    return (
        f"{value:.1f} [{low:.1f}, {high:.1f}]",
        f"{100 * row['dice_average']:.1f}",
        f"{100 * row['auprc']:.1f}",
    )


def beside(folder: Path, method: str) -> str:
    """The method, every other in the variant of its best max Dice, and the best floors of either kind."""
    rows = _rows(folder)
    own = _own(rows, method, folder)["name"]
    floor = rows["kind"].eq("floor")
    shown = pd.concat(
        [
            rows[~floor].drop_duplicates("method"),
            *(part.head(SHOWN) for _, part in rows[floor].groupby("group")),
        ]
    )
    lines = []
    for _, row in shown.sort_values("dice_max", ascending=False).iterrows():
        best, average, auprc = _scores(row)
        sizes = " / ".join(f"{100 * row[f'dice_{size}']:.1f}" for size in SIZES)
        label = f"*floor:* {row['label']}" if row["kind"] == "floor" else row["label"]
        label = f"**{label}**" if row["method"] == method else label
        lead = told_lead(paired_lead(folder, own, row["name"]))
        cost = (f"{row['nfe']:.0f}", milliseconds(row["latency_ms_p50"]))
        lines.append((label, best, average, sizes, auprc, *cost, lead))
    sizes = "small / medium / large"
    heads = ("row", "max Dice", "average", sizes, "AUPRC", "calls", "ms/image", "paired difference to it")
    return _table(heads, 1, lines)


def goals(folder: Path, method: str) -> str:
    """How many times the best of each group the method has, score by score.

    Met is what is so many times as wanted, with a paired interval above zero and Holm's p of at most 0.05.
    """
    rows = _rows(folder)
    own = _own(rows, method, folder)
    lines = []
    for group, wanted in GOALS.items():
        cells = []
        for score in SCORES:
            best = rows.loc[rows.loc[rows["group"] == group, score].idxmax()]
            pair = paired_lead(folder, own["name"], best["name"], score)
            times = own[score] / best[score]
            met = pair is not None and times >= wanted and pair[1] > 0 and pair[3] <= DOUBTFUL
            cells.append(
                f"{times:.2f}, {'met' if met else '**missed**'} ({best['method']}; {told_lead(pair)})"
            )
        lines.append((group, f"{wanted:g} times", *cells))
    return _table(("the best of", "wanted", *SCORES.values()), 5, lines)


def floors(folder: Path, method: str) -> str:
    """Every floor with the width that it has or was given, and what the method leads it by."""
    rows = _rows(folder)
    own = _own(rows, method, folder)["name"]
    chosen = json.loads((folder / "fitted.json").read_text())
    lines = []
    for _, row in rows[rows["kind"].eq("floor")].iterrows():
        width = chosen.get(row["name"], {}).get("record", {}).get("sigma")
        sigma = "fixed" if width is None else f"{width:g}"
        lines.append((row["label"], sigma, *_scores(row), told_lead(paired_lead(folder, own, row["name"]))))
    return _table(("floor", "sigma", *SCORES.values(), f"{method} less it, max Dice"), 1, lines)


def twofold(folder: Path) -> str:
    """Every method that stands in two variants in one run, in the order of its command: A, B, and B less A.

    Methods of one variant are left out; LookupError where one has more than two.
    """
    lines = []
    of = ["title", "noise", "perceptual"]  # of which many methods have none
    for key, rows in _ordered(folder).groupby(of, sort=False, dropna=False):
        what = " · ".join(part for part in key if isinstance(part, str))
        if len(rows) > 2:
            raise LookupError(f"{folder / 'leaderboard.csv'} has {len(rows)} rows of {what}, not two")
        if len(rows) == 2:
            (_, a), (_, b) = rows.iterrows()
            cells = [what, *(f"{one['nfe']:.0f}" for one in (a, b))]
            for score in TWOFOLD:
                lead = told_lead(paired_lead(folder, b["name"], a["name"], score))
                cells += [*(f"{100 * one[score]:.1f}" for one in (a, b)), lead]
            lines.append(tuple(cells))
    heads = [f"{SCORES[score]} {what}" for score in TWOFOLD for what in ("A", "B", "B less A")]
    return _table(("method", "calls A", "calls B", *heads), 1, lines)


def _ordered(folder: Path) -> pd.DataFrame:
    """The leaderboard's methods in the order of the run's command, by cell."""
    rows = _rows(folder).set_index("cell")
    cells = json.loads((folder / "manifest.json").read_text())["cells"]
    rows = rows.loc[[cell for cell in cells if cell in rows.index]]
    return rows[rows["kind"] == "method"]


def variants(folder: Path, method: str) -> str:
    """The variants of a method in a sweep, in the order of its command, beside the first of the same noise.

    Without milliseconds: a sweep is for scores, and may have run beside other work.
    """
    rows = _ordered(folder)
    rows = rows[rows["method"] == method]
    if rows.empty:
        raise LookupError(f"{folder / 'leaderboard.csv'} has no row of {method}")
    lines = []
    for _, of_noise in rows.groupby("noise", sort=False):
        first = of_noise.iloc[0]
        for _, row in of_noise.iterrows():
            lead = paired_lead(folder, row["name"], first["name"])
            lines.append((row["label"], *_scores(row), f"{row['nfe']:.0f}", told_lead(lead)))
    heads = ("variant", *SCORES.values(), "calls", "max Dice less the first's")
    return _table(heads, 1, lines)
