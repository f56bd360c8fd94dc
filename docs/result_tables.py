"""Keeps the README's result tables equal to the committed result files.

``python docs/result_tables.py README.md`` rewrites every table between ``<!-- KIND: FOLDER -->`` and ``<!-- /KIND
-->`` from a file in FOLDER: ``results`` and ``speedups`` from leaderboard.csv, ``profile`` from profile.csv,
``layers`` from layer-times.csv, ``shifts`` from shifts.csv, ``compared`` from compared.csv, ``parity`` from
parity.json, ``twofold`` from the leaderboard and paired.csv; likewise, between ``<!-- KIND: FOLDER METHOD -->`` and
its end, ``beside``, ``goals``, ``floors`` and ``variants``, those of method_tables.py, and ``batches``, from the
profiles in FOLDER and in METHOD beside it. ``--check`` only tells whether that would change anything.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from method_tables import beside, floors, goals, read_board, told_lead, twofold, variants
from profile_tables import batches_table, layers_table, profile_table

from uadbench.reports.identity import REFERENCE, arm_of
from uadbench.reports.shifts import KLD
from uadbench.reports.text import milliseconds, score
from uadbench.reports.vocabulary import MEASURES, SIZE_NAMES

__all__ = [
    "FLOORS_SHOWN",
    "compared_table",
    "fill",
    "main",
    "parity_table",
    "shift_table",
    "speedup_table",
    "table",
]

FLOORS_SHOWN = 6  # of a table; the others stand in leaderboard.md


def table(csv: Path) -> str:
    """A GitHub table of one leaderboard.csv, scores in percent: methods, then the best floors, best Dice first."""
    frame = read_board(csv.parent)
    frame = frame.assign(floor=frame["kind"].eq("floor")).sort_values(
        ["floor", "dice_max"], ascending=[True, False]
    )
    frame = frame[~frame["floor"] | (frame["floor"].cumsum() <= FLOORS_SHOWN)]
    several = frame.loc[~frame["floor"], ["backend", "precision"]].drop_duplicates().shape[0] > 1
    ours = ["back end", "speed-up"] if several else []
    shown = ("dice_average", *(f"dice_{size}" for size in SIZE_NAMES), "auprc")
    columns = [MEASURES[name].title for name in shown]
    heads = ["method", *ours, f"{MEASURES['dice_max'].title} (95 % interval)", *columns, "NFE", "ms/image"]
    lines = [
        "| " + " | ".join(heads) + " |",
        "| --- " * (1 + bool(ours)) + "| ---: " * (len(heads) - 1 - bool(ours)) + "|",
    ]
    for _, row in frame.iterrows():
        cells = [f"*floor:* {row['label']}" if row["floor"] else f"**{row['label']}**"]
        if several:
            speedup = "–" if pd.isna(row["speedup"]) else f"{row['speedup']:.2f}"
            cells += [arm_of(row).label, speedup]
        value, low, high = (score(row[f"dice_max{end}"], "dice_max") for end in ("", "_lo", "_hi"))
        interval = "" if pd.isna(row["dice_max_lo"]) else f" ({low}–{high})"  # none of fewer than 10 subjects
        cells += [f"{value}{interval}", *(score(row[name], name) for name in shown)]
        cells += [f"{row['nfe']:.0f}", milliseconds(row["latency_ms_p50"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def speedup_table(csv: Path) -> str:
    """A GitHub table of one leaderboard.csv: how many times as fast each arm ran each variant as torch fp32."""
    frame = read_board(csv.parent)
    frame = frame[frame["kind"] != "floor"]
    arms = dict.fromkeys(arm_of(row) for _, row in frame.sort_values(["backend", "precision"]).iterrows())
    shown = [arm for arm in arms if arm != REFERENCE]
    lines = ["| whole runs of | " + " | ".join(arm.label for arm in shown) + " |"]
    lines.append("| --- " + "| ---: " * len(shown) + "|")
    for label, rows in frame.groupby("variant", sort=False):
        found = {arm_of(row): row["speedup"] for _, row in rows.iterrows()}
        cells = ["–" if pd.isna(found.get(arm)) else f"{found[arm]:.2f}" for arm in shown]
        lines.append("| " + " | ".join([f"**{label}**", *cells]) + " |")
    return "\n".join(lines) + "\n"


def parity_table(file: Path) -> str:
    """A GitHub table of one parity.json: what each arm's worst call and its chains err by, relative to the image."""
    verdicts = json.loads(file.read_text())
    rows = read_board(file.parent).set_index("cell")
    arms: dict[str, dict[str, tuple[float, float]]] = {}
    for cell, verdict in sorted(verdicts.items()):
        if verdict.get("trajectory"):
            both = (verdict["network"]["rel_image"], verdict["trajectory"]["final"])
            arms.setdefault(arm_of(rows.loc[cell]).label, {})[rows.loc[cell, "label"]] = both
    labels = dict.fromkeys(label for found in arms.values() for label in found)
    lines = ["| back end | one call | " + " | ".join(labels) + " |"]
    lines.append("| --- " + "| ---: " * (1 + len(labels)) + "|")
    for arm, found in arms.items():
        worst = max(call for call, _ in found.values())
        ends = (f"{found[label][1]:.1e}" if label in found else "–" for label in labels)
        lines.append("| " + " | ".join((arm, f"{worst:.1e}", *ends)) + " |")
    return "\n".join(lines) + "\n"


def shift_table(csv: Path) -> str:
    """A GitHub table of one shifts.csv: the KL divergence of each method, as it is and at each value of each shift."""
    frame = pd.read_csv(csv)
    frame = frame[frame[KLD].notna() & frame["kind"].eq("method")]
    kind = frame["shift"].mask(frame["value"].eq(1), "as it is")  # stands in each kind, of the same cases
    wide = frame.assign(shift=kind).pivot_table(
        index="variant", columns=["shift", "value"], values=KLD, sort=False
    )
    heads = ("method", *(f"{kind} {value:g}" if value != 1 else kind for kind, value in wide.columns))
    lines = ["| " + " | ".join(heads) + " |", "| --- " + "| ---: " * len(wide.columns) + "|"]
    for variant, row in wide.iterrows():
        lines.append("| " + " | ".join((str(variant), *(f"{value:.3f}" for value in row))) + " |")
    return "\n".join(lines) + "\n"


def compared_table(csv: Path) -> str:
    """A GitHub table of what ``bench compare RUN RUN --csv`` wrote: of each method and score, both and the gain."""
    frame = pd.read_csv(csv)
    frame = frame[~frame["cell_a"].str.endswith("-torch-fp32")]
    lines = ["| method | score | A | B | B less A |", "| --- | --- | ---: | ---: | ---: |"]
    for row in frame.itertuples():
        told = told_lead((row.difference, row.lo, row.hi, row.p_holm))
        scores = f"{100 * row.a:.1f} | {100 * row.b:.1f}"
        lines.append(f"| {row.variant_a} | {MEASURES[row.measure].title} | {scores} | {told} |")
    return "\n".join(lines) + "\n"


_TABLES: dict[str, Callable[[Path, str], str]] = {
    "results": lambda folder, _: table(folder / "leaderboard.csv"),
    "speedups": lambda folder, _: speedup_table(folder / "leaderboard.csv"),
    "profile": lambda folder, _: profile_table(folder / "profile.csv"),
    "batches": lambda folder, larger: batches_table([folder, folder.parent / larger]),
    "layers": lambda folder, _: layers_table(folder / "layer-times.csv"),
    "shifts": lambda folder, _: shift_table(folder / "shifts.csv"),
    "compared": lambda folder, _: compared_table(folder / "compared.csv"),
    "parity": lambda folder, _: parity_table(folder / "parity.json"),
    "twofold": lambda folder, _: twofold(folder),
    "beside": beside,
    "goals": goals,
    "floors": floors,
    "variants": variants,
}
"""Kind of a table -> what makes it, from a folder and what may stand behind that."""
_BLOCK = re.compile(rf"(<!-- ({'|'.join(_TABLES)}): (\S+)(?: (\S+))? -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def fill(text: str, root: Path) -> str:
    """The text with every marked table made anew from the result folders below ``root``."""

    def made(found: re.Match[str]) -> str:
        start, kind, folder, of, end = found.groups()
        return start + _TABLES[kind](root / folder, of or "") + end

    return _BLOCK.sub(made, text)


def main(arguments: list[str]) -> int:
    """Rewrite or check the given file; returns the exit code."""
    check, paths = "--check" in arguments, [Path(a) for a in arguments if a != "--check"]
    if len(paths) != 1:
        print("usage: python docs/result_tables.py [--check] PAGE.md", file=sys.stderr)
        return 2
    text = paths[0].read_text()
    try:
        filled = fill(text, paths[0].resolve().parent)
    except (LookupError, OSError) as error:
        print(f"error: {error.args[0] if isinstance(error, LookupError) else error}", file=sys.stderr)
        return 1
    if not check:
        paths[0].write_text(filled)
    elif filled != text:
        print(
            f"{paths[0]} differs from its result files; run python docs/result_tables.py {paths[0]}",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
